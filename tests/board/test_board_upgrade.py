"""From one release to the next, and back from one that does not work."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from agent import __version__
from agent.events.types import AgentStart
from tests.board.booted import BootedBoard
from tests.board.fleet import Fleet, events_of
from tests.board.releases import with_version
from tests.integration.shipped_mosquitto import Client
from tests.real import wait_for

pytestmark = [pytest.mark.board, pytest.mark.timeout(600)]

NEWER, BROKEN = "99.0.1", "99.0.2"
USAGE, UNAVAILABLE = 2, 69
_DIES = (
    "    faulthandler.enable()",
    '    raise RuntimeError("this release does not start")\n    faulthandler.enable()',
)


class Bundles(NamedTuple):
    """Of this release, of a newer one, and of one that takes the configuration, has good models and does not start."""

    ours: str
    newer: str
    broken: str


@pytest.fixture(scope="module")
def bundles(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    ours = fleet.bundle("3.13")
    folder = tmp_path_factory.mktemp("wheels")
    newer = with_version(fleet.wheel, NEWER, folder)
    broken = with_version(fleet.wheel, BROKEN, folder, changes={"agent/service/process.py": _DIES})
    newer_bundle, broken_bundle = (fleet.bundle("3.13", wheel=wheel) for wheel in (newer, broken))
    return Bundles(ours, newer_bundle, broken_bundle)


@pytest.fixture
def operator(fleet: Fleet) -> Iterator[Client]:
    with fleet.operator() as client:
        yield client


def test_an_upgrade_is_asked_for_and_then_runs_with_the_same_identity_and_no_event_missing(
    board: BootedBoard, bundles: Bundles, operator: Client
) -> None:
    before = identity(board)
    unasked = board.provision(bundles.newer)
    assert unasked.returncode == USAGE
    assert f"this board runs {__version__}, the bundle holds {NEWER}; add --upgrade" in unasked.stderr
    assert running(board) == __version__
    done = board.provision(bundles.newer, "--upgrade")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("done: release, upgrade, current")
    wait_for_start_of(board, operator, NEWER)
    assert identity(board) == before
    again = board.provision(bundles.newer)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "no change"), again.stdout + again.stderr
    assert_no_holes(board, operator)


def test_a_release_that_does_not_work_is_left_again_for_the_one_that_did(
    board: BootedBoard, bundles: Bundles, operator: Client, tmp_path: Path
) -> None:
    before = identity(board)
    done = board.provision(bundles.broken, "--upgrade")
    assert done.returncode == UNAVAILABLE, done.stdout + done.stderr
    assert f"rolled back to {__version__}, which works" in done.stderr
    assert f"release {BROKEN} did not prove itself" in done.stdout
    wait_for_start_of(board, operator, __version__)
    assert running(board) == __version__
    assert board.sh("ls /opt/maskwatch/releases") == __version__
    assert identity(board) == before
    assert "this release does not start" in board.journal("-u", "maskwatch")
    again = board.provision(bundles.ours)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "no change"), again.stdout + again.stderr
    assert_no_holes(board, operator)


def running(board: BootedBoard) -> str:
    return board.sh("basename $(readlink /opt/maskwatch/current)")


def identity(board: BootedBoard) -> str:
    return board.sh("md5sum /etc/maskwatch/secrets/key.pem /var/lib/maskwatch/device.pem /etc/maskwatch/config.toml")


def wait_for_start_of(board: BootedBoard, operator: Client, version: str) -> None:
    def started() -> bool:
        starts = [event.data for event in events_of(operator, board.device) if isinstance(event.data, AgentStart)]
        return bool(starts) and starts[-1].version == version

    wait_for(started, 30, f"agent.start of {version}")


def assert_no_holes(board: BootedBoard, operator: Client) -> None:
    events = events_of(operator, board.device)
    assert len({event.stream for event in events}) == 1
    found = sorted({int(event.sequence) for event in events})
    assert found == list(range(found[0], found[-1] + 1))
