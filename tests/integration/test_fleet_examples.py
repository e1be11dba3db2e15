"""The example subscribers, each run for real: at the shipped broker, on events that the agent made."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import pytest

from agent.events.types import AgentStop, Gap
from tests.integration.agent_process import AgentProcess, sped_up
from tests.integration.shipped_mosquitto import Client, ShippedMosquitto, TestAuthority
from tests.integration.test_end_to_end import events_of, wait_for_goodbye
from tests.real import WITHIN_S, Mosquitto, Subscriber, free_port, need, wait_for

EXAMPLES = Path(__file__).parents[2] / "tools" / "fleet" / "examples"
TOPIC = "maskwatch/test/board/events"
_NPM_S = 300


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """What the agent published about the scene, in order, each event once."""
    folder = tmp_path_factory.mktemp("record")
    with (
        Mosquitto(folder / "broker") as broker,
        Subscriber(broker) as subscriber,
        AgentProcess(folder / "home", url=broker.url, first=sped_up(6)) as agent,
    ):
        assert agent.process.wait(60) == 0, agent.log.read_text()
        wait_for_goodbye(subscriber)
        assert isinstance(events_of(subscriber)[-1].data, AgentStop)
        payloads = {json.loads(payload)["sequence"]: payload for payload in subscriber.payloads(TOPIC)}
    return [payloads[sequence] for sequence in sorted(payloads)]


class World(NamedTuple):
    """The shipped broker with `dashboard` in its access list, as the examples' page says, and a board."""

    broker: ShippedMosquitto
    ca: Path
    dashboard: tuple[Path, Path]
    board: Client


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    authority = TestAuthority(tmp_path / "ca")
    broker = ShippedMosquitto(tmp_path / "broker", authority)
    (lines,) = re.findall(r"```\n(user dashboard\n.*?)```", (EXAMPLES / "README.md").read_text(), re.S)
    with (broker.files / "acl").open("a") as acl:
        acl.write(f"\n{lines}")
    board, dashboard = authority.issue("board"), authority.issue("dashboard")
    with broker, Client(broker, authority.ca, board) as client:
        yield World(broker, authority.ca, dashboard, client)


class Program:
    """An example as a process. What it says last is what it knows."""

    def __init__(self, command: list[str], home: Path) -> None:
        self._command = command
        self._home = home
        self.said: list[dict[str, Any]] = []
        self.is_ready = False

    def __enter__(self) -> Self:
        self.said.clear()
        self.is_ready = False
        self.process = subprocess.Popen(
            self._command, cwd=self._home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        wait_for(lambda: self.is_ready or self.process.poll() is not None, 60, "ready")
        assert self.is_ready, self.said
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(WITHIN_S)
        self._reader.join(WITHIN_S)

    def wait_for(self, **known: Any) -> None:
        """Wait until it knows this."""
        try:
            wait_for(lambda: bool(self.said) and self.said[-1] == known)
        except AssertionError as error:
            raise AssertionError(f"{known} is wanted; it said last: {self.said[-3:]}") from error

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "ready\n":
                self.is_ready = True
            else:
                self.said.append(json.loads(line) if line.startswith("{") else {"line": line})


def node() -> str:
    program = need("node", "nodejs")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip("v").split(".")[0]) < 18:
        pytest.skip(f"needs Node 18 or later, and this is {version.strip()}")
    return program


