"""The machines that the board's tests stand on: what they keep, what a power cut takes, and that nothing is left."""

import subprocess
from pathlib import Path

import pytest

from agent.errors import UnavailableError
from tools.debian.machine import Machine
from tools.debian.roots import BOARD_TRIXIE

pytestmark = [pytest.mark.board, pytest.mark.timeout(600)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    try:
        return Machine(BOARD_TRIXIE, tmp_path / "machine", shown={"/mnt/shown": tmp_path})
    except UnavailableError as error:
        pytest.skip(str(error))


def said(machine: Machine, script: str) -> str:
    done = machine.run(["sh", "-c", script])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(machine: Machine) -> None:
    with machine:
        said(machine, "echo kept > /root/kept; sync; echo lost > /root/lost")
        machine.cut_power()
        machine.power_on()
        assert said(machine, "cat /root/kept; cat /root/lost 2>&1 || true").splitlines()[0] == "kept"
        assert "lost" not in said(machine, "cat /root/lost 2>/dev/null || true").splitlines()


def test_a_shutdown_keeps_everything_and_the_root_below_stays_as_it_is(machine: Machine) -> None:
    with machine:
        assert said(machine, "systemctl is-system-running") == "running"
        identity = said(machine, "cat /etc/machine-id")
        said(machine, "echo mine > /usr/bin/mine; rm /usr/bin/openssl")
        machine.power_off()
        assert not machine.is_on
        machine.power_on()
        assert said(machine, "cat /usr/bin/mine; ls /usr/bin/openssl 2>/dev/null || true; cat /etc/machine-id") == (
            f"mine\n{identity}"
        )
    root = BOARD_TRIXIE.folder
    assert not (root / "usr/bin/mine").exists()
    assert (root / "usr/bin/openssl").exists()
    assert (root / "etc/machine-id").read_text() == ""


def test_two_machines_side_by_side_are_two_and_leave_nothing(machine: Machine, tmp_path: Path) -> None:
    other = Machine(BOARD_TRIXIE, tmp_path / "other")
    with machine, other:
        assert said(machine, "cat /etc/machine-id") != said(other, "cat /etc/machine-id")
        said(machine, "systemctl stop dbus.socket dbus.service")
        assert said(other, "systemctl is-active dbus.service") == "active"
        assert said(machine, "ls -d /mnt/shown/machine") == "/mnt/shown/machine"
        assert machine.run(["touch", "/mnt/shown/written"]).returncode != 0
    loops = subprocess.run(["losetup", "--all"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in loops
    assert not [group for one in (machine, other) for group in Path("/sys/fs/cgroup").glob(f"*/{one.name}")]
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
