"""The daemon as the service manager starts it: how soon it is ready, decides, how much it holds and writes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.clock import NS_PER_S, SystemClock, new_id
from tools.bench.broker import LIMIT_S, NoBrokerError, Subscriber, await_until, mosquitto
from tools.bench.card import Card, card
from tools.bench.generated import people, still
from tools.bench.machine import resident_mb
from tools.bench.rows import Options, Row, quantile

_STARTS = 3
_IDLE_S, _IDLE_FULL_S = 20.0, 600.0
_SETTLE_S = 5.0  # the start's own events and the first status are written by then
_CLOCK = SystemClock()


def measure(options: Options) -> list[Row]:
    """Start the daemon several times on the clip with people, once on the empty room."""
    folder = Path(options.folder)
    clip, room = people(folder), still(folder)
    idle_s = _IDLE_FULL_S if options.full else _IDLE_S
    with mosquitto(folder) as port, Subscriber(port) as subscriber:
        starts = [_start(folder, port, clip, subscriber) for _ in range(_STARTS)]
        with card(folder) as disk:
            idle_bytes = _idle(disk, port, room, idle_s)
    ready, decided, resident = ([start[part] for start in starts] for part in range(3))
    return [
        Row(name="exec to READY", unit="s", budget=1.5, measured=quantile(ready, 0.5), note=f"median of {_STARTS}"),
        Row(
            name="exec to the first decision at a subscriber",
            unit="s",
            budget=2.5,
            measured=quantile(decided, 0.5),
            note="clip with a person in view from its first frame, paced as the camera was",
        ),
        Row(
            name="resident memory of the daemon",
            unit="MB",
            budget=110,
            measured=max(resident),
            note=f"640x480 clip, both nets, broker connected, {_SETTLE_S:.0f} s after the first decision",
        ),
        Row(
            name="disk, idle",
            unit="bytes",
            budget=0,
            measured=idle_bytes,
            note=f"{idle_s:.0f} s before the empty room{'' if options.full else '; --full takes 600'}; {disk.how}",
        ),
    ]


@contextmanager
def _daemon(folder: Path, port: int, clip: Path) -> Iterator[tuple[int, socket.socket]]:
    """Run the daemon; gives its process id and the socket on which it says READY."""
    settings = {
        "camera.source": clip,
        "camera.loop": "true",
        "mqtt.url": f"mqtt://127.0.0.1:{port}",
        "outbox.directory": folder / f"daemon-{new_id()}",
        "device.id": "bench",
    }
    empty = folder / "empty.toml"
    empty.touch()
    command = [sys.executable, "-m", "agent.cli.main", "run", "--config", str(empty)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (folder / "daemon.log").open("wb") as log:
        address = folder / f"notify-{new_id()}"
        manager.bind(str(address))
        manager.settimeout(LIMIT_S)
        environ = {**os.environ, "NOTIFY_SOCKET": str(address)}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
        try:
            yield process.pid, manager
        finally:
            process.terminate()
            process.wait()


def _start(folder: Path, port: int, clip: Path, subscriber: Subscriber) -> tuple[float, float, float]:
    """Give seconds to READY, seconds to the first decision, and resident MB then."""
    subscriber.person_ns.clear()
    start_ns = _CLOCK.now_ns()
    with _daemon(folder, port, clip) as (pid, manager):
        _await_ready(manager)
        ready_ns = _CLOCK.now_ns()
        await_until(lambda: bool(subscriber.person_ns), "no decision comes")
        decided_ns = min(subscriber.person_ns.values())
        time.sleep(_SETTLE_S)
        memory_mb = resident_mb(pid)
    return (ready_ns - start_ns) / NS_PER_S, (decided_ns - start_ns) / NS_PER_S, memory_mb


def _idle(disk: Card, port: int, room: Path, idle_s: float) -> float:
    with _daemon(disk.folder, port, room) as (_pid, manager):
        _await_ready(manager)
        time.sleep(_SETTLE_S)
        before = disk.written_bytes()
        time.sleep(idle_s)
        return disk.written_bytes() - before


def _await_ready(manager: socket.socket) -> None:
    """Wait for the daemon's READY, then hang up: a manager that does not read would block it."""
    try:
        while b"READY=1" not in manager.recv(4096):
            pass
    except TimeoutError as error:
        raise NoBrokerError(f"the daemon is not READY within {LIMIT_S:.0f} s") from error
    manager.close()
