"""A provisioned board in its daily life: killed, shut down, without power."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from agent.events.envelope import Envelope
from agent.events.types import AgentStart, AgentStop, EventData, PersonNew
from tests.board.booted import UNIT, BootedBoard
from tests.board.fleet import Fleet, events_of, statuses_of
from tests.integration.shipped_mosquitto import Client
from tests.real import wait_for

UNAVAILABLE = 69

pytestmark = [pytest.mark.board, pytest.mark.timeout(600)]


def test_an_agent_that_is_killed_is_started_again_and_goes_on(board: BootedBoard, fleet: Fleet) -> None:
    with fleet.operator() as operator:
        device = board.device
        wait_for_one_more(operator, device, PersonNew)
        first = board.agent_pid
        with one_more(operator, device, AgentStart):
            board.sh(f"kill -KILL {first}")
        wait_for_one_more(operator, device, PersonNew)
    assert board.agent_pid not in (0, first)
    assert board.unit("NRestarts") == "1"
    assert last(operator, device, AgentStart).previous_stop == "unclean"
    assert_no_holes(events_of(operator, device))


def test_a_board_that_is_shut_down_says_goodbye(board: BootedBoard, fleet: Fleet) -> None:
    with fleet.operator() as operator:
        device = board.device
        wait_for(lambda: statuses_of(operator, device)[-1].state == "online", what="the board")
        with one_more(operator, device, AgentStop):
            board.power_off()
        wait_for(lambda: statuses_of(operator, device)[-1].state == "offline", what="the goodbye")
        with one_more(operator, device, AgentStart):
            board.power_on()
    assert last(operator, device, AgentStart).previous_stop == "clean"
    assert_no_holes(events_of(operator, device))


def test_a_board_that_loses_its_power_goes_on_when_it_has_it_again(board: BootedBoard, fleet: Fleet) -> None:
    with fleet.operator() as operator:
        device = board.device
        for _ in range(3):
            wait_for_one_more(operator, device, PersonNew)
            board.cut_power()
            with one_more(operator, device, AgentStart):
                board.power_on()
            assert last(operator, device, AgentStart).previous_stop == "unclean"
        wait_for_one_more(operator, device, PersonNew)
    assert_no_holes(events_of(operator, device))
    assert board.unit("NRestarts") == "0"


def test_a_stopped_agent_stays_stopped_and_a_disabled_one_does_not_come_with_the_board(board: BootedBoard) -> None:
    board.sh(f"systemctl stop {UNIT}")
    assert board.unit("ActiveState") == "inactive"
    board.sh(f"systemctl disable {UNIT}")
    board.power_off()
    board.power_on()
    assert board.unit("ActiveState") == "inactive"


def test_a_board_whose_program_is_damaged_is_not_called_well_and_is_mended_as_it_is_told(
    board: BootedBoard, fleet: Fleet
) -> None:
    bundle = fleet.bundle("3.13")
    board.sh(f"truncate --size=0 /opt/maskwatch/current/bin/maskwatch; systemctl stop {UNIT}")
    damaged = board.provision(bundle)
    assert damaged.returncode == UNAVAILABLE, damaged.stdout + damaged.stderr
    assert "remove /opt/maskwatch, and run the same command again" in damaged.stdout
    board.sh("rm -r /opt/maskwatch")
    mended = board.provision(bundle)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert board.unit("ActiveState") == "active"


@contextmanager
def one_more(operator: Client, device: str, kind: type) -> Iterator[None]:
    """Wait, after what is done inside, for one more event of a kind than there were before. A repeated one is none."""

    def ids() -> set[str]:
        return {event.id for event in events_of(operator, device) if isinstance(event.data, kind)}

    before = ids()
    yield
    wait_for(lambda: ids() > before, 90, f"one more {kind.__name__}")


def wait_for_one_more(operator: Client, device: str, kind: type) -> None:
    with one_more(operator, device, kind):
        pass


def last(operator: Client, device: str, kind: type[AgentStart]) -> AgentStart:
    return [event.data for event in events_of(operator, device) if isinstance(event.data, kind)][-1]


def assert_no_holes(events: Sequence[Envelope[EventData]]) -> None:
    """See that of each stream all events from the first to the last have come."""
    for stream in {event.stream for event in events}:
        found = sorted({int(event.sequence) for event in events if event.stream == stream})
        assert found == list(range(found[0], found[-1] + 1))
