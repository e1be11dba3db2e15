"""Scene -> agent -> mosquitto -> subscriber, with the agent a process of its own."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.camera import SceneCamera
from agent.events.envelope import Envelope, decode
from agent.events.state import Status
from agent.events.types import AgentStart, AgentStop, Counts, EventData, PersonEnd, PersonNew
from tests.integration.agent_process import AgentProcess, sped_up
from tests.real import Mosquitto, Subscriber

Event = Envelope[EventData]
EVENTS = "maskwatch/test/board/events"
STATUS = "maskwatch/test/board/status"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def events_of(subscriber: Subscriber) -> list[Event]:
    """Give the events, doubled ones once, in the order of their first arrival."""
    found: dict[str, Event] = {}
    for payload in subscriber.payloads(EVENTS):
        event = decode(payload)
        found.setdefault(event.id, event)
    return list(found.values())


def statuses_of(subscriber: Subscriber) -> list[Status]:
    return [msgspec.json.decode(payload, type=Status) for payload in subscriber.payloads(STATUS)]


def wait_for(subscriber: Subscriber, kind: type, *, times: int = 1, within_s: float = 30.0) -> None:
    """Wait for so many events of a kind."""
    subscriber.wait_for(lambda: sum(isinstance(event.data, kind) for event in events_of(subscriber)) >= times, within_s)


def wait_for_goodbye(subscriber: Subscriber) -> None:
    wait_for(subscriber, AgentStop)
    subscriber.wait_for(lambda: statuses_of(subscriber)[-1].state == "offline")


def events_waiting(status: str) -> int:
    found = re.search(r"(\d+) events waiting$", status)
    assert found is not None, status
    return int(found[1])


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
        AgentProcess(tmp_path / "home", url=broker.url, first=sped_up(6)) as agent,
    ):
        agent.wait_for("READY=1")
        assert agent.process.wait(60) == 0, agent.log.read_text()
        wait_for_goodbye(subscriber)
    events = events_of(subscriber)
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
    assert [status.state for status in statuses_of(subscriber)][-1] == "offline"
    assert statuses_of(subscriber)[0].state == "online"


def test_persons_left_open_by_a_kill_are_ended_by_the_next_start(broker: Mosquitto, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Subscriber(broker) as subscriber:
        with AgentProcess(home, url=broker.url, first=sped_up(6)) as agent:
            wait_for(subscriber, PersonNew, times=2)
            agent.kill()
        subscriber.wait_for(lambda: statuses_of(subscriber)[-1].state == "offline")  # the will spoke
        before = events_of(subscriber)
        left = {event.subject for event in before if isinstance(event.data, PersonNew)} - {
            event.subject for event in before if isinstance(event.data, PersonEnd)
        }
        assert left
        with AgentProcess(home, url=broker.url, settings=[f"camera.source={home}/none.mp4"]) as agent:
            assert agent.process.wait(30) == 65  # a start that comes to nothing ends nobody
        with AgentProcess(home, url=broker.url) as agent:
            agent.wait_for("READY=1")
            wait_for(subscriber, AgentStart, times=2)
            assert agent.terminate() == 0
    events = events_of(subscriber)
    assert_no_holes(events)
    after = events[len(before) :]
    ends = [event for event in after if isinstance(event.data, PersonEnd)]
    assert {event.subject for event in ends} >= left
    for event in ends:
        assert isinstance(event.data, PersonEnd)
        assert event.data.reason == "restart"
    started = next(event.data for event in after if isinstance(event.data, AgentStart))
    assert isinstance(started, AgentStart)
    assert started.previous_stop == "unclean"
    assert len({event.stream for event in events}) == 1


def test_a_broker_that_is_away_for_a_minute_costs_nothing_but_time(broker: Mosquitto, tmp_path: Path) -> None:
    settings = ["camera.loop=true", "camera.fps=6", "report.counts_every_s=5"]
    with (
        Subscriber(broker) as subscriber,
        AgentProcess(tmp_path / "home", url=broker.url, first=sped_up(5), settings=settings) as agent,
    ):
        wait_for(subscriber, PersonNew)
        broker.stop()
        sent = len(events_of(subscriber))
        agent.wait_for("STATUS=watching; broker away: ")
        # A round of the scene is 25 s: 6 persons and at most 5 counts, 17 events. So these are more than a minute's.
        while events_waiting(agent.wait_for("STATUS=watching; broker away: ")) < 60:
            pass
        broker.start()
        wait_for(subscriber, PersonNew, times=30, within_s=60)
        assert agent.terminate() == 0
        wait_for_goodbye(subscriber)
    events = events_of(subscriber)
    assert [int(event.sequence) for event in events] == list(range(1, len(events) + 1))  # as they arrived: in order
    assert len({event.stream for event in events}) == 1
    late = [event.historical for event in events]
    assert not any(late[:sent])
    assert any(late)
    assert not late[-1]
    assert sorted(late[sent:], reverse=True) == late[sent:]  # first what is history, then the present
    assert Counter(event.subject for event in events if isinstance(event.data, PersonNew)) == Counter(
        event.subject for event in events if isinstance(event.data, PersonEnd)
    )
