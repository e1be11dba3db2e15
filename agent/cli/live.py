"""The live view of a site, drawn to fit the terminal: devices on top, persons in the middle, what was said below."""

from collections.abc import Callable, Sequence

from msgspec import UNSET
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agent.cli.lines import REASONS, event_line, stages_line
from agent.cli.site import Device, Person, Site
from agent.cli.terminal import STYLES, bar, duration, label, sparkline, tail

_LOG_LINES_MIN = 4
_WIDE = 100  # columns from which there is room for more


def draw(
    site: Site, now_ns: int, *, width: int, height: int, heading: Sequence[Text], since_ms: int | None = None
) -> Group:
    """Draw everything into width x height cells. heading: lines of the command itself. since_ms: see lines.when."""
    site.tick(now_ns)
    devices = sorted(site.devices.values(), key=lambda device: (_is_well(device), device.site, device.name))
    persons = sorted(
        ((device, person) for device in devices for person in device.persons.values()),
        key=lambda pair: (pair[1].gone, -pair[1].at_ns),
    )
    single = len(devices) == 1
    stages = [stages_line(devices[0].telemetry)] if single and devices[0].telemetry else []
    # Two tables take a title line and a line of air each; what is left is shared, the log keeping its least.
    room = height - len(heading) - len(stages) - 5 - _LOG_LINES_MIN
    device_rows = min(len(devices), max(1, room // 2))
    person_rows = min(max(len(persons), 1), max(1, room - device_rows))
    log_rows = max(0, height - len(heading) - len(stages) - 5 - device_rows - person_rows)
    parts: list[RenderableType] = [*heading]
    parts += [_devices(site, devices, device_rows, now_ns, width), *stages, Text()]
    parts += [_persons(persons, person_rows, now_ns, width, named=not single), Text()]
    heard = sum(device.events for device in devices)
    parts.append(Text("Events", "bold").append(f"  {heard} so far" if heard else "", STYLES["pale"]))
    names = 0 if single else min(24, max((len(f"{d.site}/{d.name}") for d in devices), default=0))
    newest = list(site.log)[-log_rows:] if log_rows else []
    parts += [event_line(device, event, name_width=names, since_ms=since_ms) for device, event in newest]
    return Group(*parts)


def show(
    live: Live, site: Site, now_ns: int, heading: Callable[[], list[Text]], *, since_ms: int | None = None
) -> None:
    """Draw the view anew, as large as the terminal is now."""
    width, height = live.console.size
    picture = draw(site, now_ns, width=width, height=height, heading=heading(), since_ms=since_ms)
    live.update(picture, refresh=True)


def _table(*columns: tuple[str, int]) -> Table:
    """Make a table without lines. columns: title and width; a negative width is right-aligned."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for title, width in columns:
        table.add_column(
            title, width=abs(width), no_wrap=True, overflow="ellipsis", justify="right" if width < 0 else "left"
        )
    return table


def _devices(site: Site, devices: Sequence[Device], rows: int, now_ns: int, width: int) -> RenderableType:
    if not devices:
        return Group(Text("Devices", "bold"), Text("no device has been heard of yet", STYLES["pale"]))
    bars = 14 if width < _WIDE else 34
    names = 20 if width < _WIDE else 28
    span = "minute" if site.bin_s == 60 else f"{site.bin_s:g} s"
    table = _table(
        ("Device", names), ("State", 12), ("fr/s", -5), ("Queue", -5), ("Now", -3),
        (f"Per {span}", bars), ("Total", -5),
    )  # fmt: skip
    shown = devices if len(devices) <= rows else devices[: rows - 1]
    for device in shown:
        numbers = device.telemetry
        table.add_row(
            tail(f"{device.site}/{device.name}", names),
            _state(device),
            f"{numbers.frames_per_s:.1f}" if numbers else "",
            f"{numbers.backlog}" if numbers else "",
            str(sum(not person.gone for person in device.persons.values())),
            Text(sparkline(device.per_bin(site.bin(now_ns), bars), width=bars), "cyan"),
            str(sum(device.started.values())),
        )
    if len(shown) < len(devices):
        table.add_row(Text(f"and {len(devices) - len(shown)} more", STYLES["pale"]))
    return table


def _is_well(device: Device) -> bool:
    """Tell whether nothing is wrong; those with whom something is come first."""
    return device.online and not device.blind and (not device.status or device.status.camera in (UNSET, "ok"))


def _state(device: Device) -> Text:
    """Say in a word how a device is: the worst that is known of it."""
    status = device.status
    if status is None:
        return Text("unknown", STYLES["pale"])
    if status.state == "offline":
        return Text("offline", STYLES["bad"])
    if device.blind:
        return Text(f"blind: {device.blind}", STYLES["incorrect"])
    if status.camera and status.camera != "ok":
        return Text(f"camera {status.camera}", STYLES["incorrect"])
    return Text("online", STYLES["good"])


def _persons(
    persons: Sequence[tuple[Device, Person]], rows: int, now_ns: int, width: int, *, named: bool
) -> RenderableType:
    if not persons:
        return Group(Text("Persons", "bold"), Text("nobody in view", STYLES["pale"]))
    names = 12 if width < _WIDE else 24
    columns = [("Person", 12), ("Says", 12), ("Confidence", 15), ("Face", -6), ("Seen", -11)]
    if named:
        columns.insert(1, ("Device", names))
    if width >= _WIDE:
        columns.append(("Looks", -5))
    spare = width - sum(abs(size) + 2 for _, size in columns)
    if spare > 3:
        columns.append(("", spare))
    table = _table(*columns)
    for device, person in persons[:rows]:
        cells: list[RenderableType] = [
            person.id,
            label(person.label),
            Text(bar(person.confidence, width=10) + f" {person.confidence:4.0%}", STYLES[person.label]),
            f"{person.face_px:.0f} px",
            "gone" if person.gone and spare <= 3 else duration(person.seconds(now_ns)),
        ]
        if named:
            cells.insert(1, tail(device.name, names))
        if width >= _WIDE:
            cells.append(str(person.looks))
        if spare > 3:
            cells.append(_note(person))
        table.add_row(*cells, style="dim" if person.gone else None)
    return table


def _note(person: Person) -> str:
    if person.gone:
        return "gone"
    if person.reason:
        return REASONS[person.reason]
    return f"was {person.previous}" if person.previous else ""
