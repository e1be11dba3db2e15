"""What the agent tells about itself: telemetry, the camera's state, one line for the service manager."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from agent.clock import NS_PER_S, Clock
from agent.delivery.delivery import Figures
from agent.events.envelope import timestamp
from agent.events.state import CameraState, StageTimes, Telemetry
from agent.pipeline import Pipeline
from agent.service.health import read_health
from agent.service.watchdog import Progress
from agent.settings import Settings
from agent.vision.detector import FaceDetector
from agent.vision.nets import Loaded

_TEXT_CHARS = 120  # events.types.Text


class CameraReport:
    """What the capture thread knows of its camera, for status and telemetry. Written by one thread."""

    def __init__(self, clock: Clock) -> None:
        self.state: CameraState = "starting"
        self.why = ""
        self.frames = 0
        self._clock = clock
        self._frame_ns: int | None = None

    def frame(self) -> None:
        self.state, self.why = "ok", ""
        self.frames += 1
        self._frame_ns = self._clock.now_ns()

    def lost(self, why: str) -> None:
        self.state, self.why = "lost", why

    def coming(self) -> bool:
        """Tell whether frames come just now, so that draining a backlog has to leave them room."""
        return self._frame_ns is not None and self._clock.now_ns() - self._frame_ns < NS_PER_S


class Reporter:
    """Puts the numbers of all rooms together. Any thread may ask, for it only reads."""

    def __init__(
        self,
        *,
        settings: Settings,
        pipeline: Pipeline,
        camera: CameraReport,
        figures: Callable[[], Figures],
        progress: Progress,
        clock: Clock,
        detector: Loaded[FaceDetector],
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._camera = camera
        self._figures = figures
        self._progress = progress
        self._clock = clock
        self._detector = detector
        self._started_ns = clock.now_ns()
        self._last_ns = self._started_ns
        self._last_frames = 0

    def camera_state(self) -> tuple[CameraState, str]:
        """Give the camera's state, and what is wrong with it (or nothing)."""
        blind = self._pipeline.stats.blind
        if blind is not None and self._camera.state == "ok":
            return "blind", f"camera blind: {blind}"
        return self._camera.state, f"camera lost: {self._camera.why}" if self._camera.why else ""

    def periodic(self) -> Telemetry:
        """Give the telemetry of the span since the last one."""
        now_ns, frames = self._clock.now_ns(), self._pipeline.stats.frames
        span_s = max((now_ns - self._last_ns) / NS_PER_S, 1e-3)
        rate = (frames - self._last_frames) / span_s
        self._last_ns, self._last_frames = now_ns, frames
        return self._telemetry(rate, self._pipeline.take_stages())

    def since_start(self) -> Telemetry:
        """Give the telemetry of now, rates over the whole run, without ending the span of the periodic one."""
        span_s = max((self._clock.now_ns() - self._started_ns) / NS_PER_S, 1e-3)
        return self._telemetry(self._pipeline.stats.frames / span_s, {})

    def diagnosis(self) -> dict[str, Any]:
        """Give the troubles in words and the progress of each stage, and what the nets run on; numbers and texts."""
        figures, now_ns = self._figures(), self._clock.now_ns()
        return {
            "source": self._settings.camera.source.split("://")[0],  # an address may hold a password
            "camera_why": self.camera_state()[1][:_TEXT_CHARS],
            "broker": figures.sentence[:_TEXT_CHARS],
            "storage": figures.storage[:_TEXT_CHARS],
            "connected": figures.connected_since_ns is not None,
            "accelerator": self._detector.accelerator,
            "accelerator_why": self._detector.why[:_TEXT_CHARS],
            "hung": ", ".join(self._progress.hung(now_ns)),
            **{f"{stage.name}_quiet_s": round(stage.quiet_s(now_ns), 1) for stage in self._progress.stages},
        }

    def line(self) -> str:
        """Say in one line how we are, for people who ask the service manager."""
        state, why = self.camera_state()
        figures = self._figures()
        camera = why or {"starting": "camera starting"}.get(state, "watching")
        waiting = figures.backlog + figures.waiting
        if figures.storage:
            delivery = figures.storage
        elif figures.connected_since_ns is None:
            delivery = f"broker away: {figures.sentence or 'connecting'}"
        else:  # on the way is not waiting: a number here would change with each event
            return f"{camera}; broker connected; {'events on the way' if waiting else 'nothing waiting'}"
        return f"{camera}; {delivery}; {waiting} events waiting"

    def _telemetry(self, frames_per_s: float, stages: dict[str, StageTimes]) -> Telemetry:
        stats, figures = self._pipeline.stats, self._figures()
        health = read_health(Path(self._settings.outbox.directory), self._settings.mqtt.cert_file, self._clock)
        return Telemetry(
            session=max(1, figures.session),
            uptime_s=round((self._clock.now_ns() - self._started_ns) / NS_PER_S, 1),
            camera=self.camera_state()[0],
            frames=stats.frames,
            frames_per_s=round(frames_per_s, 2),
            stages=stages,
            faces=stats.faces,
            persons=stats.persons,
            glimpses=stats.glimpses,
            still_faces=stats.still_faces,
            backlog=figures.backlog,
            events=figures.stored,
            acknowledged=figures.acknowledged,
            accelerator=self._detector.accelerator,
            accelerator_why=self._detector.why[:_TEXT_CHARS],
            accelerator_lost=self._detector.lost,
            memory_mb=round(health.memory_mb, 1),
            disk_free_mb=round(health.disk_free_mb, 1),
            written_kb=health.written_kb,
            temperature_c=_given(health.temperature_c, 1),
            throttled=UNSET if health.throttled is None else health.throttled,
            certificate_days=_given(health.certificate_days, 2),
            time=timestamp(self._clock.wall_ns()) if self._clock.trusted() else UNSET,
        )


def _given(value: float | None, digits: int) -> float | msgspec.UnsetType:
    return UNSET if value is None else round(value, digits)
