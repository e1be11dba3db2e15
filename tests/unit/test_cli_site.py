"""What a subscriber makes of a site's messages, and how it is told and drawn."""

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from agent.cli import lines
from agent.cli.live import draw
from agent.cli.site import Device, Site
from agent.cli.terminal import bar, duration, sparkline, verdicts
from agent.events.envelope import Envelope, decode
from agent.events.state import Status
from agent.events.types import (
    TYPES,
    AgentStart,
    AgentStop,
    CameraBack,
    CameraBlind,
    Counts,
    Gap,
    LabelCounts,
    OutboxReset,
)
from tests.unit.cli_messages import Board, end, new, update

S = 10**9


def fed(*messages: tuple[str, bytes], now_ns: int = 0) -> Site:
    site = Site(bin_s=60)
    for topic, payload in messages:
        site.take(topic, payload, now_ns)
    return site


def only(site: Site) -> Device:
    (device,) = site.devices.values()
    return device


def test_a_persons_story_is_followed_from_new_to_gone() -> None:
    board = Board()
    site = fed(board.event(new()), board.event(update()), now_ns=10 * S)
    person = only(site).persons["1a2b3c4d-1"]
    assert (person.label, person.previous, person.gone) == ("no_mask", "mask", False)
    assert person.seconds(13 * S) == pytest.approx(2.0 + 3.0)

    site.take(*board.event(end()), now_ns=20 * S)
    person = only(site).persons["1a2b3c4d-1"]
    assert person.gone
    assert person.seconds(23 * S) == 6.5
    site.tick(24 * S)
    assert only(site).persons, "who has left stays in view for some seconds"
    site.tick(26 * S)
    assert not only(site).persons
    assert dict(only(site).started) == {"mask": 1}
    assert dict(only(site).ended) == {"mask": 1}


def test_a_doubled_event_counts_once() -> None:
    board = Board()
    first = board.event(new())
    site = fed(first)
    assert site.take(*first, now_ns=0) is None
    device = only(site)
    assert (device.events, device.doubled, device.started["mask"]) == (1, 1, 1)


def test_a_new_stream_counts_from_one_again() -> None:
    old, fresh = Board(), Board(stream="c" * 16)
    site = fed(old.event(new("a-1")), fresh.event(new("b-1")))
    assert only(site).events == 2
    assert only(site).doubled == 0


def test_the_will_of_an_older_session_is_not_believed() -> None:
    board = Board()
    site = fed(board.status("online", session=4), board.status("offline", session=3, reason="lost"))
    assert only(site).online
    site.take(*board.status("offline", session=4), now_ns=0)
    assert not only(site).online


def test_what_cannot_be_read_is_counted_and_changes_nothing() -> None:
    site = fed(
        ("maskwatch/lobby/cam-1/events", b"{"),
        ("maskwatch/lobby/cam-1/events", b'{"type": "maskwatch.person.new.v9"}'),
        ("maskwatch/lobby/cam-1/status", b"null"),
    )
    assert site.unreadable == 3
    assert not site.devices


@pytest.mark.parametrize("topic", ["other/lobby/cam-1/events", "maskwatch/lobby/events", "maskwatch/a/b/command"])
def test_other_topics_are_left_alone(topic: str) -> None:
    site = fed((topic, b"{}"))
    assert (site.devices, site.unreadable) == ({}, 0)


def test_a_removed_retained_status_says_nothing() -> None:
    site = Site(bin_s=60)
    assert site.take("maskwatch/lobby/cam-1/status", b"", 0) is None


def test_persons_are_counted_in_the_span_they_appeared_in() -> None:
    board, site = Board(), Site(bin_s=60)
    for at_s in (0, 10, 70):
        site.take(*board.event(new(f"p-{at_s}")), now_ns=at_s * S)
    assert only(site).per_bin(site.bin(130 * S), 4) == [0, 2, 1, 0]


def test_a_blind_camera_is_known_until_it_sees_again() -> None:
    board = Board()
    site = fed(board.event(CameraBlind(reason="black", since_s=10.0)))
    assert only(site).blind == "black"
    site.take(*board.event(CameraBack(reason="black", blind_s=30.0)), now_ns=0)
    assert only(site).blind is None
    site.take(*board.event(CameraBlind(reason="flat", since_s=10.0)), now_ns=0)
    site.take(*board.event(_start()), now_ns=0)
    assert only(site).blind is None


