"""Steps and the actions that they are made of.

A step says what is not as wanted, in words, and gives the actions that make it so. Actions are values: `--dry-run`
prints them, a real run applies them, so the two cannot differ. Every action may be applied again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from .board import Board
from .record import HOME, Record, digest


class Action(Protocol):
    """One change. plan: what it would do, `write /etc/x`. past: what it did."""

    @property
    def plan(self) -> str: ...
    @property
    def past(self) -> str: ...
    def needed(self, board: Board) -> str:
        """Say what is not as wanted, or give an empty string."""
        ...

    def apply(self, board: Board, record: Record) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Write:
    """A file of ours with this content. Its folders are made where they are missing."""

    path: str
    data: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"

    @property
    def plan(self) -> str:
        return f"write {self.path} ({len(self.data)} bytes, {self.mode:04o} {self.owner})"

    @property
    def past(self) -> str:
        return f"wrote {self.path}"

    def needed(self, board: Board) -> str:
        found = board.read(self.path)
        if found is None:
            return f"{self.path} is missing"
        if found != self.data:
            return f"{self.path} differs"
        return rights(board, self.path, self.mode, self.owner)

    def apply(self, board: Board, record: Record) -> None:
        make_folders(board, record, self.path)
        board.write(self.path, self.data, mode=self.mode, owner=self.owner)


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder of ours with these rights."""

    path: str
    mode: int = 0o755
    owner: str = "root"

    @property
    def plan(self) -> str:
        return f"make {self.path} ({self.mode:04o} {self.owner})"

    @property
    def past(self) -> str:
        return f"made {self.path}"

    def needed(self, board: Board) -> str:
        if not board.is_folder(self.path):
            return f"{self.path} is missing"
        return rights(board, self.path, self.mode, self.owner)

    def apply(self, board: Board, record: Record) -> None:
        make_folders(board, record, self.path)
        board.folder(self.path, mode=self.mode, owner=self.owner)


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symbolic link of ours."""

    path: str
    target: str

    @property
    def plan(self) -> str:
        return f"link {self.path} to {self.target}"

    @property
    def past(self) -> str:
        return f"linked {self.path} to {self.target}"

    def needed(self, board: Board) -> str:
        found = board.link_target(self.path)
        if found == self.target:
            return ""
        return f"{self.path} leads to {found}, not {self.target}" if found else f"{self.path} is missing"

    def apply(self, board: Board, record: Record) -> None:
        make_folders(board, record, self.path)
        board.link(self.path, self.target)


@dataclass(frozen=True, kw_only=True)
class Remove:
    """A file of ours that is wanted no more."""

    path: str

    @property
    def plan(self) -> str:
        return f"remove {self.path}"

    @property
    def past(self) -> str:
        return f"removed {self.path}"

    def needed(self, board: Board) -> str:
        return f"{self.path} is wanted no more" if board.is_there(self.path) else ""

    def apply(self, board: Board, record: Record) -> None:
        board.remove(self.path)


@dataclass(frozen=True)
class Run:
    """A command that may be run again."""

    words: tuple[str, ...]
    timeout_s: float = 120.0

    @property
    def plan(self) -> str:
        return f"run {' '.join(self.words)}"

    @property
    def past(self) -> str:
        return f"ran {' '.join(self.words)}"

    def needed(self, board: Board) -> str:
        return ""

    def apply(self, board: Board, record: Record) -> None:
        board.run(*self.words, timeout_s=self.timeout_s)


@dataclass(frozen=True, kw_only=True)
class Call:
    """Anything else. files: the paths that it writes."""

    plan: str
    past: str
    work: Callable[[], None]
    files: tuple[str, ...] = ()

    def needed(self, board: Board) -> str:
        return ""

    def apply(self, board: Board, record: Record) -> None:
        self.work()


def _nothing() -> list[str]:
    return []


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing about the board that provisioning sees to.

    wrong: what is not as wanted, in words; empty: nothing to do. actions: what makes it so. notes: what is worth
    knowing and no reason to do anything. restarts: the agent has to be started again after it.
    """

    name: str
    wrong: Callable[[], list[str]]
    actions: Callable[[], list[Action]]
    notes: Callable[[], list[str]] = _nothing
    restarts: bool = False

    def missing(self, record: Record) -> list[str]:
        """Say what is not as wanted, counting a run that was interrupted within this step."""
        cut = ["was interrupted"] if self.name in record.unfinished else []
        return cut + self.wrong()

    def do(self, board: Board, record: Record) -> list[str]:
        """Apply the actions, remembering on the disk what was begun and what is done. Returns what was done."""
        actions = self.actions()
        if self.name not in record.unfinished:
            record.unfinished.append(self.name)
        record.restart |= self.restarts
        for path in _files(actions):
            record.files.setdefault(path, "")
        record.save(board)
        for action in actions:
            action.apply(board, record)
        for action in actions:
            if isinstance(action, Remove):
                record.files.pop(action.path, None)
            elif isinstance(action, Write):
                record.files[action.path] = digest(action.data)
        record.unfinished.remove(self.name)
        record.save(board)
        return [action.past for action in actions]


def due(name: str, board: Board, record: Record, wanted: Iterable[Action]) -> list[Action]:
    """Give the actions that are needed; of a step that was cut, every file, for which were written is not known."""
    was_cut = name in record.unfinished
    return [action for action in wanted if action.needed(board) or (was_cut and isinstance(action, Write))]


def files_step(
    name: str,
    board: Board,
    record: Record,
    wanted: Iterable[Action],
    then: Callable[[], list[Action]] = list,
    *,
    notes: Callable[[], list[str]] = _nothing,
    restarts: bool = False,
) -> Step:
    """Give a step of files and what has to be run after a change of any."""
    wanted = list(wanted)
    return Step(
        name=name,
        wrong=lambda: [why for action in wanted if (why := action.needed(board))],
        actions=lambda: [*due(name, board, record, wanted), *then()],
        notes=notes,
        restarts=restarts,
    )


def rights(board: Board, path: str, mode: int, owner: str) -> str:
    """Say what is wrong with the rights of a file or folder, or give an empty string."""
    found = board.mode(path)
    if found is None:
        return f"{path} is a link"
    if found != mode:
        return f"{path} has rights {found:04o}, not {mode:04o}"
    numbers = board.user(owner)
    if numbers is None or board.owner_id(path) != numbers[0]:
        return f"{path} does not belong to {owner}"
    return ""


def make_folders(board: Board, record: Record, path: str) -> None:
    """Make the folders above a path, and remember which are ours before they are there."""
    above = [str(folder) for folder in reversed(PurePosixPath(path).parents) if not board.is_folder(str(folder))]
    if not above:
        return
    record.folders += [folder for folder in above if folder not in record.folders and folder != HOME]
    record.save(board)
    for folder in above:
        board.folder(folder)


def _files(actions: Iterable[Action]) -> list[str]:
    found: list[str] = []
    for action in actions:
        if isinstance(action, Write | Link):
            found.append(action.path)
        elif isinstance(action, Call):
            found += action.files
    return found
