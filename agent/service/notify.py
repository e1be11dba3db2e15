"""Words to the service manager: readiness, status, watchdog.

Source: sd_notify(3): one datagram to the AF_UNIX socket that $NOTIFY_SOCKET names; a leading `@` is the abstract
namespace's NUL. sd_watchdog_enabled(3): $WATCHDOG_USEC holds for the process of $WATCHDOG_PID.
"""

import logging
import os
import socket
from collections.abc import Mapping

_log = logging.getLogger(__name__)
_STATUS_CHARS_MAX = 200
_PATIENCE_S = 0.2  # a manager that does not read has a full queue, and would hang us too


class Notifier:
    """Tells the service manager how we are; without one it tells nobody."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={_one_line(status)}")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def trigger(self) -> None:
        """Ask for what the manager does when it has not heard from us in time, now (systemd 243 and later)."""
        self._send("WATCHDOG=trigger")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={_one_line(status)}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
                door.settimeout(_PATIENCE_S)
                door.connect(self._address)
                door.sendall(message.encode())
        except OSError as error:  # the manager will judge our silence; events matter more than its opinion
            _log.debug("notify.failed error=%s", error)


def watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """Give the seconds within which the service manager wants to hear from us, or None if it does not."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1e6 if usec.isdigit() and int(usec) > 0 else None


def _one_line(status: str) -> str:
    return " ".join(status.split())[:_STATUS_CHARS_MAX]
