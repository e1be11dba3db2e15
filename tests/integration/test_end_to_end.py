"""Scene -> agent -> mosquitto -> subscriber, with the agent a process of its own."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.camera import SceneCamera
from agent.events.envelope import Envelope, decode
from agent.events.state import Status
from agent.events.types import AgentStart, AgentStop, Counts, EventData, PersonEnd, PersonNew
from tests.integration.agent_process import SPED_UP, AgentProcess
from tests.integration.broker_process import Message, Mosquitto, Subscriber

Event = Envelope[EventData]
EVENTS = "maskwatch/test/board/events"
STATUS = "maskwatch/test/board/status"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def events_of(messages: list[Message]) -> list[Event]:
    """Give the events, doubled ones once, in the order of their first arrival."""
    found: dict[str, Event] = {}
    for message in messages:
        if message.topic == EVENTS:
            event = decode(message.payload)
            found.setdefault(event.id, event)
    return list(found.values())


def statuses_of(messages: list[Message]) -> list[Status]:
    return [msgspec.json.decode(message.payload, type=Status) for message in messages if message.topic == STATUS]


def has(messages: list[Message], kind: type, *, times: int = 1) -> bool:
    return sum(isinstance(event.data, kind) for event in events_of(messages)) >= times


def goodbye(messages: list[Message]) -> bool:
    return has(messages, AgentStop) and any(status.state == "offline" for status in statuses_of(messages))


def assert_no_holes(events: list[Event]) -> None:
    for stream in {event.stream for event in events}:
        sequences = [int(event.sequence) for event in events if event.stream == stream]
        assert sequences == list(range(1, len(sequences) + 1))


def test_each_person_of_the_scene_is_told_once_from_new_to_end_with_the_right_label(
    broker: Mosquitto, tmp_path: Path
) -> None:
    truth = [walker.label for walker in SceneCamera().truth]
    with (
        Subscriber(broker) as subscriber,
        AgentProcess(tmp_path / "home", url=broker.url, first=SPED_UP) as agent,
    ):
        agent.wait_for("READY=1")
        assert agent.process.wait(60) == 0, agent.log.read_text()
        messages = subscriber.wait_until(goodbye)
    events = events_of(messages)
    assert_no_holes(events)
    assert isinstance(events[0].data, AgentStart)
    assert isinstance(events[-1].data, AgentStop)
    new = {event.subject: event for event in events if isinstance(event.data, PersonNew)}
    end = {event.subject: event for event in events if isinstance(event.data, PersonEnd)}
    assert Counter(event.data.TYPE for event in (*new.values(), *end.values())) == {
        PersonNew.TYPE: len(truth),
        PersonEnd.TYPE: len(truth),
    }
    assert sum(isinstance(event.data, PersonNew | PersonEnd) for event in events) == 2 * len(truth)
    in_order = sorted(new.values(), key=lambda event: int(event.sequence))
    assert [event.data.label for event in in_order] == truth
    for person, event in end.items():
        assert event.data.label == new[person].data.label
        assert event.data.reason == "gone"
        assert int(event.sequence) > int(new[person].sequence)
    counted = [event.data.ended for event in events if isinstance(event.data, Counts)]
    assert sum(label.mask for label in counted) == truth.count("mask")
    assert sum(label.no_mask for label in counted) == truth.count("no_mask")
    assert [status.state for status in statuses_of(messages)][-1] == "offline"
    assert statuses_of(messages)[0].state == "online"
