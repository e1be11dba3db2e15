"""MQTT as bytes: a TCP proxy that records what a process sends, the packets, a broker that refuses as it is told."""

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec

_CONNECT, _PUBLISH, _SUBSCRIBE, _PINGREQ = 1, 3, 8, 12


class Publish(msgspec.Struct, frozen=True):
    """A PUBLISH packet. properties: MQTT 5's, undecoded; empty on 3.1.1. mid: its packet identifier; 0 with QoS 0."""

    topic: str
    properties: bytes
    payload: bytes
    mid: int = 0


class Other(msgspec.Struct, frozen=True):
    """Any other packet. kind: MQTT's packet type, 1 is CONNECT."""

    kind: int
    content: bytes


class RecordingProxy:
    """Forwards connections to a port on loopback, and keeps what the connecting side sent, by connection."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.records: list[bytearray] = []
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, tuple[socket.socket, bytearray | None]] = {}
        self._waker, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._forward, name="proxy")

    def __enter__(self) -> Self:
        for door in (self._listener, self._wake):
            self._selector.register(door, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waker.send(b"x")
        self._thread.join()
        for door in (*self._peers, self._listener, self._waker, self._wake):
            door.close()
        self._selector.close()

    def _forward(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._pass_on(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        broker = socket.create_connection(("127.0.0.1", self._target_port))
        record = bytearray()
        self.records.append(record)
        self._peers |= {client: (broker, record), broker: (client, None)}
        for door in (client, broker):
            self._selector.register(door, selectors.EVENT_READ)

    def _pass_on(self, door: socket.socket) -> None:
        if door not in self._peers:  # its other half was closed in this very round
            return
        peer, record = self._peers[door]
        try:
            data = door.recv(65536)
            if record is not None:
                record += data
            peer.sendall(data)
        except OSError:
            data = b""
        if not data:
            for half in (door, peer):
                self._selector.unregister(half)
                del self._peers[half]
                half.close()


class RefusingBroker:
    """An MQTT 5 broker of one connection at a time, which answers as it is told; it passes nothing on.

    puback: the code for a message on a topic. suback: the code for a subscription. farewell: what follows CONNACK, and
    then it hangs up.
    """

    def __init__(
        self,
        *,
        puback: Callable[[str], int] = lambda topic: 0,
        suback: Callable[[str], int] = lambda topic: 1,
        farewell: bytes = b"",
    ) -> None:
        self._puback = puback
        self._suback = suback
        self._farewell = farewell
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"mqtt://127.0.0.1:{self._door.getsockname()[1]}"
        self.connections = 0
        self.published: list[Publish] = []
        self._thread = threading.Thread(target=self._serve, name="broker")
        self._current: socket.socket | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for door in (self._door, self._current):
            if door is not None:
                with suppress(OSError):
                    door.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._door.close()

    def on(self, topic: str) -> list[bytes]:
        """Give the payloads published on a topic, taken or not."""
        return [publish.payload for publish in self.published if publish.topic == topic]

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._current, _ = self._door.accept()
                with self._current as connection, suppress(ConnectionError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        pending = b""
        while data := connection.recv(65536):
            pending += data
            whole = _whole(pending)
            for packet in packets(pending[:whole]):
                match packet:
                    case Publish(mid=0):
                        self.published.append(packet)
                    case Publish():
                        self.published.append(packet)
                        code = self._puback(packet.topic)
                        connection.sendall(bytes([0x40, 4]) + packet.mid.to_bytes(2, "big") + bytes([code, 0]))
                    case Other() if packet.kind == _CONNECT:
                        self.connections += 1
                        connection.sendall(bytes([0x20, 3, 0, 0, 0]) + self._farewell)
                        if self._farewell:
                            return
                    case Other(content=content) if packet.kind == _SUBSCRIBE:
                        codes = bytes(self._suback(topic) for topic in _topics(content))
                        connection.sendall(bytes([0x90, 3 + len(codes)]) + content[:2] + b"\0" + codes)
                    case Other() if packet.kind == _PINGREQ:
                        connection.sendall(bytes([0xD0, 0]))
            pending = pending[whole:]


def _whole(data: bytes) -> int:
    """Give the bytes that the whole packets at the beginning take."""
    at = 0
    while at + 1 < len(data):
        end = next((index for index in range(at + 1, len(data)) if not data[index] & 0x80), None)
        if end is None:
            break
        length, body = _varint(data, at + 1)
        if body + length > len(data):
            break
        at = body + length
    return at


def _topics(subscribe: bytes) -> Iterator[str]:
    """Read the filters of a SUBSCRIBE of MQTT 5."""
    length, at = _varint(subscribe, 2)
    at += length
    while at < len(subscribe):
        size = int.from_bytes(subscribe[at : at + 2], "big")
        yield subscribe[at + 2 : at + 2 + size].decode()
        at += 3 + size


def packets(record: bytes, *, version: int = 5) -> Iterator[Publish | Other]:
    """Read the packets of one connection, sent by the client. Source: MQTT 5.0, sections 2.1 and 3.3."""
    at = 0
    while at < len(record):
        kind, flags = record[at] >> 4, record[at] & 0x0F
        length, at = _varint(record, at + 1)
        body = record[at : at + length]
        at += length
        yield _publish(body, qos=(flags >> 1) & 3, version=version) if kind == _PUBLISH else Other(kind, body)


def _publish(body: bytes, *, qos: int, version: int) -> Publish:
    size = int.from_bytes(body[:2], "big")
    topic = body[2 : 2 + size].decode()
    at = 2 + size + (2 if qos else 0)
    mid = int.from_bytes(body[2 + size : at], "big")
    properties = b""
    if version == 5:
        length, at = _varint(body, at)
        properties = body[at : at + length]
        at += length
    return Publish(topic, properties, body[at:], mid)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
