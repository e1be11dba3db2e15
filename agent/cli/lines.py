"""Events, states and figures of a site as single lines: for a pipe, a log or the foot of the live view."""

from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.text import Text

from agent.cli.site import Device, Event, News, Site
from agent.cli.terminal import STYLES, WORDS, duration, some, tail, verdicts
from agent.events.state import Status, Telemetry
from agent.events.types import (
    AgentStart,
    AgentStop,
    CameraBack,
    CameraBlind,
    Counts,
    Gap,
    LabelCounts,
    OutboxReset,
    PersonEnd,
    PersonNew,
    PersonUpdate,
)
from agent.seams import Reason

REASONS: dict[Reason, str] = {
    "too_small": "face too small",
    "blurred": "blurred",
    "dark": "too dark",
    "undecided": "looks disagree",
}


def event_line(device: Device, event: Event, *, name_width: int = 0, since_ms: int | None = None) -> Text:
    """Tell one event. name_width: columns for site/device, 0 leaves it out. since_ms: as in `when`."""
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{when(event, since_ms):>8}", STYLES["pale"])
    line.append("  ")
    if name_width:
        line.append(_name(device, name_width))
    line.append_text(_told(event))
    return line


def when(event: Event, since_ms: int | None = None) -> str:
    """Give an event's time for people: this machine's time of day, where the board knew the time.

    since_ms: with this, seconds since that instant of the board's monotonic clock; else, without time, since its boot.
    """
    if since_ms is not None:
        return f"{(int(event.monoms) - since_ms) / 1000:.1f} s"
    if isinstance(event.time, str):
        return f"{datetime.fromisoformat(event.time).astimezone():%H:%M:%S}"
    return f"up {int(event.monoms) // 1000} s"


def status_line(device: Device, status: Status, *, name_width: int = 0) -> Text:
    """Tell a change of a device's state."""
    words = f"{status.state}"
    if status.camera:
        words += f", camera {status.camera}"
    if status.reason:
        words += f", {status.reason}"
    if status.insecure:
        words += ", INSECURE: the broker is not verified"
    line = Text(" " * 10, no_wrap=True, overflow="ellipsis")
    if name_width:
        line.append(_name(device, name_width))
    style = STYLES["good"] if status.state == "online" and status.camera in (None, "ok") else STYLES["bad"]
    return line.append(f"{'status':<7} ").append(words, style)


def plain_line(device: Device, news: News, *, name_width: int, since_ms: int | None = None) -> Text | None:
    """Give the line for a pipe, or None for what would only repeat itself there."""
    if isinstance(news, Telemetry):
        return None
    if isinstance(news, Status):
        return status_line(device, news, name_width=name_width)
    return event_line(device, news, name_width=name_width, since_ms=since_ms)


def print_plain(out: Console, lines: Iterable[Text | None]) -> None:
    """Print lines as they are, at once, however long: whoever reads them is a program or a log."""
    for line in lines:
        if line is not None:
            out.print(line, soft_wrap=True)
    out.file.flush()


def summary(site: Site) -> Text:
    """Say in one line what was seen."""
    devices = site.devices.values()
    labels = [label for device in devices for label, count in device.started.items() for _ in range(count)]
    events = sum(device.events for device in devices)
    line = Text(f"{some(events, 'event')} of {some(len(devices), 'device')}: ", "bold")
    line.append_text(verdicts(labels))
    return (
        line.append(f", {some(site.unreadable, 'message')} not understood", STYLES["bad"]) if site.unreadable else line
    )


def stages_line(telemetry: Telemetry) -> Text:
    """Tell where a frame's milliseconds go."""
    parts = [f"{name} {times.p50_ms:.2f} ms" for name, times in telemetry.stages.items()]
    return Text("  ".join(parts), STYLES["pale"], no_wrap=True, overflow="ellipsis")


def _name(device: Device, width: int) -> str:
    return tail(f"{device.site}/{device.name}", width).ljust(width) + "  "


def _told(event: Event) -> Text:
    match event.data:
        case PersonNew() as data:
            return _verdict("new", data).append(f"  {duration(data.seen_s)}  {data.person}", STYLES["pale"])
        case PersonUpdate() as data:
            was = f"  was {WORDS[data.previous]}"
            return _verdict("update", data).append(was).append(f"  {data.person}", STYLES["pale"])
        case PersonEnd() as data:
            rest = f"  {duration(data.duration_s)}, {data.looks} looks, {data.reason}  {data.person}"
            return _verdict("end", data).append(rest, STYLES["pale"])
        case Counts() as data:
            return Text(
                f"{'counts':<7} {_ended(data.ended)} in {duration(data.span_s)}, {data.present} present"
                + (f", blind for {duration(data.blind_s)}" if data.blind_s else "")
            )
        case AgentStart() as data:
            return Text(f"{'start':<7} {data.version}, {data.reason}, stop before: {data.previous_stop}")
        case AgentStop() as data:
            return Text(f"{'stop':<7} {data.reason}")
        case CameraBlind() as data:
            return Text(f"{'blind':<7} camera: {data.reason} for {duration(data.since_s)}", STYLES["bad"])
        case CameraBack() as data:
            return Text(f"{'back':<7} camera sees again after {duration(data.blind_s)}", STYLES["good"])
        case Gap() as data:
            lost = sum(data.by_type.values())
            return Text(f"{'gap':<7} {lost} events given up ({data.why}): {data.first} to {data.last}", STYLES["bad"])
        case OutboxReset() as data:
            return Text(f"{'reset':<7} a new stream; {data.saved} events saved: {data.why}", STYLES["bad"])


def _verdict(kind: str, data: PersonNew | PersonUpdate | PersonEnd) -> Text:
    line = Text(f"{kind:<7} ").append(f"{WORDS[data.label]:<12}", STYLES[data.label])
    line.append(f" {data.confidence:4.0%}  face {data.face_px:3.0f} px")
    reason = None if isinstance(data, PersonEnd) else data.reason
    return line.append(f"  ({REASONS[reason]})") if reason else line


def _ended(counts: LabelCounts) -> str:
    numbers = {name: getattr(counts, name) for name in WORDS}
    return ", ".join(f"{number} {WORDS[name]}" for name, number in numbers.items() if number) or "nobody left"
