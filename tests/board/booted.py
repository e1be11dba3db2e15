"""A board that is on: what a test asks it, does to it, and shows of it when the test has failed."""

import subprocess
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from agent.errors import UnavailableError
from tests.board.fleet import SHARED, Fleet
from tests.real import wait_for
from tools.debian.machine import Machine
from tools.debian.root import DebianRoot
from tools.debian.roots import BOARD_BOOKWORM, BOARD_TRIXIE

UNIT = "maskwatch.service"
PROVISION_S = 180.0
"""What provisioning may take: three minutes from nothing to the first acknowledged event."""

_known: set["BootedBoard"] = set()


class System(NamedTuple):
    """A release of Raspberry Pi OS, as far as Debian makes it up."""

    root: DebianRoot
    python: str
    systemd: int


SYSTEMS = {
    "trixie": System(BOARD_TRIXIE, "3.13", 257),
    "bookworm": System(BOARD_BOOKWORM, "3.11", 252),
}


class BootedBoard(Machine):
    """A board in its fleet. Skips the test where this machine cannot boot one."""

    def __init__(self, system: System, folder: Path, fleet: Fleet, *, disk: Path | None = None) -> None:
        """disk: of a board that is off and whose twin this one is to be."""
        try:
            super().__init__(system.root, folder, shown={SHARED: fleet.shared}, disk=disk)
        except UnavailableError as error:
            pytest.skip(str(error))

    def power_on(self) -> None:
        super().power_on()
        _known.add(self)

    def provision(self, bundle: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the one command."""
        return self.run([f"{bundle}/provision", "--bundle", bundle, *options], timeout_s=PROVISION_S)

    def sh(self, script: str, *, timeout_s: float = 60.0) -> str:
        """Run a shell script that must succeed; gives what it prints, without the last line's end."""
        done = self.run(["sh", "-euc", script], timeout_s=timeout_s)
        assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.rstrip("\n")

    @property
    def device(self) -> str:
        """Its id, by the configuration that it was given."""
        config = tomllib.loads(self.sh("cat /etc/maskwatch/config.toml"))
        return str(config["device"]["id"])

    def unit(self, name: str) -> str:
        """Give a property of the service."""
        return self.sh(f"systemctl show --property={name} --value {UNIT}")

    @property
    def agent_pid(self) -> int:
        """The agent's process, 0 while there is none."""
        return int(self.unit("MainPID"))

    def wait_for_unit(self, name: str, value: str, within_s: float = 60.0) -> None:
        """Wait until a property of the service has a value."""
        wait_for(lambda: self.unit(name) == value, within_s, f"{name}={value}")

    def drop_in(self, text: str) -> None:
        """Give the service a drop-in and start it anew."""
        folder = f"/etc/systemd/system/{UNIT}.d"
        script = f"mkdir -p {folder}; cat > {folder}/zz-test.conf; systemctl daemon-reload; systemctl restart {UNIT}"
        done = self.run(["sh", "-euc", script], stdin=text)
        assert done.returncode == 0, done.stderr


def journals() -> list[tuple[str, str]]:
    """Give the journals of the boards that are on, by their names."""
    return [(board.name, board.journal("--lines=80")) for board in _known if board.is_on]
