"""Two network namespaces with a cable between them, for the faults of the network. Needs root, iproute2, nftables."""

import ctypes
import os
import subprocess
from pathlib import Path

from tools.chaos.leftovers import Leftovers
from tools.chaos.processes import CannotRunError, need, need_root

_CLONE_NEWNET = 0x40000000


class Cable:
    """Devices on one side, broker and collector on the other: `here` and `there` are the namespaces' names."""

    def __init__(self, leftovers: Leftovers, name: str) -> None:
        """name: at most nine characters, unique on the machine. Raises CannotRunError."""
        need_root()
        for program, package in (("ip", "iproute2"), ("nft", "nftables")):
            need(program, package)
        self.here, self.there = f"{name}-a", f"{name}-b"
        self.address = "10.77.0.2"
        for namespace in (self.here, self.there):
            leftovers.namespace(namespace)
            _run("ip", "netns", "add", namespace)
            _run("ip", "-n", namespace, "link", "set", "lo", "up")
        _run("ip", "-n", self.here, "link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", self.there)
        for namespace, link, address in ((self.here, "va", "10.77.0.1/24"), (self.there, "vb", f"{self.address}/24")):
            _run("ip", "-n", namespace, "address", "add", address, "dev", link)
            _run("ip", "-n", namespace, "link", "set", link, "up")

    def lose(self, percent: int) -> None:
        """Drop so many of a hundred packets each way; 0: none any more."""
        for namespace in (self.here, self.there):
            rules = "flush ruleset\n"
            if percent:
                rules += (
                    "table ip chaos {\nchain out {\ntype filter hook output priority 0;\n"
                    f"numgen random mod 100 < {percent} drop\n}}\n}}\n"
                )
            _run("ip", "netns", "exec", namespace, "nft", "-f", "-", text=rules)

    def unplug(self) -> None:
        _run("ip", "-n", self.here, "link", "set", "va", "down")

    def plug(self) -> None:
        _run("ip", "-n", self.here, "link", "set", "va", "up")

    def remove(self) -> None:
        for namespace in (self.here, self.there):
            _run("ip", "netns", "delete", namespace)


def prefix(namespace: str) -> list[str]:
    """Give the words that start a command in a namespace."""
    return [need("ip", "iproute2"), "netns", "exec", namespace]


def enter(namespace: str) -> None:
    """Move the calling thread, and no other, into a namespace."""
    with Path(f"/run/netns/{namespace}").open("rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _run(*command: str, text: str | None = None) -> None:
    done = subprocess.run(command, input=text, text=True, check=False, capture_output=True)
    if done.returncode:
        raise CannotRunError(f"{' '.join(command)}: {done.stderr.strip()}")
