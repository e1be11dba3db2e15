"""`maskwatch demo`: the real daemon on a generated scene or a clip, a real broker, and what a subscriber sees of it."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from agent.camera import SceneCamera, open_camera
from agent.cli.broker import EmbeddedBroker, check_extra
from agent.cli.lines import plain_line, print_plain
from agent.cli.listener import Listener, listen
from agent.cli.live import show
from agent.cli.options import add_config_options
from agent.cli.site import Device, News, Site
from agent.cli.terminal import STYLES, console, duration, some, tail, verdicts
from agent.clock import NS_PER_S, Clock, SystemClock, new_id
from agent.config import Loaded, load
from agent.events.envelope import Envelope
from agent.settings import CameraSettings

_STEP_S = 0.2
_LAST_WORDS_S = 3.0  # how long after the agent's end its goodbye may be on its way
_STOP_S = 15.0  # the agent drains for 5 s and says goodbye
_SITE = "demo"


def add_parser(subparsers: Any) -> None:
    """Add the command's options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="a scene or clip through the real agent and a real broker, live",
        description="Run the real agent on a generated scene or a clip against a real broker, embedded unless mqtt.url "
        "is configured here, and show what a subscriber gets.",
    )
    parser.add_argument("source", nargs="?", default="scene", help="scene, a clip, a picture or a folder of them")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Show the agent at work until its scene is over; its exit code is ours."""
    clock, out = SystemClock(), console()
    with ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGHUP):  # a demo that is killed leaves no agent and no files behind
            stack.callback(signal.signal, number, signal.signal(number, _interrupt))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="maskwatch-demo-")))
        words = _settings(args, folder)
        loaded = load(words.config, overrides=words.overrides)
        embedded = loaded.sources["mqtt.url"] == "default"
        check_extra(broker=embedded, scene=loaded.settings.camera.source == "scene")
        source = _look_at(loaded.settings.camera, clock)
        if embedded:
            broker = stack.enter_context(EmbeddedBroker())
            # amqtt waits for ever for the rest of an MQTT 5 greeting with a will, so it is not tried.
            ours = [f"mqtt.url={broker.url}", "mqtt.protocol=3.1.1"]
            words = _Words(config=words.config, overrides=[*words.overrides, *ours])
            loaded = load(words.config, overrides=words.overrides)
        identity = loaded.settings.device
        topics = [f"maskwatch/{identity.site}/{identity.id}/{kind}" for kind in ("events", "status", "telemetry")]
        listener = stack.enter_context(listen(loaded.settings.mqtt, topics, clock))
        agent = stack.enter_context(_agent(words, folder / "agent.log"))
        stage = Show(loaded, source, listener, agent, clock, out, embedded=embedded)
        with suppress(KeyboardInterrupt):  # the way to end it early
            stage.run()
        code = agent.stop()
        if code:
            print(agent.last_words(), file=sys.stderr)
        else:
            print_plain(out, stage.summary())
        return code


class _Words(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration as the agent's command line gets it."""

    config: Path
    overrides: list[str]


def _settings(args: argparse.Namespace, folder: Path) -> _Words:
    """Put the demo's settings before the user's. A configuration counts only where it was named.

    The board's own file does not: a demo on a board must not talk to the board's broker in the board's name.
    """
    config = args.config or folder / "empty.toml"
    if args.config is None:
        config.touch()
    outbox = folder / "outbox"
    outbox.mkdir()
    ours = [
        f"camera.source={args.source}",
        f"camera.loop={'true' if args.loop else 'false'}",
        f"device.site={_SITE}",
        f"device.id=demo-{new_id()[:4]}",
        f"outbox.directory={outbox}",
        "report.telemetry_every_s=1",
        "report.discovery=false",
    ]
    return _Words(config=config, overrides=[*ours, *args.overrides])


