"""What a collector's words lead to: late ones, ones of another stream, ones of a store or a card that was put back."""

import logging
from pathlib import Path

import msgspec
import pytest

from agent.delivery.collector import Collector
from agent.delivery.handover import HandOver, HandOverFull
from agent.delivery.link import Received
from agent.delivery.publisher import LEAD, WINDOW
from agent.errors import StorageError
from agent.events.envelope import Envelope, decode
from agent.events.state import Status
from agent.events.types import Counts, EventData, Gap, OutboxReset
from agent.settings import MqttSettings
from tests.delivery_parts import IDENTITY, Parts, ScriptedLink, TurnedClock, counted, make_parts

BY_COLLECTOR = MqttSettings(ack_mode="collector")


class Scene:
    """A delivery whose broker takes everything, and a collector that says what it is told to."""

    def __init__(self, directory: Path, *, settings: MqttSettings = BY_COLLECTOR) -> None:
        self.clock = TurnedClock()
        self.link = ScriptedLink()
        self.parts: Parts = make_parts(directory, self.link, self.clock, mqtt=settings)

    def steps(self, count: int = 20, seconds: float = 0.1) -> None:
        for _ in range(count):
            self.clock.turn(seconds)
            self.parts.delivery.step(0)

    def put(self, count: int) -> None:
        self.parts.hand_over.put([counted(number, self.clock.now_ns()) for number in range(count)])
        self.steps()

    def say(self, hwm: int, *, stream: str | None = None) -> None:
        payload = msgspec.json.encode({"stream": stream or self.parts.outbox.stream, "hwm": hwm})
        self.link.news.append(Received(topic=IDENTITY.ack, payload=payload))
        self.steps()

    @property
    def sent(self) -> list[Envelope[EventData]]:
        return [decode(payload) for payload in self.link.on(IDENTITY.events)]

    @property
    def reason(self) -> str:
        """Give what the last status says; empty: nothing is wrong."""
        reason = msgspec.json.decode(self.link.on(IDENTITY.status)[-1], type=Status).reason
        return "" if reason is msgspec.UNSET else reason

    def gaps(self) -> list[Gap]:
        found = {event.id: event.data for event in self.sent if isinstance(event.data, Gap)}
        return list(found.values())


def test_a_dead_collector_does_not_get_the_backlog_again_and_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.put(3 * LEAD)
    assert len(scene.sent) == WINDOW
    scene.steps(360, 10.0)  # an hour
    assert len(scene.sent) <= 8 * WINDOW
    assert scene.reason == "the collector is silent"
    scene.link.lose()
    scene.steps(30)
    assert len(scene.sent) <= 9 * WINDOW
    assert scene.parts.delivery.figures.backlog == 3 * LEAD


def test_a_word_about_another_stream_shows_that_the_collector_lives_and_nothing_else(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.put(2 * WINDOW)
    scene.steps(4, 20.0)
    assert scene.reason == "the collector is silent"
    scene.say(10_000, stream="0ther")
    scene.steps()
    assert {int(event.sequence) for event in scene.sent} == set(range(1, 2 * WINDOW + 1))
    assert scene.parts.delivery.figures.backlog == 2 * WINDOW
    assert scene.reason == ""


def test_what_a_restored_collector_lacks_and_is_gone_here_is_named_in_a_gap_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path)
    scene.put(50)
    scene.say(WINDOW)
    scene.say(50)
    assert scene.parts.delivery.figures.backlog == 0
    scene.put(5)
    scene.say(20)  # its database is of yesterday
    assert scene.gaps() == []  # it may be a late word
    scene.steps(4, 10.0)
    with caplog.at_level(logging.WARNING, "agent.delivery.collector"):
        scene.say(20)
        scene.say(20)
    assert scene.gaps() == [Gap(first=21, last=50, by_type={}, why="collector")]
    assert scene.reason == "the collector lost events 21 to 50, which are gone here as well"
    assert scene.parts.delivery.figures.sentence == scene.reason
    assert caplog.text.count("collector.behind") == 1
    sent = [int(event.sequence) for event in scene.sent]
    assert [sent.count(sequence) for sequence in range(51, 57)] == [2, 2, 2, 2, 2, 1]  # what is held comes again
    scene.say(56)
    assert scene.parts.delivery.figures.backlog == 0
    assert scene.reason == ""


