"""A notice on the board itself: how the running agent is, for `maskwatch check --wait`.

Over the broker nobody here could ask: a broker with certificates gives a board's id one connection, the agent's. The
file lies where the service manager makes a folder in memory (systemd.exec(5), RuntimeDirectory=); without one there is
no notice. It holds what the command `diag` answers.
"""

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent.clock import NS_PER_S
from agent.errors import NotPermittedError

_log = logging.getLogger(__name__)

_DEFAULT = Path("/run/maskwatch")
_FILE = "agent.json"
_FRESH_NS = 10 * NS_PER_S  # it is written once a second; an older one is of an agent that was killed


class _Notice(msgspec.Struct, frozen=True, kw_only=True):
    at_ns: int
    diagnosis: dict[str, Any]


class NoticeBoard:
    """Where the agent puts its notice; the supervisor's thread does."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        self._file = Path(folder) / _FILE if folder else None

    @property
    def is_there(self) -> bool:
        return self._file is not None

    def post(self, diagnosis: Mapping[str, Any], now_ns: int) -> None:
        """Put up a new notice in the place of the old one."""
        if self._file is None:
            return
        new = self._file.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(_Notice(at_ns=now_ns, diagnosis=dict(diagnosis))))
            new.chmod(0o644)  # whatever the service's mask: there is nothing secret in it
            new.replace(self._file)
        except OSError as error:  # events matter more than who wants to know
            _log.debug("notice.failed error=%s", error)

    def take_down(self) -> None:
        """Leave no notice behind."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.unlink()


def notice_file(environ: Mapping[str, str]) -> Path:
    """Name the file, whoever asks: the agent's folder, or that of the installed service."""
    folder = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return (Path(folder) if folder else _DEFAULT) / _FILE


def read_notice(environ: Mapping[str, str], now_ns: int) -> dict[str, Any] | None:
    """Give what the running agent says of itself, or None when none runs here. Raises NotPermittedError."""
    file = notice_file(environ)
    try:
        notice = msgspec.json.decode(file.read_bytes(), type=_Notice)
    except PermissionError as error:
        raise NotPermittedError("may not be read", where=str(file), remedy="run this with sudo") from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return notice.diagnosis if 0 <= now_ns - notice.at_ns < _FRESH_NS else None
