"""Three broker nodes on loopback, each with the files of deploy/rabbitmq where a real one has them: /etc/rabbitmq.

For tests and for whoever wants to break something: nodes can be killed, stopped and started one by one. Needs what
tools.debian.root needs. Nodes are numbered from 0. Everything ends with the process that made it
only if `close` is called: use it as a context.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from agent.errors import UnavailableError
from tools.debian import root
from tools.debian.roots import BROKERS
from tools.fleet.ca.authority import PROGRAMS, program_of
from tools.fleet.ca.store import Store
from tools.fleet.ports import listens

SHIPPED = Path(__file__).parents[2] / "deploy" / "rabbitmq"
SIZE = 3
_DAYS, _CERTIFICATE_DAYS = 30, 7
_USER = "rabbitmq"
_UP_S = 120.0
_DOWN_S = 60.0
_ENROL_S = 60.0
_POLL_S = 0.1


class Cluster:
    """A cluster and the certificates for it."""

    def __init__(self, folder: Path, *, devices: Sequence[str] = ()) -> None:
        """Write everything; start nothing. Raises UnavailableError where this machine cannot run a cluster."""
        self._root = BROKERS.ready()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = Store.create(folder / "ca", name="maskwatch trial", now=_now(), days=_DAYS)
        self.ca = self._authority.ca_path
        self.devices = tuple(devices)
        ports = _free_ports(2 * SIZE + 1)
        self.ports = tuple(ports[:SIZE])
        self._epmd_port = ports[-1]
        self._cookie = secrets.token_hex(16)
        self._nodes: list[subprocess.Popen[bytes] | None] = [None] * SIZE
        self._epmd: subprocess.Popen[bytes] | None = None
        for index in range(SIZE):
            self._write_node(index, distribution_port=ports[SIZE + index])

    def url(self, index: int) -> str:
        """Give where a node is, as the agent's `mqtt.url` wants it."""
        return f"mqtts://localhost:{self.ports[index]}"

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Give certificate and key of a device or program; made when first asked for."""
        certificate, key = self._authority.certificate_of(name), self._authority.key_of(name)
        if not certificate.exists():
            self._authority.issue(name, role=program_of(name) or "device", now=_now(), days=_CERTIFICATE_DAYS)
        return certificate, key

    def log(self, index: int) -> str:
        """Give what a node has written so far."""
        return "".join(path.read_text(errors="replace") for path in sorted((self._node(index) / "log").glob("*.log")))

    def start(self) -> None:
        """Set up the cluster as the README of deploy/rabbitmq does; programs and devices are enrolled."""
        self.heal()
        self.run("rabbitmqctl", "-q", "enable_feature_flag", "--opt-in", "khepri_db")
        self.enrol(*PROGRAMS, *self.devices)

    def heal(self) -> None:
        """Start the nodes that are not up, and wait until all know of each other."""
        dead = [index for index in range(SIZE) if not self.running(index)]
        if dead:
            self.start_nodes(dead)
            self.run("rabbitmqctl", "-q", "await_online_nodes", str(SIZE))

    def start_nodes(self, indices: Sequence[int]) -> None:
        """Start nodes together, and wait until each takes connections."""
        if self._epmd is None:  # of its own, on a port of its own: the machine's stays as it is
            self._epmd = self._spawn(0, ["epmd", "-address", "127.0.0.1"], "epmd")
            self._wait([self._epmd_port], [self._epmd], "epmd")
        for index in indices:
            self._nodes[index] = self._spawn(index, ["/usr/lib/rabbitmq/bin/rabbitmq-server"], "console")
        started = [self._nodes[index] for index in indices]
        self._wait([self.ports[index] for index in indices], started, f"nodes {list(indices)}")

    def kill(self, index: int) -> None:
        """Kill a node: the power goes."""
        self._end(index, signal.SIGKILL)

    def stop(self, index: int) -> None:
        """Stop a node in order."""
        self._end(index, signal.SIGTERM)

    def has_on_disk(self, index: int, queue: str) -> bool:
        """Tell whether a node would know a queue of its own after a kill: it notes a new one half a second late."""
        return any(queue.encode() in path.read_bytes() for path in (self._node(index) / "lib").rglob("names.dets"))

    def lose_disk(self, index: int) -> None:
        """Take from a node that is down all that it remembers."""
        shutil.rmtree(self._node(index) / "lib" / "mnesia")

    def running(self, index: int) -> bool:
        process = self._nodes[index]
        return process is not None and process.poll() is None

    def enrol(self, *devices: str) -> None:
        """Let devices or programs in, with the script that an operator uses."""
        self.run("/etc/rabbitmq/enrol", "add", *devices)

    def withdraw(self, *devices: str) -> None:
        """Let them in no more."""
        self.run("/etc/rabbitmq/enrol", "remove", *devices)

    def run(self, *arguments: str, index: int | None = None) -> str:
        """Run a program beside a node (the first that is up), such as rabbitmqctl; give what it prints.

        Raises UnavailableError when it fails.
        """
        at = next(i for i in range(SIZE) if self.running(i)) if index is None else index
        command = self._command(at, list(arguments))
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ENROL_S, check=False)
        if done.returncode != 0:
            remedy = f"{self._node(at)}/log says why"
            raise UnavailableError((done.stdout + done.stderr).strip()[-500:], where=arguments[0], remedy=remedy)
        return done.stdout

    def close(self) -> None:
        """Kill what runs. The folder stays."""
        for index in range(SIZE):
            self.kill(index)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(_DOWN_S)
            self._epmd = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _node(self, index: int) -> Path:
        return self._folder / f"node{index}"

    def _write_node(self, index: int, *, distribution_port: int) -> None:
        etc = self._node(index) / "etc"
        (etc / "conf.d").mkdir(parents=True)
        (etc / "tls").mkdir()
        for name in ("lib", "log"):
            (self._node(index) / name).mkdir()
        shutil.copy(SHIPPED / "rabbitmq.conf", etc / "conf.d" / "10-maskwatch.conf")
        for name in ("enabled_plugins", "definitions.json", "inter_node_tls.config", "enrol"):
            shutil.copy(SHIPPED / name, etc)
        here = [f"mqtt.listeners.ssl.default = 127.0.0.1:{self.ports[index]}"]
        here += ["cluster_formation.peer_discovery_backend = classic_config"]
        here += [f"cluster_formation.classic_config.nodes.{i + 1} = {_name(i)}" for i in range(SIZE)]
        (etc / "conf.d" / "20-cluster.conf").write_text("\n".join(here) + "\n")
        small = "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
        here = [(SHIPPED / "rabbitmq-env.conf").read_text()]
        here += [f"NODENAME={_name(index)}\nexport RABBITMQ_DIST_PORT={distribution_port}\n"]
        here += [f'SERVER_ADDITIONAL_ERL_ARGS="$SERVER_ADDITIONAL_ERL_ARGS {small}"\n']
        (etc / "rabbitmq-env.conf").write_text("".join(here))
        cookie = self._node(index) / "lib" / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o600)
        name = f"node{index}"
        self._authority.issue(name, role="server", hosts=["localhost", "127.0.0.1"], now=_now(), days=_CERTIFICATE_DAYS)
        shutil.copy(self.ca, etc / "tls" / "ca.pem")
        shutil.copy(self._authority.certificate_of(name), etc / "tls" / "node.pem")
        shutil.copy(self._authority.key_of(name), etc / "tls" / "node.key")
        root.give_to(self._root, _USER, self._node(index))

    def _command(self, index: int, arguments: Sequence[str]) -> list[str]:
        node = self._node(index)
        environment = {
            "HOME": "/var/lib/rabbitmq",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RUNNING_UNDER_SYSTEMD": "true",  # no shell stays between us and the node
        }
        folders = {"/etc/rabbitmq": node / "etc", "/var/lib/rabbitmq": node / "lib", "/var/log/rabbitmq": node / "log"}
        return root.command(self._root, arguments, environment=environment, folders=folders, user=_USER)

    def _spawn(self, index: int, arguments: Sequence[str], name: str) -> "subprocess.Popen[bytes]":
        with (self._node(index) / "log" / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self._command(index, arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, index: int, number: signal.Signals) -> None:
        process, self._nodes[index] = self._nodes[index], None
        if process is not None and process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(_DOWN_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(_DOWN_S)

    def _wait(self, ports: Sequence[int], processes: Sequence["subprocess.Popen[bytes] | None"], what: str) -> None:
        end = time.monotonic() + _UP_S
        for port in ports:
            while not listens(port):
                dead = any(process is None or process.poll() is not None for process in processes)
                if dead or time.monotonic() > end:
                    how = "ended" if dead else f"did not come within {_UP_S:.0f} s"
                    raise UnavailableError(f"{what} {how}", where=str(self._folder), remedy="read the logs in it")
                time.sleep(_POLL_S)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _name(index: int) -> str:
    return f"rabbit{index}@localhost"


def _free_ports(count: int) -> list[int]:
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [door.getsockname()[1] for door in doors]
    for door in doors:
        door.close()
    return ports