def _start(previous_stop: str = "clean") -> AgentStart:
    return msgspec.convert(
        {
            "version": "0.1.0",
            "classifier_sha256": "",
            "detector_sha256": "",
            "config_digest": "",
            "reason": "started by hand",
            "previous_stop": previous_stop,
        },
        AgentStart,
    )


def _line(data: Any, **how: Any) -> str:
    board = Board()
    _, payload = board.event(data, **how)
    event: Envelope[Any] = decode(payload)
    return lines.event_line(Device("lobby", "cam-1"), event, name_width=12).plain


def test_every_type_of_event_has_a_line_of_its_own() -> None:
    said = {
        "maskwatch.person.new.v1": (new(label="no_mask"), ["new", "no mask", "93%", "face  42 px", "0.8 s"]),
        "maskwatch.person.update.v1": (update(), ["update", "no mask", "81%", "was mask"]),
        "maskwatch.person.end.v1": (end(), ["end", "mask", "6.5 s, 31 looks, gone"]),
        "maskwatch.counts.v1": (
            Counts(span_s=60, ended=LabelCounts(mask=2, unsure=1), present=3, frames=9, watched_s=50, blind_s=10),
            ["counts", "2 mask, 1 unsure in 1 min 00 s, 3 present, blind for 10.0 s"],
        ),
        "maskwatch.agent.start.v1": (_start("unclean"), ["start", "0.1.0, started by hand, stop before: unclean"]),
        "maskwatch.agent.stop.v1": (msgspec.convert(msgspec.to_builtins(_start()), AgentStop), ["stop", "by hand"]),
        "maskwatch.camera.blind.v1": (CameraBlind(reason="covered", since_s=12.0), ["blind", "covered for 12.0 s"]),
        "maskwatch.camera.back.v1": (CameraBack(reason="covered", blind_s=90.0), ["sees again after 1 min 30 s"]),
        "maskwatch.gap.v1": (
            Gap(first=3, last=9, by_type={"maskwatch.counts.v1": 7}, why="quota"),
            ["gap", "7 events given up (quota): 3 to 9"],
        ),
        "maskwatch.outbox.reset.v1": (
            OutboxReset(old_stream="", saved=2, last_sequence=0, why="damaged"),
            ["reset", "2 events saved: damaged"],
        ),
    }
    assert set(said) == set(TYPES)
    for name, (data, words) in said.items():
        line = _line(data)
        assert "\n" not in line
        assert "lobby/cam-1" in line
        for word in words:
            assert word in line, f"{name}: {word!r} not in {line!r}"


def test_an_empty_span_says_that_nobody_left() -> None:
    counts = Counts(span_s=3600, ended=LabelCounts(), present=0, frames=9, watched_s=3600, blind_s=0)
    assert "nobody left in 1 h 00 min, 0 present" in _line(counts)
    assert "blind" not in _line(counts)


def test_an_unsure_person_says_why() -> None:
    assert "(too dark)" in _line(new(label="unsure", reason="dark"))


def test_an_event_without_time_is_told_by_the_boards_own_clock() -> None:
    board = Board()
    event = decode(board.event(new(), at_s=75.5, timed=False)[1])
    assert lines.when(event) == "up 75 s"
    assert lines.when(event, since_ms=75_000) == "0.5 s"
    timed = decode(board.event(new(), at_s=0)[1])
    assert len(lines.when(timed).split(":")) == 3


def test_a_status_line_says_what_is_wrong() -> None:
    board = Board()
    status = msgspec.json.decode(
        board.status("online", camera="lost", reason="unplugged", insecure=True)[1], type=Status
    )
    line = lines.status_line(Device("lobby", "cam-1"), status, name_width=12).plain
    assert "online, camera lost, unplugged, INSECURE" in line
    assert "lobby/cam-1" in line
    assert "lobby" not in lines.status_line(Device("lobby", "cam-1"), status).plain


def test_telemetry_does_not_repeat_itself_in_a_pipe() -> None:
    board, site = Board(), Site(bin_s=60)
    device, news = site.take(*board.telemetry(), now_ns=0) or (None, None)
    assert device is not None
    assert news is not None
    assert lines.plain_line(device, news, name_width=0) is None


