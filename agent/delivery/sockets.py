"""What paho leaves to whoever drives its socket: the verdict on our certificate, hidden bytes, the end."""

import logging
import select
import socket
import ssl
from contextlib import suppress
from typing import Any

_VERDICT_S = 0.5  # for the broker's opinion of our certificate


class Ear(logging.Handler):
    """Remembers the error that paho only logs: with TLS 1.3 it is how a broker refuses our certificate."""

    def __init__(self) -> None:
        super().__init__()
        self.error: OSError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, OSError):
                self.error = argument


def prepare(_client: Any, _data: Any, sock: Any) -> None:
    """Make a fresh connection ready for CONNECT. Raises ssl.SSLError when the broker refuses our certificate.

    With TLS 1.3 the broker judges it after our side of the handshake, and a CONNECT written into a connection that it
    has closed by then loses the alert that says why. Most brokers then send a session ticket, so the wait is short.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a message waits for the answer to the one before
    if isinstance(sock, ssl.SSLSocket) and sock.version() == "TLSv1.3":
        select.select([sock], [], [], _VERDICT_S)
        with suppress(ssl.SSLWantReadError, ConnectionError):  # no verdict yet, or no words
            sock.recv(1)  # the broker says nothing of its own accord in MQTT: this only reads what TLS has to say


def has_buffered(sock: Any) -> bool:
    """Tell whether TLS holds decrypted bytes that poll(2) knows nothing of."""
    return hasattr(sock, "pending") and sock.pending() > 0


def hang_up(client: Any) -> None:
    """Close a paho client's socket without a word."""
    sock = client.socket()
    if sock is not None:
        with suppress(OSError):
            sock.close()
