"""What provisioning remembers on the board, in /etc/maskwatch/installed.json.

It names every file that was written, so that a change by hand is seen and nothing is left behind in the end; and what
is half done, so that a run after a power cut knows. It is written before and after each step that changes something: a
step whose name stands in `unfinished` is done again, though its files may already be as they should.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from .board import Board
from .problem import Exit, Problem

HOME = "/etc/maskwatch"
FILE = f"{HOME}/installed.json"

# What the programs that we run leave beside what we asked of them; it goes again if it was not there before.
SIDE_EFFECTS = (
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/.pwd.lock",
    "/var/log/journal",
)


@dataclass(kw_only=True)
class Pending:
    """A release that was switched to and has not proved itself yet, and what was there before it.

    to_version: empty where it failed, and the way back is what remains to be done. files: text by path, as before.
    digests: their sha256 as `Record.files` had them.
    """

    from_version: str
    to_version: str
    files: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    failure: str = ""


@dataclass(kw_only=True)
class Mount:
    """A line of /etc/fstab as it was and as it was made."""

    old: str
    new: str


@dataclass(kw_only=True)
class Record:
    """Everything that is remembered. serial: the hardware's, where it has one. files: sha256 by path, empty while it
    is being written. absent: of SIDE_EFFECTS, those that were not there at first. restart: the agent does not run with
    what is written yet."""

    serial: str = ""
    device: str = ""
    files: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    restart: bool = False
    mount: Mount | None = None
    pending: Pending | None = None
    uninstalling: bool = False

    @classmethod
    def load(cls, board: Board) -> Self:
        """Read it; an empty one where there is none. Raises Problem if it is damaged: only another hand can do that."""
        data = board.read(FILE)
        if data is None:
            return cls()
        try:
            return cls(**_known(cls, json.loads(data)))
        except (ValueError, TypeError) as error:
            raise Problem(
                f"damaged: {error}",
                where=FILE,
                remedy="put back a copy, or remove it and run the same command again (a configuration changed by hand "
                "is kept, what stood in /etc/fstab is forgotten)",
                code=Exit.DAMAGED,
            ) from error

    def save(self, board: Board) -> None:
        """Write it; it is on the disk when this returns."""
        if not board.is_folder(HOME):
            board.folder(HOME)
            self.absent = [path for path in SIDE_EFFECTS if not board.is_there(path)]
        board.write(FILE, json.dumps(asdict(self), indent=1, sort_keys=True).encode() + b"\n")


def digest(data: bytes) -> str:
    """Give the sha256 of a file's content, as `Record.files` has it."""
    return hashlib.sha256(data).hexdigest()


def _known(kind: Any, table: Any) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise TypeError("not a table")
    unknown = set(table) - {item.name for item in fields(kind)}
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}")
    if table.get("mount"):
        table["mount"] = Mount(**table["mount"])
    if table.get("pending"):
        table["pending"] = Pending(**table["pending"])
    return table
