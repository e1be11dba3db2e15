"""Lets the real picamera2 work with the virtual cameras of libcamera 0.4.0 on a kernel that shares no DMA buffers.

Python runs this file at its start when its folder is on PYTHONPATH. What it changes once picamera2 is imported, and
why, is said at each change. Nothing of the agent is touched.

TEST_CAMERA_FPS: frames a second, 0 for as many as come. TEST_CAMERA_STALL: while this file exists, none come.
"""

import importlib.abc
import importlib.machinery
import inspect
import mmap
import os
import sys
import textwrap
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_POLL_S = 0.005
_LATE_S = 0.2  # what is later than that is not caught up with


def _with_memory_that_this_kernel_has(module: ModuleType) -> None:
    """Allocate buffers with memfd_create: the kernel has neither /dev/dma_heap nor /dev/udmabuf."""
    import libcamera
    from picamera2.allocators import Allocator

    class Sync:
        """What is mapped needs no cache to be flushed."""

        def __init__(self, allocator: "MemfdAllocator", buffer: Any, write: bool) -> None:
            self._memory = allocator.mapped[buffer]

        def __enter__(self) -> mmap.mmap:
            return self._memory

        def __exit__(self, *_: object) -> None:
            pass

    class MemfdAllocator(Allocator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.sync = Sync
            self.mapped: dict[Any, mmap.mmap] = {}
            self._buffers: dict[Any, list[Any]] = {}
            self._files: list[int] = []

        def allocate(self, configuration: Any, _use_case: Any) -> None:
            self.close()
            for stream in configuration:
                made = [self._buffer(stream) for _ in range(stream.buffer_count)]
                self._buffers[stream.stream] = made

        def buffers(self, stream: Any) -> list[Any]:
            return self._buffers[stream]

        def close(self) -> None:
            for file in self._files:
                os.close(file)
            self._files, self._buffers, self.mapped = [], {}, {}

        def __del__(self) -> None:
            self.close()

        def _buffer(self, stream: Any) -> Any:
            file = os.memfd_create("camera")
            self._files.append(file)
            os.ftruncate(file, stream.frame_size)
            luma = stream.stride * stream.size.height
            planes = []
            for offset, length in ((0, luma), (luma, luma // 2)):  # NV12
                plane = libcamera.FrameBuffer.Plane()
                plane.fd, plane.offset, plane.length = file, offset, length
                planes.append(plane)
            buffer = libcamera.FrameBuffer(planes)
            self.mapped[buffer] = mmap.mmap(file, stream.frame_size)
            return buffer

    module.__dict__["DmaAllocator"] = MemfdAllocator


def _with_a_sensor_mode(module: ModuleType) -> None:
    """Name a mode of the sensor: the virtual pipeline cannot be asked for one."""
    module.Picamera2._get_raw_modes = lambda _: [{"format": "NV12", "size": (640, 480)}]


def _with_every_frame_good(module: ModuleType) -> None:
    """Take every frame: the virtual pipeline leaves a frame's status as it was in memory."""
    source = textwrap.dedent(inspect.getsource(module.Picamera2.process_requests))
    test = "next(iter(req.request.buffers.values())).metadata.status == libcamera.FrameMetadata.Status.Success"
    assert source.count(test) == 1
    made: dict[str, Any] = {}
    exec(source.replace(test, "True"), vars(module), made)
    module.Picamera2.process_requests = made["process_requests"]


def _with_a_pace(module: ModuleType) -> None:
    """Let frames come in time and one by one, or not at all: the virtual pipeline completes all requests at once."""
    fps = float(os.environ.get("TEST_CAMERA_FPS", "0"))
    stall = os.environ.get("TEST_CAMERA_STALL", "")
    if not (fps or stall):
        return
    manager: Any = module.CameraManager
    handle, libcameras = manager.handle_request, manager.cms.fget
    ready: deque[Any] = deque()
    due_s = 0.0

    class OneByOne:
        """libcamera's camera manager, which gives the thread that listens one request at a time, and others all."""

        def __init__(self, owner: Any) -> None:
            self._owner, self._really = owner, libcameras(owner)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._really, name)

        def get_ready_requests(self) -> list[Any]:
            ready.extend(self._really.get_ready_requests())
            listens = threading.current_thread() is self._owner.thread
            return [ready.popleft() for _ in range(min(1, len(ready)) if listens else len(ready))]

    def paced(self: Any, flushid: Any = None) -> None:
        nonlocal due_s
        if flushid is not None:  # from a thread that stops the camera
            handle(self, flushid)
            return
        while self.running:
            if time.monotonic() < due_s or (stall and os.path.exists(stall)):  # noqa: PTH110
                time.sleep(_POLL_S)
                continue
            due_s = max(due_s, time.monotonic() - _LATE_S) + (1 / fps if fps else 0)
            handle(self, None)
            if not ready:
                return

    manager.handle_request = paced
    manager.cms = property(OneByOne)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module as ever, and changes it when it has been loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "picamera2.picamera2":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def changed(module: ModuleType) -> None:
            load(module)
            _with_memory_that_this_kernel_has(module)
            _with_a_sensor_mode(module)
            _with_every_frame_good(module)
            _with_a_pace(module)

        spec.loader.exec_module = changed  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Finder())
