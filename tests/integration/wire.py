"""What a process really sends: a TCP proxy that records it, and the MQTT packets in the record."""

import selectors
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import msgspec

_CONNECT, _PUBLISH = 1, 3


class Publish(msgspec.Struct, frozen=True):
    """A PUBLISH packet. properties: MQTT 5's, undecoded; empty on 3.1.1."""

    topic: str
    properties: bytes
    payload: bytes


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
    properties = b""
    if version == 5:
        length, at = _varint(body, at)
        properties = body[at : at + length]
        at += length
    return Publish(topic, properties, body[at:])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