def installed(name: str, package: str) -> Path:
    """Give a folder in which npm has installed what a package.json asks for; it is kept for the next run.

    Skips where npm or the packages cannot be had.
    """
    npm = need("npm", "npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskwatch" / name
    cache.mkdir(parents=True, exist_ok=True)
    with (cache.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = cache / "installed"
        if not stamp.exists() or stamp.read_text() != package:
            (cache / "package.json").write_text(package)
            quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--no-update-notifier", "--loglevel=error"]
            command = [npm, "install", *quiet]
            try:
                done = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=_NPM_S, check=False)
            except subprocess.TimeoutExpired:
                pytest.skip(f"npm did not fetch {name} within {_NPM_S} s")
            if done.returncode:
                pytest.skip(f"npm cannot fetch {name}: {(done.stderr.strip().splitlines() or ['?'])[0]}")
            stamp.write_text(package)
    return cache


@pytest.fixture(params=["python", "node"])
def program(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Program:
    home = tmp_path / "home"
    home.mkdir()
    certificate, key = map(str, world.dashboard)
    if request.param == "python":
        words = ["--ca", str(world.ca), "--cert", certificate, "--key", key]
        return Program([sys.executable, str(EXAMPLES / "subscriber.py"), world.broker.url, *words], home)
    packages = installed("node-subscriber", (EXAMPLES / "node" / "package.json").read_text())
    shutil.copy(EXAMPLES / "node" / "subscriber.mjs", home)
    (home / "node_modules").symlink_to(packages / "node_modules")
    return Program([node(), "subscriber.mjs", world.broker.url, str(world.ca), certificate, key], home)


def persons(events: list[bytes]) -> dict[str, int]:
    """Count as a reader with all the time in the world would."""
    ends = [event for event in map(json.loads, events) if event["type"] == "maskwatch.person.end.v1"]
    return dict(Counter(event["data"]["label"] for event in ends))


def gap(example: bytes, *, sequence: int, first: int, last: int) -> bytes:
    """Make the event by which the board of `example` names what it gave up."""
    event = json.loads(example)
    data = msgspec.to_builtins(Gap(first=first, last=last, by_type={}, why="quota"))
    event |= {"type": Gap.TYPE, "sequence": f"{sequence:012d}", "id": f"{event['stream']}.{sequence}", "data": data}
    return json.dumps(event).encode()


def test_the_record_is_worth_reading(recorded: list[bytes]) -> None:
    assert len(recorded) >= 15
    assert [int(json.loads(payload)["sequence"]) for payload in recorded] == list(range(1, len(recorded) + 1))
    assert persons(recorded).keys() >= {"mask", "no_mask"}


def test_each_person_is_counted_once_though_events_come_twice_and_the_reader_is_killed(
    world: World, program: Program, recorded: list[bytes]
) -> None:
    half = len(recorded) // 2
    with program:
        for payload in recorded[:half]:
            world.board.publish(TOPIC, payload)
            world.board.publish(TOPIC, payload)
        program.wait_for(persons=persons(recorded[:half]), missing=[])
    for payload in recorded[half // 2 :]:  # while it is away; the first of them for the third time
        world.board.publish(TOPIC, payload)
    with program:
        program.wait_for(persons=persons(recorded), missing=[])
        assert len(program.said) >= len(recorded) - half // 2


def test_a_reader_killed_before_it_acknowledged_reads_again_and_counts_once(
    world: World, program: Program, recorded: list[bytes]
) -> None:
    for _ in range(3):
        with program:
            for payload in recorded:
                world.board.publish(TOPIC, payload)
            wait_for(lambda: bool(program.said), what="the first event")  # and so it dies in the middle of them
    with program:
        world.board.publish(TOPIC, recorded[0])
        program.wait_for(persons=persons(recorded), missing=[])


def test_a_hole_is_noticed_until_it_is_named_or_filled(world: World, program: Program, recorded: list[bytes]) -> None:
    withheld = [3, 4, 5, 8]  # sequences, which count from 1
    given = [payload for number, payload in enumerate(recorded, 1) if number not in withheld]
    end = len(recorded)
    with program:
        for payload in given:
            world.board.publish(TOPIC, payload)
        program.wait_for(persons=persons(given), missing=withheld)
        world.board.publish(TOPIC, gap(recorded[0], sequence=end + 1, first=3, last=5))
        program.wait_for(persons=persons(given), missing=[8])
        world.board.publish(TOPIC, recorded[7])
        program.wait_for(persons=persons([*given, recorded[7]]), missing=[])
        world.board.publish(TOPIC, gap(recorded[0], sequence=end + 3, first=1, last=1))
        program.wait_for(persons=persons([*given, recorded[7]]), missing=[end + 2])


def test_what_is_no_event_is_told_and_does_not_come_again(
    world: World, program: Program, recorded: list[bytes]
) -> None:
    first = next(count for count in range(len(recorded)) if persons(recorded[:count]))
    with program:
        for rubbish in (b"\xff\xfe", b"[]", b"{}", b'{"stream": 1}'):
            world.board.publish(TOPIC, rubbish)
        for payload in recorded[:first]:
            world.board.publish(TOPIC, payload)
        program.wait_for(persons=persons(recorded[:first]), missing=[])
        assert sum("not_an_event" in said for said in program.said) == 4
    with program:
        world.board.publish(TOPIC, recorded[first])
        program.wait_for(persons=persons(recorded[: first + 1]), missing=[])
        assert not any("not_an_event" in said for said in program.said)


class NodeRed:
    """Node-RED without its editor, with a flow, until it has connected."""

    def __init__(self, packages: Path, home: Path, flow: list[dict[str, Any]]) -> None:
        home.mkdir(exist_ok=True)
        self._port = free_port()
        settings = {
            "uiHost": "127.0.0.1",
            "uiPort": self._port,
            "httpAdminRoot": False,
            "contextStorage": {"default": {"module": "localfilesystem"}},
            "telemetry": {"enabled": False},
        }
        (home / "settings.js").write_text(f"module.exports = {json.dumps(settings)};")
        (home / "flows.json").write_text(json.dumps(flow))
        red = packages / "node_modules" / "node-red" / "red.js"
        self._command = [node(), str(red), "--userDir", str(home), "flows.json"]
        self._log = home / "log"

    def __enter__(self) -> Self:
        self._log.write_text("")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_for(lambda: "Connected to broker" in self.log or self._process.poll() is not None, 60, "the connection")
        assert self._process.poll() is None, self.log
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(WITHIN_S)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def persons(self) -> dict[str, Any]:
        """Ask it over HTTP, as the flow offers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/persons", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def placed_flow(world: World) -> list[dict[str, Any]]:
    """Give the shipped flow with host, port and files set, as a user does."""
    nodes: list[dict[str, Any]] = json.loads((EXAMPLES / "node-red" / "flow.json").read_text())
    (broker,) = [item for item in nodes if item["type"] == "mqtt-broker"]
    (tls,) = [item for item in nodes if item["type"] == "tls-config"]
    broker |= {"broker": "localhost", "port": str(world.broker.port)}
    tls |= {"ca": str(world.ca), "cert": str(world.dashboard[0]), "key": str(world.dashboard[1])}
    return nodes


def test_node_red_counts_each_person_once_and_serves_the_counts(
    world: World, tmp_path: Path, recorded: list[bytes]
) -> None:
    node()
    packages = installed("node-red", json.dumps({"private": True, "dependencies": {"node-red": "^4.0.0"}}))
    given = [payload for number, payload in enumerate(recorded, 1) if number != 4]
    half = len(given) // 2
    flow = NodeRed(packages, tmp_path / "red", placed_flow(world))

    def complains() -> bool:
        world.board.publish(TOPIC, b'{"no": "event"}')
        return "not an event on maskwatch/test/board/events" in flow.log

    with flow:
        wait_for(complains, what="the complaint")  # it is connected before it has subscribed, and says only the former
        for payload in given[:half]:
            world.board.publish(TOPIC, payload)
            world.board.publish(TOPIC, payload)
        wait_for(lambda: flow.persons() == {"persons": persons(given[:half]), "missing": [4]}, what="the first half")
    for payload in given[half // 2 :]:
        world.board.publish(TOPIC, payload)
    with flow:
        wait_for(lambda: flow.persons() == {"persons": persons(given), "missing": [4]}, what="what came while away")
        world.board.publish(TOPIC, gap(recorded[0], sequence=len(recorded) + 1, first=4, last=4))
        wait_for(lambda: flow.persons() == {"persons": persons(given), "missing": []}, what="the gap")


def test_no_example_names_a_registry_or_somebody_s_machine() -> None:
    for path in (path for path in EXAMPLES.rglob("*") if path.is_file()):
        hosts = set(re.findall(r"[a-z]+s?://([\w.-]+)", path.read_text()))
        assert hosts <= {"broker.example"}, path
    assert not list(EXAMPLES.rglob("package-lock.json"))
