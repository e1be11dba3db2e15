"""Provisioning killed, or its board without power, at random moments: the same command again completes it.

KILLS is the number of fresh boards, three if it is not said; SEED makes another run of them. Moments are drawn by the
steps that have been reported, so that short steps are met as often as long ones.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from agent import __version__
from agent.events.types import AgentStart
from tests.board.booted import PROVISION_S, SYSTEMS, BootedBoard
from tests.board.fleet import Fleet, events_of
from tests.board.releases import with_version
from tests.real import wait_for

pytestmark = [pytest.mark.board, pytest.mark.timeout(600)]

KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("SEED", "13"))
INTERRUPTIONS = 3
LINES = 18  # that provisioning says, about
PAUSE_MOST_S = 1.5
NEWER = "99.0.1"


@pytest.fixture
def fresh(fleet: Fleet, tmp_path: Path) -> Iterator[BootedBoard]:
    with BootedBoard(SYSTEMS["trixie"], tmp_path / "board", fleet) as board:
        yield board


@pytest.mark.parametrize("trial", range(KILLS))
def test_an_interrupted_installation_is_completed_by_the_same_command(
    fresh: BootedBoard, original: BootedBoard, fleet: Fleet, tmp_path: Path, trial: int
) -> None:
    bundle = fleet.bundle("3.13")
    command = [f"{bundle}/provision", "--bundle", bundle]
    told = interrupt(fresh, command, Random(SEED * 1000 + trial))
    completed = fresh.run(command, timeout_s=PROVISION_S)
    assert completed.returncode == 0, "\n".join([*told, completed.stdout, completed.stderr])
    again = fresh.run(command, timeout_s=PROVISION_S)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "no change"), [*told, again.stdout]
    assert starts(fresh, fleet), told
    with BootedBoard(SYSTEMS["trixie"], tmp_path / "twin", fleet, disk=original.disk) as uninterrupted:
        assert release(fresh) == release(uninterrupted), told


def test_an_interrupted_upgrade_is_completed_by_the_same_command(
    board: BootedBoard, fleet: Fleet, tmp_path: Path
) -> None:
    newer = with_version(fleet.wheel, NEWER, tmp_path / "wheels")
    bundle = fleet.bundle("3.13", wheel=newer)
    command = [f"{bundle}/provision", "--bundle", bundle, "--upgrade"]
    told = interrupt(board, command, Random(SEED))
    completed = board.run(command, timeout_s=PROVISION_S)
    assert completed.returncode == 0, "\n".join([*told, completed.stdout, completed.stderr])
    assert board.sh("readlink /opt/maskwatch/current") == f"releases/{NEWER}", told
    assert starts(board, fleet)[-1].version == NEWER


def test_an_interrupted_uninstallation_is_completed_by_the_same_command(board: BootedBoard, fleet: Fleet) -> None:
    bundle = fleet.bundle("3.13")
    command = [f"{bundle}/provision", "--uninstall", "--discard-events"]
    told = interrupt(board, command, Random(SEED), lines=6, pause_most_s=0.3)
    completed = board.run(command, timeout_s=PROVISION_S)
    assert completed.returncode == 0, "\n".join([*told, completed.stdout, completed.stderr])
    left = board.sh("find / -xdev -path /mnt -prune -o -iname '*maskwatch*' -not -path '/var/log/*' -print")
    assert left == "", told


def interrupt(
    board: BootedBoard,
    command: Sequence[str],
    random: Random,
    *,
    lines: int = LINES,
    pause_most_s: float = PAUSE_MOST_S,
) -> list[str]:
    """Run a command and interrupt it, again and again; tells how. A run that ends by itself is one too."""
    told = []
    for number in range(INTERRUPTIONS):
        after, pause_s = random.randrange(lines), random.uniform(0, pause_most_s)
        takes_power = random.random() < 0.5
        run = subprocess.Popen(board.command(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert run.stdout is not None
        said = [line for _, line in zip(range(after), run.stdout, strict=False)]
        threading.Event().wait(pause_s)
        how = "its power was cut" if takes_power else "it was killed"
        told.append(f"{number}: {how} {pause_s:.2f} s after {''.join(said[-1:]).strip() or 'its start'!r}")
        if takes_power:
            board.cut_power()
        else:
            kill(run)
        run.wait(60)
        run.stdout.close()
        if takes_power:
            board.power_on()
    return told


def kill(run: "subprocess.Popen[str]") -> None:
    """Kill a program inside: the child of the nsenter that runs it."""
    for child in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


def starts(board: BootedBoard, fleet: Fleet) -> list[AgentStart]:
    """Let the agent start once more, and give what it then tells the broker."""
    with fleet.operator() as operator:
        device = board.device
        found: list[AgentStart] = []

        def told() -> bool:
            found[:] = [event.data for event in events_of(operator, device) if isinstance(event.data, AgentStart)]
            return bool(found)

        board.sh("systemctl restart maskwatch")
        wait_for(told, 60, "agent.start")
        return found


def release(board: BootedBoard) -> dict[str, str]:
    """Give each file of the release with its content; not where the bundle lay, which pip notes in two of them."""
    chosen = "-type f -not -path '*/__pycache__/*' -not -path '*/maskwatch-*.dist-info/*'"
    find = f"find /opt/maskwatch/releases/{__version__} {chosen} -print0 | xargs -0 md5sum"
    found = board.sh(find, timeout_s=120)
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in found.splitlines())}
