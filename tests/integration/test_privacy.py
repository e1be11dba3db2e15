"""No picture leaves: everything that the process sends is recorded on the wire and read, packet by packet."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest

from agent.events.envelope import MESSAGE_BYTES_MAX, decode
from agent.events.state import Reply, Status, Telemetry
from tests.integration.agent_process import AgentProcess, sped_up
from tests.integration.wire import Other, Publish, RecordingProxy, packets
from tests.real import Mosquitto, Subscriber

# The longest text in the contract is a sentence of 200 characters; the longest run of letters and digits a sha256.
_TEXT_CHARS_MAX = 200
_RUN_CHARS_MAX = 64
_RUN = re.compile(r"[A-Za-z0-9+/_=-]+")
_NUMBERS_MAX = 4  # a box; a longer list of numbers could be pixels
_CONNECT_BYTES_MAX = 600
_PROPERTIES_BYTES_MAX = 60
# A scene of 25 s: some 30 events of 1 kB, a telemetry of 1 kB each 5 s, status and discovery. One face of 32 x 32
# pixels alone would be 3 kB.
_TOTAL_BYTES_MAX = 80_000

_PREFIX = "maskwatch/test/board/"
_READERS: dict[str, Callable[[bytes], object]] = {
    _PREFIX + "events": decode,
    _PREFIX + "status": lambda payload: msgspec.json.decode(payload, type=Status),
    _PREFIX + "telemetry": lambda payload: msgspec.json.decode(payload, type=Telemetry),
    _PREFIX + "reply": lambda payload: msgspec.json.decode(payload, type=Reply),
    "homeassistant/device/board/config": msgspec.json.decode,
}

# An agent gone bad: a crop of the frame, as a JPEG in base64, in the reason of each new person.
_LEAKING = """
import base64, cv2
import agent.pipeline
from agent.events.types import PersonNew
honest = agent.pipeline.Pipeline.step
def step(self, frame):
    events = honest(self, frame)
    _, jpeg = cv2.imencode(".jpg", frame.pixels[100:116, 100:116])
    crop = base64.b64encode(jpeg.tobytes()).decode()
    return [leak(event, crop) for event in events]
def leak(event, crop):
    if not isinstance(event.data, PersonNew):
        return event
    return agent.pipeline.Event(at_ns=event.at_ns, data=type(event.data)(**{
        **{name: getattr(event.data, name) for name in event.data.__struct_fields__}, "reason": crop}))
agent.pipeline.Pipeline.step = step
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[RecordingProxy]:
    with Mosquitto(tmp_path / "broker") as broker, RecordingProxy(broker.port) as recording:
        yield recording


def run_agent(proxy: RecordingProxy, home: Path, *, first: str = "") -> set[int]:
    """Let an agent watch the whole scene through the proxy; give the ports that it was seen to be connected to."""
    ports: set[int] = set()
    settings = ["report.telemetry_every_s=5"]
    url = f"mqtt://127.0.0.1:{proxy.port}"
    with AgentProcess(home, url=url, first=sped_up(6) + first, settings=settings) as agent:
        agent.wait_for("READY=1")
        while agent.process.poll() is None:
            try:
                connections = psutil.Process(agent.process.pid).net_connections(kind="inet")
            except psutil.NoSuchProcess:
                break
            ports |= {connection.raddr.port for connection in connections if connection.raddr}
            psutil.wait_procs([psutil.Process(agent.process.pid)], timeout=0.2)
        assert agent.process.wait() == 0, agent.log.read_text()
    return ports


def everything_sent(proxy: RecordingProxy) -> list[Publish | Other]:
    return [packet for record in proxy.records for packet in packets(bytes(record))]


def objections(sent: list[Publish | Other]) -> list[str]:
    """Give what in these packets could be, or could hide, a picture."""
    found = []
    for packet in sent:
        if isinstance(packet, Other):
            if len(packet.content) > _CONNECT_BYTES_MAX:
                found.append(f"a packet of type {packet.kind} with {len(packet.content)} bytes")
            continue
        if len(packet.payload) > MESSAGE_BYTES_MAX and packet.topic in _READERS:
            found.append(f"{packet.topic}: {len(packet.payload)} bytes")
        if len(packet.properties) > _PROPERTIES_BYTES_MAX:
            found.append(f"{packet.topic}: properties of {len(packet.properties)} bytes")
        try:
            _READERS[packet.topic](packet.payload)
            found += _objections_to(msgspec.json.decode(packet.payload), packet.topic)
        except (KeyError, msgspec.DecodeError) as error:
            found.append(f"{packet.topic}: {error!r}")
    return found


