"""How a device is, in one word and the reasons for it. Pure."""

from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

Level = Literal["offline", "silent", "blind", "ill", "starting", "unknown", "well"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""Worst first."""

SILENT_AFTER_MS = 180_000  # or three of its own intervals, if those are longer
HOT_C = 80.0  # where a Raspberry Pi begins to slow itself down
CERTIFICATE_DAYS = 14.0
DISK_FREE_MB = 100.0
BACKLOG = 1000
_DAY_MS = 86_400_000


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """Of a device's telemetry what the page shows; fields that it does not know, or that are not there, are none."""

    uptime_s: float | None = None
    frames_per_s: float | None = None
    persons: int | None = None
    still_faces: int | None = None
    backlog: int | None = None
    accelerator: str | None = None
    accelerator_why: str | None = None
    memory_mb: float | None = None
    disk_free_mb: float | None = None
    written_kb: int | None = None
    temperature_c: float | None = None
    throttled: bool | None = None
    certificate_days: float | None = None
    camera: str | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Of a device's status what the page shows."""

    version: str | None = None
    backlog: int | None = None
    insecure: bool = False


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a device. Times in milliseconds since 1970.

    online: None when it has never told its status. since_ms: of online. every_ms: how often it sends telemetry.
    event_ms: when its last event came.
    """

    device: str
    site: str
    online: bool | None = None
    camera: str = ""
    reason: str = ""
    status: Status = Status()
    since_ms: int | None = None
    telemetry: Telemetry = Telemetry()
    telemetry_ms: int | None = None
    every_ms: int | None = None
    event_ms: int | None = None

    @property
    def heard_ms(self) -> int | None:
        """When it was last heard: not when its will was read, which the broker says."""
        spoken = [self.telemetry_ms, self.event_ms, self.since_ms if self.online else None]
        return max((at_ms for at_ms in spoken if at_ms is not None), default=None)

    @property
    def backlog(self) -> int | None:
        return self.status.backlog if self.telemetry.backlog is None else self.telemetry.backlog

    def certificate_days(self, now_ms: int) -> float | None:
        """Give the days until its certificate expires, counted on from when it said so."""
        told = self.telemetry.certificate_days
        if told is None or self.telemetry_ms is None:
            return told
        return told - (now_ms - self.telemetry_ms) / _DAY_MS


class Health(msgspec.Struct, frozen=True):
    """level: the worst that holds. whys: sentences' beginnings, the worst first."""

    level: Level
    whys: tuple[str, ...]


def judge(state: State, now_ms: int) -> Health:
    """Give how a device is."""
    ills = tuple(_ills(state, now_ms))
    if state.online is False:
        return Health("offline", (state.reason or "no reason told", *ills))
    heard_ms = state.heard_ms
    if heard_ms is None:
        return Health("unknown", ("never heard of itself",))
    silent_ms = now_ms - heard_ms
    if state.telemetry_ms is not None and silent_ms > max(SILENT_AFTER_MS, 3 * (state.every_ms or 0)):
        return Health("silent", (f"nothing heard for {spell_ms(silent_ms)}", *ills))
    camera = state.camera or state.telemetry.camera or ""
    if camera in ("blind", "lost"):
        return Health("blind", (state.reason or ("no camera" if camera == "lost" else "it sees nothing"), *ills))
    if camera == "starting":
        return Health("starting", (state.reason, *ills) if state.reason else ills)
    told = (state.reason,) if state.reason else ()
    if told or ills:
        return Health("ill", (*told, *ills))
    if state.online is None:
        return Health("unknown", ("its status has not been heard",))
    return Health("well", ())


def _ills(state: State, now_ms: int) -> Iterator[str]:
    told = state.telemetry
    days = state.certificate_days(now_ms)
    if days is not None and days < CERTIFICATE_DAYS:
        yield "its certificate has expired" if days < 0 else f"its certificate expires in {days:.0f} days"
    if told.temperature_c is not None and told.temperature_c >= HOT_C:
        yield f"hot: {told.temperature_c:.0f} °C"
    if told.throttled:
        yield "slowed down by heat or low voltage"
    if told.disk_free_mb is not None and told.disk_free_mb < DISK_FREE_MB:
        yield f"its disk is nearly full: {told.disk_free_mb:.0f} MB free"
    if state.backlog is not None and state.backlog >= BACKLOG:
        yield f"{state.backlog} events wait to be sent"
    if state.status.insecure:
        yield "it does not verify the broker's certificate"


def spell_ms(span_ms: int) -> str:
    """Write a span of time in its largest unit."""
    seconds = max(0, span_ms) // 1000
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"
