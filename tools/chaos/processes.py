"""The processes that faults fall upon: a broker, a collector, devices. Each may be killed, frozen and begun again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from agent.clock import SystemClock
from tools.chaos.ledger import Ledger
from tools.chaos.leftovers import Leftovers
from tools.chaos.producer import Orders
from tools.fleet.ports import mosquitto_answers

_PATHS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_ROOT = Path(__file__).parents[2]
_READY_S = 30.0
_POLL_S = 0.02


class CannotRunError(Exception):
    """A fault cannot be had here; the text says why, for its row."""


def need(program: str, package: str) -> str:
    """Give the path of a program. Raises CannotRunError with the command that installs it."""
    found = shutil.which(program) or shutil.which(program, path=_PATHS)
    if found is None:
        raise CannotRunError(f"needs {program}: apt-get install {package}")
    return found


def need_root() -> None:
    """Raises CannotRunError unless we are root."""
    if os.geteuid() != 0:
        raise CannotRunError("needs root")


def free_port() -> int:
    """Give a port on loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool], what: str, within_s: float = _READY_S) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {within_s:.0f} s")
        time.sleep(_POLL_S)


class Child(ABC):
    """A process of ours, in a session of its own (Ctrl-C is for the controller), on the list of leftovers."""

    def __init__(self, leftovers: Leftovers, log: Path) -> None:
        self._leftovers = leftovers
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.sigkills = 0

    @abstractmethod
    def start(self) -> None:
        """Begin a life."""

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def launch(self, command: Sequence[str | Path], *, piped: bool = False) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE if piped else subprocess.DEVNULL
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe if piped else log, stderr=log, cwd=_ROOT, start_new_session=True
            )
        self._leftovers.process(self.process.pid)
        return self.process

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and see it gone."""
        if self.is_alive:
            self.signal(signal.SIGKILL)
            self.signal(signal.SIGCONT)
            self.sigkills += 1
        self.wait()

    def terminate(self) -> None:
        """SIGTERM, and see it gone; what does not go in time is killed, which is an error of the suite's subject."""
        if self.is_alive:
            self.signal(signal.SIGTERM)
        self.wait()

    def wait(self, within_s: float = _READY_S) -> None:
        if self.process is not None:
            try:
                self.process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise TimeoutError(f"{self.process.args!r} did not end within {within_s:.0f} s") from None
            self.process = None


class Broker(Child):
    """A mosquitto. extra: more lines of configuration. prefix: words before the command (ip netns exec ...)."""

    def __init__(
        self,
        leftovers: Leftovers,
        folder: Path,
        *,
        extra: Sequence[str] = (),
        address: str = "127.0.0.1",
        prefix: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True)
        super().__init__(leftovers, folder / "log")
        self._program = need("mosquitto", "mosquitto")
        self.folder = folder
        self.address = address
        self._prefix = list(prefix)
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} {address}", "user root", "log_type error", "log_type warning"]
        lines += ["persistence true", f"persistence_location {folder}/", "max_queued_messages 0"]
        lines += [] if any(line.startswith("allow_anonymous") for line in extra) else ["allow_anonymous true"]
        self._config.write_text("\n".join([*lines, *extra]) + "\n")

    @property
    def url(self) -> str:
        return f"mqtt://{self.address}:{self.port}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.launch([*self._prefix, self._program, "-c", self._config])
        if not self._prefix:
            wait_for(lambda: mosquitto_answers(self.port, self.address), "mosquitto")

    def forget(self) -> None:
        """Take its disk away; to be called while it is down."""
        (self.folder / "mosquitto.db").unlink(missing_ok=True)


class Collector(Child):
    """The reference collector, or what `program` (a module, and words for it) names in its place."""

    def __init__(
        self,
        leftovers: Leftovers,
        folder: Path,
        *,
        broker_url: str,
        store_url: str,
        instance: str = "collector",
        words: Sequence[str] = (),
        program: Sequence[str] = ("tools.fleet.collector",),
        prefix: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(leftovers, folder / f"collector-{instance}.log")
        self.metrics_port = free_port()
        self._command = [*prefix, sys.executable, "-m", *program, "--broker", broker_url, "--store", store_url]
        self._command += ["--metrics", f"127.0.0.1:{self.metrics_port}", "--instance", instance, "--plaintext", *words]
        self.client_id = instance

    def start(self) -> None:
        """Start, and wait until it says that it is ready."""
        before = self.log.stat().st_size if self.log.exists() else 0
        self.launch(self._command)

        def is_ready() -> bool:
            if not self.is_alive:
                raise TimeoutError(f"the collector ended: {self.log.read_text()[-500:]}")
            return b"collector ready" in self.log.read_bytes()[before:]

        wait_for(is_ready, "the collector")


class Producer(Child):
    """A device. Each start is another life of it: same disk, same id."""

    def __init__(
        self, leftovers: Leftovers, folder: Path, ledger: Ledger, orders: Orders, *, prefix: Sequence[str] = ()
    ) -> None:
        super().__init__(leftovers, folder / f"{orders.device}.log")
        self.orders = orders
        self._ledger = ledger
        self._prefix = list(prefix)
        self._lives = 0
        self._reader: threading.Thread | None = None
        self._clock = SystemClock()

    @property
    def device(self) -> str:
        return self.orders.device

    def start(self) -> None:
        """Begin a life; whether its outbox opened is told in the ledger."""
        self._lives += 1
        orders = msgspec.structs.replace(self.orders, seed=self.orders.seed + self._lives)
        process = self.launch([*self._prefix, sys.executable, "-m", *self._program(orders)], piped=True)
        pipe = process.stdout
        assert pipe is not None
        self._reader = threading.Thread(target=lambda: self._ledger.read(self.device, pipe), daemon=True)
        self._reader.start()

    def _program(self, orders: Orders) -> list[str]:
        return ["tools.chaos.producer", msgspec.json.encode(orders).decode()]

    def say(self, order: str) -> None:
        """Give an order; one that nobody hears any more is lost."""
        if self.process is not None and self.process.stdin is not None:
            try:
                self.process.stdin.write(order.encode() + b"\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                return

    def wait(self, within_s: float = _READY_S) -> None:
        process = self.process
        if process is None:
            return
        super().wait(within_s)
        assert self._reader is not None
        self._reader.join(_READY_S)
        for end in (process.stdin, process.stdout):
            if end is not None:
                try:
                    end.close()
                except BrokenPipeError:
                    continue
        self._ledger.ended(self.device, self._clock.now_ns())

    def stop(self) -> None:
        """Stop in order."""
        self.say("stop")
        self.wait()


class Daemon(Producer):
    """A device that is the whole agent: it takes no orders, and stops at SIGTERM."""

    def _program(self, orders: Orders) -> list[str]:
        settings = {
            "device.site": orders.site,
            "device.id": orders.device,
            "mqtt.url": orders.mqtt.url,
            "mqtt.ack_mode": orders.mqtt.ack_mode,
            "camera.source": "scene",
            "outbox.directory": orders.directory,
            "report.discovery": "false",
        }
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        return ["tools.chaos.daemon", "run", *words]

    def say(self, order: str) -> None:
        """It does not listen."""