def test_a_store_put_back_twice_gets_two_gaps(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for done in (WINDOW, 50):
        scene.put(50 - scene.parts.outbox.last_sequence)
        scene.say(done)
    for mark in (20, 10):
        scene.put(1)
        scene.say(mark)
        scene.steps(5, 10.0)
        scene.say(mark)
        scene.say(mark)
    assert [(gap.first, gap.last) for gap in scene.gaps()] == [(21, 50), (11, 50)]


def test_a_late_word_of_another_collector_is_no_restored_store(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for done in range(10, 400, 10):
        scene.put(10)
        scene.say(done)
        scene.say(done - 7)
        scene.steps(1, 5.0)
    assert scene.gaps() == []
    assert scene.parts.delivery.figures.sentence == ""


def test_a_collector_that_is_new_to_a_board_hears_what_went_before_it_came(tmp_path: Path) -> None:
    before = Scene(tmp_path, settings=MqttSettings())
    before.put(30)
    assert before.parts.delivery.figures.backlog == 0
    before.parts.delivery.close("now with a collector")
    scene = Scene(tmp_path)
    scene.put(1)
    scene.say(0)
    scene.steps(4, 10.0)
    scene.say(0)
    assert scene.gaps() == [Gap(first=1, last=30, by_type={}, why="collector")]


@pytest.mark.parametrize("settings", [BY_COLLECTOR, MqttSettings()])
def test_a_mark_beyond_what_there_is_begins_a_new_stream_once_an_hour_at_most(
    tmp_path: Path, settings: MqttSettings, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path, settings=settings)
    old = scene.parts.outbox.stream
    scene.put(30)
    held = scene.parts.delivery.figures.backlog
    scene.say(31)
    new = scene.parts.outbox.stream
    assert new != old
    first = next(event for event in scene.sent if event.stream == new)
    assert isinstance(first.data, OutboxReset)
    assert (first.sequence, first.data.old_stream, first.data.saved) == ("000000000001", old, held)
    assert first.data.why == "the collector has event 31, 30 is the newest here: was this card put back?"
    scene.say(0)
    again = [event.data.frames for event in scene.sent if event.stream == new and isinstance(event.data, Counts)]
    assert again == list(range(30 - held, 30))
    scene.say(10_000)
    assert scene.parts.outbox.stream == new
    assert "collector.nonsense" in caplog.text
    scene.steps(1, 3600.0)
    scene.say(10_000)
    assert scene.parts.outbox.stream not in (old, new)


def test_a_disk_that_refuses_a_new_stream_is_told_and_asked_again_at_the_next_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path)
    old = scene.parts.outbox.stream
    scene.put(3)
    real = scene.parts.outbox.begin_stream

    def refuse(why: str) -> None:
        raise StorageError("the disk is full", where="outbox.db", remedy="make room on it")

    monkeypatch.setattr(scene.parts.outbox, "begin_stream", refuse)
    scene.say(9)
    assert "the disk is full" in caplog.text
    monkeypatch.setattr(scene.parts.outbox, "begin_stream", real)
    scene.say(9)
    assert scene.parts.outbox.stream != old


def test_a_gap_that_does_not_fit_the_hand_over_is_tried_at_the_next_word(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.put(9)
    scene.say(9)
    full = HandOver(capacity=1)
    full.put([counted(1)])
    with pytest.raises(HandOverFull):
        full.put([counted(2)])
    collector = Collector(full, scene.parts.outbox, scene.clock)
    pump = scene.parts.delivery._lane.pump
    pump.is_stuck = True
    word = Received(topic=IDENTITY.ack, payload=msgspec.json.encode({"stream": scene.parts.outbox.stream, "hwm": 3}))
    collector.hear(word, pump)
    assert collector.sentence == ""
    full.take()
    collector.hear(word, pump)
    (event,) = full.take()
    assert event.data == Gap(first=4, last=9, by_type={}, why="collector")


def test_what_is_no_acknowledgement_is_noted_and_harmless(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(tmp_path)
    scene.put(3)
    for payload in (b"", b"{", b'{"stream": "x"}', b'{"stream": "x", "hwm": -1}', b"\xff"):
        scene.link.news.append(Received(topic=IDENTITY.ack, payload=payload))
        scene.steps()
    assert "collector.nonsense" in caplog.text
    assert scene.parts.delivery.figures.backlog == 3
    scene.say(3)
    assert scene.parts.delivery.figures.backlog == 0