def _objections_to(value: Any, place: str) -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _objections_to(key, f"{place} key")
                yield from _objections_to(inner, f"{place}.{key}")
        case list():
            if len(value) > _NUMBERS_MAX and all(isinstance(item, int | float) for item in value):
                yield f"{place}: {len(value)} numbers in a row"
            for inner in value:
                yield from _objections_to(inner, place)
        case str():
            longest = max((len(run) for run in _RUN.findall(value)), default=0)
            if len(value) > _TEXT_CHARS_MAX or longest > _RUN_CHARS_MAX:
                yield f"{place}: a text of {len(value)} characters, {longest} in a row"


class Watched(NamedTuple):
    """What is left of an agent that has watched a scene."""

    proxy: RecordingProxy
    ports: set[int]
    home: Path


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("watched")
    with Mosquitto(folder / "broker") as broker, RecordingProxy(broker.port) as recording:
        return Watched(recording, run_agent(recording, folder / "home"), folder / "home")


def test_everything_the_process_sends_is_small_valid_and_words(watched: Watched) -> None:
    sent = everything_sent(watched.proxy)
    assert objections(sent) == []
    topics = {packet.topic for packet in sent if isinstance(packet, Publish)}
    assert topics >= {_PREFIX + "events", _PREFIX + "status", _PREFIX + "telemetry"}
    assert sum(len(packet.payload) for packet in sent if isinstance(packet, Publish)) > 10_000
    assert sum(map(len, watched.proxy.records)) < _TOTAL_BYTES_MAX


def test_the_process_talks_to_its_broker_and_nobody_else(watched: Watched) -> None:
    assert watched.ports == {watched.proxy.port}


def test_nothing_but_the_outbox_is_written(watched: Watched) -> None:
    written = {path.relative_to(watched.home).as_posix() for path in watched.home.rglob("*") if path.is_file()}
    assert written <= {f"outbox/outbox.{kind}" for kind in ("db", "db-wal", "lock", "reserve")}
    assert "outbox/outbox.db" in written


def test_the_check_finds_a_picture_in_an_agent_that_sends_one(proxy: RecordingProxy, tmp_path: Path) -> None:
    run_agent(proxy, tmp_path / "home", first=_LEAKING)
    found = objections(everything_sent(proxy))
    assert len(found) >= 6  # one for each person of the scene
    assert all("events" in objection for objection in found)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"state":"online","session":1,"version":"' + b"A" * 100 + b'"}',
        b'{"state":"online","session":1,"version":"1","picture":"x"}',
        b'{"state":"online","session":1,"version":"' + b"word " * 50 + b'"}',
    ],
)
def test_the_check_objects_to_a_status_that_could_hold_one(payload: bytes) -> None:
    assert objections([Publish(_PREFIX + "status", b"", payload)])


def test_the_check_objects_to_other_topics_long_properties_and_rows_of_numbers() -> None:
    reply = b'{"command":"diag","ok":true,"result":{"pixels":[1,2,3,4,5]}}'
    assert objections([Publish("maskwatch/elsewhere", b"", b"{}")])
    assert objections([Publish(_PREFIX + "reply", b"", reply)])
    assert objections([Publish(_PREFIX + "reply", b"x" * 100, b'{"command":"ping","ok":true}')])
    assert objections([Other(1, b"x" * 1000)])
    assert not objections([Publish(_PREFIX + "reply", b"", b'{"command":"ping","ok":true}')])


def test_a_recorded_connection_reads_as_what_a_client_sent(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, RecordingProxy(broker.port) as recording:
        through: Any = type("Through", (), {"port": recording.port, "tls": False})()
        with Subscriber(through) as client:
            client.send("maskwatch/x", b"y" * 300)
        (record,) = recording.records
        sent = list(packets(bytes(record), version=4))
    assert Publish("maskwatch/x", b"", b"y" * 300, mid=2) in sent
    assert [packet.kind for packet in sent if isinstance(packet, Other)][:2] == [1, 8]  # CONNECT, SUBSCRIBE
