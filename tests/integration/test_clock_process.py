"""The agent as a process whose wall clock libfaketime turns: 1970, set late, two years forward and back."""

import ctypes.util
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.events.envelope import Envelope, decode
from agent.events.types import AgentStop, EventData, PersonEnd, PersonNew, PersonUpdate
from tests.integration.agent_process import AgentProcess, sped_up
from tests.real import Mosquitto, Subscriber, wait_for

Event = Envelope[EventData]
EVENTS = "maskwatch/test/board/events"
TWO_YEARS_S = 2 * 365 * 86_400
NOW_S = 1_813_017_600  # what the right time is here: the middle of June 2027, on any day


def libfaketime() -> str:
    """Give the path of the library, or skip the test with the command that installs it."""
    places = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    found = next((str(place) for place in places), None) or ctypes.util.find_library("faketimeMT")
    if found is None:
        pytest.skip("needs libfaketime: apt-get install faketime")
    return found


class WallClock:
    """The wall clock of a process, turned from outside; its monotonic clocks stay the machine's.

    What it shows is seconds since 1970 at the moment when it is turned.
    """

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self._synchronized = folder / "synchronized"
        self.turn(NOW_S)
        self.environ = {
            "LD_PRELOAD": libfaketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        # Whether the clock is set is asked of timesyncd's file, which is the test's own here, and of the kernel, which
        # has no say. time.sleep is clock_nanosleep(2) on the monotonic clock, which libfaketime 0.9.10 gets wrong.
        self.first = f"""
import pathlib, threading, agent.clock
agent.clock._SYNCHRONIZED = pathlib.Path({str(self._synchronized)!r})
agent.clock._kernel_says_unsynchronized = lambda: True
agent.clock.SystemClock.sleep = lambda self, seconds: threading.Event().wait(max(0.0, seconds))
"""

    def turn(self, shown_s: int) -> None:
        """Let the wall clock show a time, and go on from there."""
        new = self._offset.with_suffix(".new")
        new.write_text(f"{shown_s - round(time.time()):+d}\n")
        new.replace(self._offset)

    def set_by_network(self) -> None:
        """Give the right time, and say so, as timesyncd does."""
        self.turn(NOW_S)
        self._synchronized.touch()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def events_of(subscriber: Subscriber) -> list[Event]:
    return [decode(payload) for payload in subscriber.payloads(EVENTS)]


def persons_of(events: list[Event]) -> list[tuple[str, str, float]]:
    """Give the label and the seconds of each person, in the order of their ends."""
    ends = [event.data for event in events if isinstance(event.data, PersonEnd)]
    return [(end.label, end.reason, end.duration_s) for end in ends]


def run_scene(
    broker: Mosquitto, home: Path, wall: WallClock, shown_s: list[int], *, name: str, factor: int
) -> list[Event]:
    """Let an agent watch the scene once; at each person the clock shows another time. Gives its events.

    factor: how much faster the agent's seconds go. Above 1 a busy machine falls behind the scene, whose persons then
    are historical by the time they are told.
    """
    first = wall.first + sped_up(factor)
    with Subscriber(broker, topics=[EVENTS], name=name) as subscriber:

        def met() -> int:
            return sum(isinstance(event.data, PersonNew) for event in events_of(subscriber))

        with AgentProcess(home, url=broker.url, first=first, settings=["camera.fps=6"], environ=wall.environ) as agent:
            for number, next_s in enumerate(shown_s, 1):
                wait_for(lambda number=number: met() >= number, 60.0, "a person")  # type: ignore[misc]
                wall.turn(next_s)
            assert agent.process.wait(60) == 0, agent.log.read_text()
        subscriber.wait_for(lambda: isinstance(events_of(subscriber)[-1].data, AgentStop))
        return events_of(subscriber)


def test_events_of_1970_bear_no_time_and_those_after_the_network_set_the_clock_do(
    broker: Mosquitto, tmp_path: Path
) -> None:
    wall = WallClock(tmp_path)
    wall.turn(100)
    with Subscriber(broker, topics=[EVENTS]) as subscriber:
        settings = ["camera.loop=true", "camera.fps=6", "report.counts_every_s=2"]
        with AgentProcess(
            tmp_path / "home", url=broker.url, first=wall.first, settings=settings, environ=wall.environ
        ) as agent:
            subscriber.wait_for(lambda: len(events_of(subscriber)) >= 4)
            wall.set_by_network()
            subscriber.wait_for(lambda: sum(event.timeok for event in events_of(subscriber)) >= 4)
            assert agent.terminate() == 0
        subscriber.wait_for(lambda: isinstance(events_of(subscriber)[-1].data, AgentStop))
    events = events_of(subscriber)
    assert [int(event.sequence) for event in events] == list(range(1, len(events) + 1))
    ok = [event.timeok for event in events]
    assert ok == sorted(ok)  # first not, then, and from then on
    assert ok.count(False) >= 4
    assert all((event.time is not event.recordedtime) == event.timeok for event in events)
    assert {str(event.time)[:7] for event in events if event.timeok} == {"2027-06"}
    assert not any(event.historical for event in events)


def test_jumps_of_two_years_either_way_move_neither_sequence_nor_age_nor_a_persons_seconds(
    broker: Mosquitto, tmp_path: Path
) -> None:
    wall = WallClock(tmp_path)
    wall.set_by_network()
    plain = run_scene(broker, tmp_path / "plain", wall, [], name="plain", factor=6)
    jumps_s = [NOW_S + TWO_YEARS_S, NOW_S - TWO_YEARS_S, NOW_S, 100, NOW_S]
    jumped = run_scene(broker, tmp_path / "jumped", wall, jumps_s, name="jumped", factor=1)
    assert persons_of(jumped) == persons_of(plain)
    assert len(persons_of(jumped)) == 6
    assert [int(event.sequence) for event in jumped] == list(range(1, len(jumped) + 1))
    of_persons = [event for event in jumped if isinstance(event.data, PersonNew | PersonUpdate | PersonEnd)]
    assert [int(event.monoms) for event in of_persons] == sorted(int(event.monoms) for event in of_persons)
    assert not any(event.historical for event in jumped)
    assert {str(event.time)[:4] for event in jumped if event.timeok} == {"2027", "2029"}  # it did jump
    assert not all(event.timeok for event in jumped)  # a time before this release is not believed, whoever set it
