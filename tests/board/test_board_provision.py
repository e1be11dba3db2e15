"""From nothing to the first acknowledged event and back to nothing: one command, a real systemd, the shipped broker."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.events.types import AgentStart, PersonNew
from tests.board.booted import SYSTEMS, UNIT, BootedBoard, System
from tests.board.fleet import Fleet, events_of
from tests.real import wait_for

pytestmark = [pytest.mark.board, pytest.mark.timeout(600)]

EXPOSURE_MOST = 1.5
# What a system changes by itself while it is on; passwd- and the like are the version before, whoever made a user.
OWN_CHANGES = re.compile(
    r"/(dev|proc|run|sys|tmp|mnt)(/|$)|/var/(log|tmp|lib/systemd)(/|$)|/etc/(passwd|group|shadow|gshadow)-$"
)
_LOOKED_AT = "find / -xdev -path /mnt -prune -o"


@pytest.fixture(params=sorted(SYSTEMS))
def system(request: pytest.FixtureRequest) -> System:
    return SYSTEMS[request.param]


@pytest.fixture
def fresh(system: System, fleet: Fleet, tmp_path: Path) -> Iterator[BootedBoard]:
    """A board as its card was flashed."""
    with BootedBoard(system, tmp_path / "board", fleet) as board:
        yield board


def test_a_fresh_board_is_provisioned_in_one_command_again_without_change_and_left_as_it_was(
    fresh: BootedBoard, system: System, fleet: Fleet
) -> None:
    bundle = fleet.bundle(system.python)
    before = listing(fresh)
    with fleet.operator() as operator:
        first = fresh.provision(bundle)
        assert first.returncode == 0, first.stdout + first.stderr
        assert first.stdout.splitlines()[-1].startswith("done: identity, user, devices, key, certificate, release,")
        assert re.search(r"^check +agent +ok +\d+ events acknowledged", first.stdout, re.M), first.stdout
        device = fresh.device
        assert isinstance(events_of(operator, device)[0].data, AgentStart)
        wait_for(
            lambda: any(isinstance(event.data, PersonNew) for event in events_of(operator, device)), 60, "a person"
        )
        again = fresh.provision(bundle)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "no change"), again.stdout + again.stderr
    assert fresh.provision(bundle, "--check").returncode == 0
    assert listing(fresh) != before
    gone = fresh.run([f"{bundle}/provision", "--uninstall", "--discard-events"], timeout_s=120)
    assert gone.returncode == 0, gone.stdout + gone.stderr
    after = listing(fresh)
    assert {path: what for path, what in after.items() if before.get(path) != what} == {}
    assert before.keys() - after.keys() == set()
    assert fresh.sh(f"systemctl list-units --all --no-legend '{UNIT}*'") == ""


def test_the_unit_is_faultless_to_its_systemd_and_exposes_little(
    fresh: BootedBoard, system: System, fleet: Fleet
) -> None:
    done = fresh.provision(fleet.bundle(system.python))
    assert done.returncode == 0, done.stdout + done.stderr
    assert fresh.sh("systemctl --version").split()[1] == str(system.systemd)
    verified = fresh.run(["systemd-analyze", "verify", UNIT])
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    rated = fresh.sh(f"systemd-analyze security --no-pager {UNIT}")
    found = re.search(rf"exposure level for {re.escape(UNIT)}: ([\d.]+)", rated)
    assert found is not None, rated[-300:]
    assert 0 < float(found[1]) <= EXPOSURE_MOST
    the_key_is_roots_alone(fresh)
    the_agent_has_nothing_that_it_does_not_need(fresh)


def the_key_is_roots_alone(board: BootedBoard) -> None:
    key = "/etc/maskwatch/secrets/key.pem"
    assert board.sh(f"stat -c '%U %a' {key}") == "root 600"
    refused = board.run(["setpriv", "--reuid=maskwatch", "--regid=maskwatch", "--init-groups", "cat", key])
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr
    assert refused.stdout == ""
    assert "key.pem" not in board.sh("find / -xdev -user maskwatch -name key.pem -not -path '/proc/*'")


def the_agent_has_nothing_that_it_does_not_need(board: BootedBoard) -> None:
    pid = board.agent_pid
    lines = (line.split(":", 1) for line in board.sh(f"cat /proc/{pid}/status").splitlines())
    status = {name: value.strip() for name, value in lines}
    assert status["Uid"].split()[0] == board.sh("id -u maskwatch") != "0"
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0000000000000000"}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    mounts = [line.split() for line in board.sh(f"cat /proc/{pid}/mountinfo").splitlines()]
    writable = {mount[4] for mount in mounts if mount[5].split(",")[0] == "rw"}
    assert {"/var/lib/maskwatch", "/run/maskwatch"} <= writable
    assert not {path for path in writable if path in ("/", "/etc", "/usr", "/opt", "/home", "/root", "/boot")}


def listing(board: BootedBoard) -> dict[str, str]:
    """Give each path of the board with its kind, rights, owner and target or content."""
    kinds = board.sh(f"{_LOOKED_AT} -printf '%p|%M %u %g %l\\0'").split("\0")
    found = dict(kind.split("|", 1) for kind in kinds if kind)
    for line in board.sh(f"{_LOOKED_AT} -type f -print0 | xargs -0 md5sum -z").split("\0"):
        if line:
            digest, path = line.split(maxsplit=1)
            found[path] += digest
    return {path: what for path, what in found.items() if not OWN_CHANGES.match(path)}
