"""Delivery step by step with a scripted link: disks that fail, brokers that never answer, stops, new streams."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.delivery.handover import HandOver
from agent.delivery.intake import Intake
from agent.delivery.link import Answered, Received, Refused, SubscriptionRefused, Trouble
from agent.delivery.reconnect import CONNECT_MAX_S
from agent.errors import StorageError
from agent.events.envelope import decode
from agent.events.state import Command, Status, Telemetry
from agent.events.types import Gap
from agent.settings import MqttSettings
from tests.delivery_parts import (
    IDENTITY,
    Parts,
    ScriptedLink,
    TurnedClock,
    counted,
    make_parts,
    open_outbox,
)


class Disk:
    """Breaks the methods of an outbox while `broken`."""

    def __init__(self, outbox: Any, monkeypatch: pytest.MonkeyPatch, *methods: str) -> None:
        self.broken = False
        for name in methods:
            real = getattr(outbox, name)

            def maybe(*arguments: Any, _real: Any = real) -> Any:
                if self.broken:
                    raise StorageError("the disk is full", where="outbox.db", remedy="make room on it")
                return _real(*arguments)

            monkeypatch.setattr(outbox, name, maybe)


def parts_of(tmp_path: Path, link: ScriptedLink, clock: TurnedClock, **changes: Any) -> Parts:
    return make_parts(tmp_path / "outbox", link, clock, **changes)


def steps(parts: Parts, clock: TurnedClock, count: int = 20, seconds: float = 0.1) -> None:
    for _ in range(count):
        clock.turn(seconds)
        parts.delivery.step(0)


def frames(link: ScriptedLink) -> list[int]:
    return [decode(payload).data.frames for payload in link.on(IDENTITY.events)]  # type: ignore[union-attr]


def test_a_lone_event_is_stored_and_sent_at_once_and_a_burst_in_groups(tmp_path: Path) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    parts = parts_of(tmp_path, link, clock)
    steps(parts, clock)
    parts.hand_over.put([counted(0)])
    parts.delivery.step(0)
    assert parts.outbox.last_sequence == 1
    stored = []
    for number in range(1, 11):
        parts.hand_over.put([counted(number)])
        steps(parts, clock, 2, 0.005)
        stored.append(parts.outbox.last_sequence)
    assert stored == [1, 1, 4, 4, 4, 7, 7, 7, 10, 10]  # three events a commit at 100 a second
    steps(parts, clock)
    assert frames(link) == list(range(11))


def test_events_wait_for_a_disk_that_fails_and_go_on_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    parts = parts_of(tmp_path, link, clock)
    disk = Disk(parts.outbox, monkeypatch, "append")
    disk.broken = True
    for number in range(10):
        parts.hand_over.put([counted(number)])
        steps(parts, clock, 3)
    assert parts.delivery.figures.storage == "outbox.db: the disk is full; make room on it"
    assert parts.delivery.figures.waiting == 10
    clock.turn(2.0)
    steps(parts, clock)
    status = msgspec.json.decode(link.on(IDENTITY.status)[-1], type=Status)
    assert status.reason == "outbox.db: the disk is full; make room on it"
    disk.broken = False
    steps(parts, clock, 100, 1.0)
    assert frames(link) == list(range(10))
    assert parts.delivery.figures.storage == ""
    assert parts.delivery.figures.waiting == 0


def test_what_a_broken_disk_and_a_full_memory_cost_is_named_in_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = TurnedClock()
    outbox = open_outbox(tmp_path, clock=clock)
    hand_over = HandOver()
    intake = Intake(hand_over, outbox, clock=clock, rng=random.Random(1), waiting_max=5)
    disk = Disk(outbox, monkeypatch, "append", "append_loss")
    disk.broken = True
    for number in range(12):
        hand_over.put([counted(number)])
        clock.turn(60.0)
        intake.step()
    assert len(intake) == 5
    disk.broken = False
    clock.turn(60.0)
    intake.step()
    gap_row, *rows = outbox.pending(0, 100)
    gap = msgspec.json.decode(gap_row.data, type=Gap)
    assert (gap.first, gap.last, gap.why, gap.by_type) == (1, 7, "disk", {"maskwatch.counts.v1": 7})
    assert [row.sequence for row in rows] == [9, 10, 11, 12, 13]
    assert [msgspec.json.decode(row.data)["frames"] for row in rows] == [7, 8, 9, 10, 11]
    assert intake.stored == 5


def test_a_disk_that_cannot_be_read_is_retried_and_nothing_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    parts = parts_of(tmp_path, link, clock)
    disk = Disk(parts.outbox, monkeypatch, "pending", "acknowledge", "next_session")
    disk.broken = True
    parts.hand_over.put([counted(number) for number in range(30)])
    steps(parts, clock, 50)
    assert "the disk is full" in parts.delivery.figures.storage
    assert link.on(IDENTITY.events) == []
    disk.broken = False
    steps(parts, clock, 100, 1.0)
    assert frames(link) == list(range(30))
    assert parts.delivery.figures.storage == ""
    assert parts.delivery.figures.backlog == 0


def test_a_broker_that_accepts_and_never_answers_is_left(tmp_path: Path) -> None:
    link, clock = ScriptedLink(auto=False), TurnedClock()
    parts = parts_of(tmp_path, link, clock)
    steps(parts, clock, 3)
    assert parts.delivery.figures.connected_since_ns is not None
    clock.turn(11.0)
    steps(parts, clock, 1)
    assert parts.delivery.figures.trouble is Trouble.STALLED
    assert not link.up


def test_an_attempt_without_an_end_is_given_up_and_repeated(tmp_path: Path) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    link.accepts = False
    parts = parts_of(tmp_path, link, clock)
    steps(parts, clock, 3)
    assert link.attempts == 1
    clock.turn(CONNECT_MAX_S)
    steps(parts, clock, 1)
    assert parts.delivery.figures.trouble is Trouble.TIMEOUT
    steps(parts, clock, 20, 1.0)
    assert link.attempts == 2


def test_the_will_has_the_number_that_the_session_gets_only_if_it_comes_about(tmp_path: Path) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    link.accepts = False
    parts = parts_of(tmp_path, link, clock)
    for _ in range(5):
        steps(parts, clock, 1)
        link.news.append(Refused(trouble=Trouble.REFUSED, sentence="nobody there"))
        steps(parts, clock, 70, 1.0)
    assert link.attempts >= 5
    assert link.will is not None
    assert msgspec.json.decode(link.will.payload, type=Status).session == 1
    assert parts.outbox.session == 0  # attempts write nothing to the card
    link.accepts = True
    link.news.append(Refused(trouble=Trouble.REFUSED, sentence="nobody there"))
    steps(parts, clock, 70, 1.0)
    assert parts.outbox.session == 1
    assert msgspec.json.decode(link.on(IDENTITY.status)[0], type=Status).session == 1


def test_a_stop_stores_and_delivers_what_was_just_handed_over(tmp_path: Path) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    parts = parts_of(tmp_path, link, clock)
    steps(parts, clock)
    parts.hand_over.put([counted(number) for number in range(25)])
    assert parts.delivery.drain(5.0)
    assert frames(link) == list(range(25))
    parts.delivery.close("stop")
    last = msgspec.json.decode(link.on(IDENTITY.status)[-1], type=Status)
    assert (last.state, last.reason, last.backlog) == ("offline", "stop", 0)
    again = open_outbox(tmp_path / "outbox")
    assert (again.previous_stop, again.backlog) == ("clean", 0)


def test_a_stop_without_a_broker_stores_and_does_not_wait(tmp_path: Path) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    link.accepts = False
    parts = parts_of(tmp_path, link, clock)
    steps(parts, clock, 1)
    link.news.append(Refused(trouble=Trouble.REFUSED, sentence="nobody there"))
    parts.delivery.step(0)
    parts.hand_over.put([counted(1)])
    assert not parts.delivery.drain(5.0)
    parts.delivery.close("stop")
    assert link.on(IDENTITY.status) == []
    again = open_outbox(tmp_path / "outbox")
    assert (again.previous_stop, again.backlog) == ("clean", 1)


class PassingClock(TurnedClock):
    """A clock that is a little later at each look."""

    def now_ns(self) -> int:
        self.turn(0.01)
        return super().now_ns()


def test_a_stop_ends_in_time_though_the_broker_never_answers(tmp_path: Path) -> None:
    link, clock = ScriptedLink(), PassingClock()
    parts = parts_of(tmp_path, link, clock)
    parts.step_until(lambda: IDENTITY.discovery in {message.topic for message in link.published}, timeout_s=0)
    parts.delivery.step(0)
    link.auto = False
    parts.hand_over.put([counted(1)])
    begun_ns = clock.now_ns()
    assert not parts.delivery.drain(5.0)
    parts.delivery.close("stop")
    assert (clock.now_ns() - begun_ns) / 1e9 < 8.0
    assert open_outbox(tmp_path / "outbox").previous_stop == "clean"


def test_a_disk_that_fails_at_the_stop_leaves_no_clean_mark(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    parts = parts_of(tmp_path, link, clock)

    def full(**_: Any) -> None:
        raise StorageError("the disk is full", where="outbox.db", remedy="make room on it")

    parts.outbox.close = full  # type: ignore[method-assign]
    parts.delivery.close("stop")
    assert "the disk is full" in caplog.text


def test_telemetry_is_sent_once_each_time_and_without_an_answer(tmp_path: Path) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    numbers = dict.fromkeys(("session", "frames", "faces", "persons", "glimpses", "still_faces", "backlog"), 1)
    more = {"events": 1, "acknowledged": 1, "written_kb": 1, "uptime_s": 1.0, "frames_per_s": 1.0, "memory_mb": 1.0}
    words = {
        "accelerator_lost": 0,
        "camera": "ok",
        "stages": {},
        "accelerator": "cpu",
        "accelerator_why": "",
        "disk_free_mb": 1.0,
    }
    telemetry = msgspec.convert(numbers | more | words, Telemetry)
    parts = parts_of(tmp_path, link, clock, telemetry=lambda: telemetry)
    steps(parts, clock, 125, 1.0)
    sent = link.on(IDENTITY.telemetry)
    assert len(sent) == 3
    assert msgspec.json.decode(sent[0], type=Telemetry) == telemetry


def test_when_damage_begins_a_new_stream_the_pump_follows_it(tmp_path: Path) -> None:
    link, clock = ScriptedLink(auto=False), TurnedClock()
    parts = parts_of(tmp_path, link, clock)
    for _ in range(4):
        steps(parts, clock, 1)
        link.news.append(Answered(token=len(link.published), code=0))
    link.auto = True
    parts.hand_over.put([counted(number) for number in range(300)])
    old = parts.outbox.stream
    steps(parts, clock, 2)
    parts.outbox._db.execute("UPDATE events SET data = x'00' WHERE sequence = 100")
    steps(parts, clock, 200)
    assert parts.outbox.stream != old
    streams = list(dict.fromkeys(decode(payload).stream for payload in link.on(IDENTITY.events)))
    assert streams == [old, parts.outbox.stream]
    new = [decode(payload) for payload in link.on(IDENTITY.events) if decode(payload).stream != old]
    assert [int(event.sequence) for event in new] == list(range(1, len(new) + 1))
    assert parts.delivery.figures.backlog == 0
    seen = {decode(payload).data.frames for payload in link.on(IDENTITY.events) if b'"frames"' in payload}  # type: ignore[union-attr]
    assert seen == set(range(300)) - {99}


def test_a_replay_sends_again_what_the_outbox_still_holds(tmp_path: Path) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    parts = parts_of(tmp_path, link, clock, mqtt=MqttSettings(ack_mode="collector"))
    parts.hand_over.put([counted(number) for number in range(5)])
    steps(parts, clock)
    assert parts.delivery.replay(3) == 3
    steps(parts, clock)
    assert frames(link) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert parts.delivery.replay(6) == 0


def test_what_makes_no_sense_is_noted_and_harmless(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    parts = parts_of(tmp_path, link, clock)
    steps(parts, clock)
    before = len(link.on(IDENTITY.discovery))
    link.news += [
        Answered(token=9999, code=0),
        SubscriptionRefused(topic=IDENTITY.command, code=135),
        Received(topic="maskwatch/lab/other/command", payload=b"{}"),
        Received(topic="homeassistant/status", payload=b"offline"),
        Received(topic="homeassistant/status", payload=b"online", retained=True),
        Received(topic=IDENTITY.ack, payload=msgspec.json.encode({"stream": parts.outbox.stream, "hwm": 10**6})),
        Received(topic=IDENTITY.ack, payload=b"{"),
    ]
    steps(parts, clock)
    assert len(link.on(IDENTITY.discovery)) == before
    assert parts.delivery.figures.connected_since_ns is not None
    assert f"may not read {IDENTITY.command}" in caplog.text


def test_requests_are_handed_out_and_answered(tmp_path: Path) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    parts = parts_of(tmp_path, link, clock)
    steps(parts, clock)
    link.news.append(Received(topic=IDENTITY.command, payload=b'{"command": "ping", "id": "x"}'))
    (request,) = parts.delivery.step(0)
    assert request.command == Command(command="ping", id="x")
    parts.delivery.reply(request, ok=False, message="no", result={"a": 1})
    steps(parts, clock, 1)
    assert b'"ok":false' in link.on(IDENTITY.reply)[0]


def test_nothing_is_sent_that_was_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    parts = parts_of(tmp_path, link, clock)
    disk = Disk(parts.outbox, monkeypatch, "append")
    disk.broken = True
    parts.hand_over.put([counted(1)])
    steps(parts, clock, 50)
    assert link.on(IDENTITY.events) == []


def test_a_stop_before_the_first_step_still_connects_and_delivers(tmp_path: Path) -> None:
    link, clock = ScriptedLink(), TurnedClock()
    parts = parts_of(tmp_path, link, clock)
    parts.hand_over.put([counted(1)])
    assert parts.delivery.drain(5.0)
    assert frames(link) == [1]