def test_the_summary_counts_events_devices_and_labels() -> None:
    one, two = Board(), Board(device="cam-2")
    site = fed(one.event(new("a-1")), two.event(new("a-1", "no_mask")), ("maskwatch/x/y/status", b"?"))
    assert lines.summary(site).plain == "2 events of 2 devices: 1 mask · 1 no mask, 1 message not understood"


def drawn(site: Site, width: int, height: int, now_ns: int = 0) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, color_system=None, legacy_windows=False)
    heading = [lines.Text("maskwatch watch"), lines.Text()]
    console.print(draw(site, now_ns, width=width, height=height, heading=heading), end="")
    return stream.getvalue().splitlines()


def crowd(devices: int, persons: int) -> Site:
    messages = []
    for number in range(devices):
        board = Board(device=f"camera-with-a-long-name-{number:02d}")
        messages += [board.status("online", camera="ok"), board.telemetry(), board.event(_start())]
        for person in range(persons):
            label = ("mask", "no_mask", "incorrect", "unsure")[person % 4]
            messages.append(
                board.event(new(f"1a2b3c4d-{person}", label, reason="blurred" if person % 4 == 3 else None))
            )  # type: ignore[arg-type]
    return fed(*messages, now_ns=5 * S)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (100, 30), (60, 15)])
@pytest.mark.parametrize(("devices", "persons"), [(0, 0), (1, 0), (1, 3), (1, 40), (3, 2), (50, 5)])
def test_the_view_fits_the_terminal(width: int, height: int, devices: int, persons: int) -> None:
    rows = drawn(crowd(devices, persons), width, height, 6 * S)
    assert len(rows) <= height, "\n".join(rows)
    assert max(map(len, rows)) <= width


def test_the_view_shows_label_confidence_size_state_and_rate() -> None:
    text = "\n".join(drawn(crowd(1, 4), 80, 24, 6 * S))
    for word in ("online", "29.5", "no mask", "worn wrongly", "unsure", "93%", "42 px", "1.8 s", "detect 4.25 ms"):
        assert word in text, text


def test_a_wide_view_says_why_and_what_was_before() -> None:
    board = Board()
    site = fed(
        board.event(new("a-1", "unsure", reason="dark")), board.event(new("a-2")), board.event(update("a-2")),
        board.event(new("a-3")), board.event(end("a-3")),
    )  # fmt: skip
    text = "\n".join(drawn(site, 120, 40))
    for word in ("too dark", "was mask", "gone", "Looks"):
        assert word in text, text


def test_a_board_with_trouble_is_shown_first() -> None:
    boards = {name: Board(device=name) for name in ("a-well", "b-offline", "c-blind", "d-lost", "e-unknown")}
    site = fed(
        boards["a-well"].status("online", camera="ok"),
        boards["b-offline"].status("offline"),
        boards["c-blind"].status("online", camera="ok"),
        boards["c-blind"].event(CameraBlind(reason="black", since_s=10.0)),
        boards["d-lost"].status("online", camera="lost"),
        boards["e-unknown"].telemetry(),
    )
    text = "\n".join(drawn(site, 100, 40))
    for state in ("offline", "blind: black", "camera lost", "unknown"):
        assert state in text, text
    assert text.index("a-well") > text.index("e-unknown")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_are_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_sparkline_is_as_wide_as_asked_and_shows_nothing_for_nothing() -> None:
    assert sparkline([0, 1, 2, 4], width=6) == "   ▃▅█"
    assert sparkline([1] * 10, width=3) == "███"
    assert sparkline([], width=3) == "   "


@pytest.mark.parametrize(("part", "cells"), [(0, "    "), (0.5, "██  "), (1, "████"), (2, "████"), (0.03, "▏   ")])
def test_a_bar_is_filled_by_its_part(part: float, cells: str) -> None:
    assert bar(part, width=4) == cells


def test_verdicts_are_counted_in_a_fixed_order() -> None:
    assert verdicts(["no_mask", "mask", "no_mask"]).plain == "1 mask · 2 no mask"
    assert verdicts([]).plain == "nobody"
