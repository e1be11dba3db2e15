"""`python -m tools.chaos.herd_member ORDERS`: some of a herd of agents, as far as a broker sees them connect.

Each has its own certificate and the agent's own rule for when to connect again (agent.delivery.reconnect); what it then
sends is what the agent sends first: will, subscriptions, status, discovery. The MQTT packets are made by hand, since a
thousand paho clients would measure themselves. stdout tells each of `["begun", NANOSECONDS]`, "up"
and "lost", one a line.
"""

import asyncio
import logging
import random
import ssl
import struct
import sys
from pathlib import Path

import msgspec

from agent.clock import NS_PER_S, SystemClock
from agent.delivery import discovery
from agent.delivery.link import Trouble
from agent.delivery.reconnect import CONNECT_MAX_S, STABLE_S, Reconnect
from agent.delivery.topics import Identity
from agent.events.state import Status

_DIAL_S = 5.0  # agent.delivery.mqtt: for the connection, and again for the handshake
_CONNACK, _SUBSCRIBE, _PUBLISH_RETAINED_QOS1 = 0x20, 0x82, 0x33
_CLEAN_START_RETAINED_WILL_QOS1 = 0x2E
_CLOCK = SystemClock()


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to connect where. papers: the folder with ca.pem and, for each name, NAME.pem and NAME.key.

    first, count: these of the herd. jitter: False takes chance out of the rule. gather_s: the first connections are
    spread over so long.
    """

    port: int
    papers: str
    first: int
    count: int
    seed: int
    jitter: bool
    gather_s: float


def name_of(number: int) -> str:
    """Name an agent of the herd."""
    return f"board-{number:04d}"


class Same(random.Random):
    """Chance that always falls the same: every agent waits for the middle of what it might."""

    def random(self) -> float:
        return 0.5


class _Aging(SystemClock):
    """The clock of an agent whose first connection has lasted, as that of a fleet has when its broker goes."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.ahead_ns


class RefusedError(Exception):
    """The broker answered CONNECT with something else than a welcome."""


async def live(name: str, orders: Orders, rng: random.Random, late_s: float) -> None:
    """Be one agent, for ever."""
    papers = Path(orders.papers)
    context = ssl.create_default_context(cafile=papers / "ca.pem")
    context.load_cert_chain(papers / f"{name}.pem", papers / f"{name}.key")
    identity = Identity(site="herd", device=name, version="0.0.0")
    await asyncio.sleep(late_s)
    clock = _Aging()
    reconnect = Reconnect(clock, rng)
    while True:
        due_ns = reconnect.due_ns
        assert due_ns is not None
        await asyncio.sleep(max(0.0, (due_ns - clock.now_ns()) / NS_PER_S))
        reconnect.begun()
        _tell("begun")
        try:
            async with asyncio.timeout(CONNECT_MAX_S):
                reader, writer = await _dial(orders.port, context)
                try:
                    await _introduce(reader, writer, identity)
                except BaseException:
                    writer.transport.abort()
                    raise
        except (OSError, EOFError, RefusedError) as error:  # TimeoutError and ssl.SSLError are OSErrors
            reconnect.failed(_trouble(error), str(error))
            continue
        reconnect.succeeded()
        clock.ahead_ns = STABLE_S * NS_PER_S
        _tell("up")
        await _listen(reader)
        writer.transport.abort()
        _tell("lost")
        reconnect.failed(Trouble.CLOSED, "the broker closed the connection")


async def _dial(port: int, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.wait_for(
        asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost", ssl_handshake_timeout=_DIAL_S
        ),
        2 * _DIAL_S,
    )


async def _introduce(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, identity: Identity) -> None:
    """Say CONNECT, wait for the welcome, then say what the agent says first. Raises RefusedError."""
    will = msgspec.json.encode(Status(state="offline", session=1, version=identity.version, reason="connection lost"))
    writer.write(connect(identity.device, identity.status, will))
    kind, length = await reader.readexactly(2)
    body = await reader.readexactly(length)
    if kind != _CONNACK or body[1]:
        raise RefusedError(f"packet {kind:#x}, reason {body[1]}")
    writer.write(subscribe(identity.subscriptions))
    birth = msgspec.json.encode(Status(state="online", session=1, version=identity.version, camera="ok"))
    writer.write(publish(identity.status, birth, number=2))
    document = discovery.document(identity, wanted=True)
    writer.write(publish(document.topic, document.payload, number=3))
    await writer.drain()


async def _listen(reader: asyncio.StreamReader) -> None:
    """Read until the connection ends."""
    try:
        while await reader.read(4096):
            pass
    except OSError:
        return


def _trouble(error: Exception) -> Trouble:
    """Give what the agent would call it; all of these it retries by the same rule."""
    match error:
        case ConnectionRefusedError():
            return Trouble.REFUSED
        case TimeoutError():
            return Trouble.TIMEOUT
        case _:
            return Trouble.CLOSED


# MQTT 5.0: sections 3.1, 3.8, 3.3. No keep-alive: nobody here is silent for long.


def connect(client_id: str, will_topic: str, will: bytes) -> bytes:
    start = _text(b"MQTT") + bytes([5, _CLEAN_START_RETAINED_WILL_QOS1, 0, 0, 0])
    return _packet(0x10, start + _text(client_id.encode()) + b"\0" + _text(will_topic.encode()) + _text(will))


def subscribe(topics: tuple[str, ...]) -> bytes:
    return _packet(_SUBSCRIBE, b"\0\1\0" + b"".join(_text(topic.encode()) + b"\1" for topic in topics))


def publish(topic: str, payload: bytes, *, number: int) -> bytes:
    return _packet(_PUBLISH_RETAINED_QOS1, _text(topic.encode()) + struct.pack("!HB", number, 0) + payload)


def _packet(kind: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while True:
        rest, low = divmod(rest, 128)
        length += bytes([low | (0x80 if rest else 0)])
        if not rest:
            return bytes([kind]) + length + body


def _text(value: bytes) -> bytes:
    return struct.pack("!H", len(value)) + value


def _tell(what: str) -> None:
    sys.stdout.write(f'["{what}", {_CLOCK.now_ns()}]\n')
    sys.stdout.flush()


async def gather(orders: Orders) -> None:
    """Let all live; the first to fail by a fault of ours ends the process."""
    async with asyncio.TaskGroup() as group:
        for number in range(orders.count):
            name = name_of(orders.first + number)
            rng = random.Random(f"{orders.seed} {name}") if orders.jitter else Same()
            group.create_task(live(name, orders, rng, orders.gather_s * number / orders.count))


if __name__ == "__main__":
    logging.getLogger("agent").addHandler(logging.NullHandler())  # a thousand complaints of one broker
    asyncio.run(gather(msgspec.json.decode(sys.argv[1], type=Orders)))