class Agent:
    """The daemon as a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.pid = process.pid

    @property
    def over(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> int:
        """End it in order, if it has not ended. Returns its exit code."""
        if not self.over:
            self._process.terminate()
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def last_words(self) -> str:
        """Give the line it ended with, or all it said after a fault."""
        said = self._log.read_text(errors="replace").strip()
        return said if "Traceback" in said else said.rsplit("\n", 1)[-1]


@contextmanager
def _agent(words: _Words, log: Path) -> Iterator[Agent]:
    command = [sys.executable, "-m", "agent.cli.main", "run", "--config", str(words.config)]
    for override in words.overrides:
        command += ["--set", override]
    environ = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environ)
    agent = Agent(process, log)
    try:
        yield agent
    finally:
        agent.stop()


class Show:
    """What the audience sees: the agent's messages, as they come out of the broker."""

    def __init__(
        self,
        loaded: Loaded,
        source: tuple[str, list[str]],
        listener: Listener,
        agent: Agent,
        clock: Clock,
        out: Console,
        *,
        embedded: bool,
    ) -> None:
        """source: its description, and the labels of those it shows where they are known."""
        self._listener, self._agent, self._clock, self._out = listener, agent, clock, out
        self._url = loaded.settings.mqtt.url + (" (embedded)" if embedded else "")
        self._source, self._truth = source
        self._loops = loaded.settings.camera.loop
        self._site = Site(bin_s=2)
        self._start_ns = clock.now_ns()
        self._since_ms: int | None = None

    def run(self) -> None:
        """Show until the agent has ended and said goodbye."""
        if not self._out.is_terminal:
            print_plain(self._out, [Text(f"{self._source}; broker {self._url}")])
            for news in self._news():
                print_plain(self._out, (plain_line(*new, name_width=0, since_ms=self._since_ms) for new in news))
            return
        with Live(console=self._out, screen=True, auto_refresh=False) as live:
            for _ in self._news():
                show(live, self._site, self._clock.now_ns(), self._heading, since_ms=self._since_ms)

    def summary(self) -> list[Text]:
        """Tell what came out at the other end of the broker, beside what the scene holds."""
        devices = list(self._site.devices.values())
        labels = [label for device in devices for label, count in device.started.items() for _ in range(count)]
        told = Text(f"{some(len(labels), 'person')} in {duration(self._elapsed_s)}: ", "bold").append_text(
            verdicts(labels)
        )
        if self._truth and not self._loops:
            told.append("; the scene holds ").append_text(verdicts(self._truth))
        events = sum(device.events for device in devices)
        missing = sum(device.last_sequence - device.events for device in devices)
        delivered = Text(f"{some(events, 'event')} came out of the broker, ")
        delivered.append("in order, none missing", STYLES["good"]) if not missing else delivered.append(
            f"{missing} missing", STYLES["bad"]
        )
        return [told, delivered]

    def _news(self) -> Iterator[list[tuple[Device, News]]]:
        """Give what is new, again and again, until nothing more can come."""
        end_ns: int | None = None
        while True:
            news = self._site.take_all(self._listener.step(_STEP_S), self._clock.now_ns())
            if self._since_ms is None:
                self._since_ms = next((int(new.monoms) for _, new in news if isinstance(new, Envelope)), None)
            yield news
            if not self._agent.over:
                continue
            now_ns = self._clock.now_ns()
            end_ns = end_ns or now_ns + round(_LAST_WORDS_S * NS_PER_S)
            said_goodbye = bool(self._site.devices) and not any(d.online for d in self._site.devices.values())
            if said_goodbye or now_ns >= end_ns or self._agent.stop():
                return

    @property
    def _elapsed_s(self) -> float:
        return (self._clock.now_ns() - self._start_ns) / NS_PER_S

    def _heading(self) -> list[Text]:
        title = "maskwatch demo"
        source = tail(self._source, self._out.width - len(title) - 2)  # of a long path the end tells more
        first = Text(title, "bold", no_wrap=True, overflow="ellipsis").append(f"  {source}", "default")
        second = Text(f"broker {self._url} ", no_wrap=True, overflow="ellipsis")
        second.append(self._listener.state, STYLES["good" if self._listener.connected else "bad"])
        device = next(iter(self._site.devices.values()), None)
        figures = device.telemetry if device else None
        memory = f", {figures.memory_mb:.0f} MB" if figures else ""
        second.append(f"  agent {self._agent.pid}{memory}  {duration(self._elapsed_s)}", STYLES["pale"])
        return [first, second, Text()]


def _look_at(settings: CameraSettings, clock: Clock) -> tuple[str, list[str]]:
    """Describe the source, and tell whom it shows where that is known. Raises InputError for a file that is no clip."""
    camera = open_camera(settings, clock)
    if isinstance(camera, SceneCamera):
        return camera.describe(), [walker.label for walker in camera.truth]
    if camera.live:  # one reader at a time: it is the agent's
        return camera.describe(), []
    with camera:
        return camera.describe(), []


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
