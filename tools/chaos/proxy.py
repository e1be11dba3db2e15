"""A TCP proxy before a broker that cuts a connection inside a PUBACK, with a reset, as a dying router would."""

import random
import select
import socket
import struct
import threading
from contextlib import suppress

_PUBACK = 0x40
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close(2) sends RST
_CHUNK = 65_536


class Packets:
    """Finds where packets begin in one direction of an MQTT connection, fed piece by piece."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the packet under way
        self._head = b""  # a header that is not complete yet

    def cut_at(self, data: bytes) -> int | None:
        """Give the offset in `data` of the first PUBACK that begins there, None without one. Source: MQTT 5.0, 2.1."""
        place, found = 0, None
        while place < len(data):
            if self._left:
                step = min(self._left, len(data) - place)
                self._left -= step
                place += step
                continue
            if not self._head and data[place] & 0xF0 == _PUBACK and found is None:
                found = place
            self._head += data[place : place + 1]
            place += 1
            if len(self._head) > 1 and not self._head[-1] & 0x80:
                self._left = sum((byte & 0x7F) << 7 * power for power, byte in enumerate(self._head[1:]))
                self._head = b""
        return found


class CuttingProxy:
    """Listens on loopback and passes on to a port; `arm` cuts the next PUBACK of any connection."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self._target = port
        self._rng = rng
        self._armed = threading.Event()
        self._ended = threading.Event()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def arm(self) -> None:
        self._armed.set()

    def close(self) -> None:
        self._ended.set()
        self._door.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._door.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        packets = Packets()
        try:
            broker = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        with client, broker, suppress(OSError):
            while not self._ended.is_set():
                ready, _, _ = select.select([client, broker], [], [], 0.5)
                for source in ready:
                    data = source.recv(_CHUNK)
                    if not data:
                        return
                    if source is client:
                        broker.sendall(data)
                        continue
                    cut = packets.cut_at(data)
                    if cut is not None and self._armed.is_set():
                        self._armed.clear()
                        client.sendall(data[: cut + self._rng.randrange(1, 4)])
                        for end in (client, broker):
                            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        self.cuts += 1
                        return
                    client.sendall(data)
