"""config.toml from the bundle's template. A file that somebody has changed since is theirs: it is left alone."""

from .board import Board
from .bundle import Bundle
from .identity import Identity
from .record import HOME, Record, digest
from .release import try_release
from .step import Action, Call, Remove, Step, Write

FILE = f"{HOME}/config.toml"
NEW = f"{FILE}.new"
_MARK = b"@DEVICE@"


def rendered(bundle: Bundle, identity: Identity) -> bytes:
    """Give the bundle's configuration for this board."""
    return bundle.data("config.toml").replace(_MARK, identity.device.encode())


def effective(board: Board, record: Record, wanted: bytes) -> bytes:
    """Give the configuration that the agent will have after the step: the wanted one, or the one changed by hand."""
    return (board.read(FILE) or wanted) if is_changed_by_hand(board, record, wanted) else wanted


def is_changed_by_hand(board: Board, record: Record, wanted: bytes) -> bool:
    """Tell whether the file there is neither what was written nor what is to be."""
    found = board.read(FILE)
    return found is not None and found != wanted and digest(found) != record.files.get(FILE, "")


def configuration_step(board: Board, record: Record, bundle: Bundle, identity: Identity) -> Step:
    """Give the step that sees to the configuration, tried by the release before it is written."""
    wanted = rendered(bundle, identity)
    write, beside = Write(path=FILE, data=wanted), Write(path=NEW, data=wanted)

    def by_hand() -> bool:
        return is_changed_by_hand(board, record, wanted)

    def is_news() -> bool:
        return digest(wanted) != record.files.get(FILE)

    def wrong() -> list[str]:
        if by_hand():
            why = beside.needed(board) if is_news() else ""
        else:
            why = write.needed(board) or Remove(path=NEW).needed(board)
        return [why] if why else []

    def actions() -> list[Action]:
        if by_hand():
            return [beside] if is_news() and beside.needed(board) else []
        found: list[Action] = [write]
        if write.needed(board):
            trial = f"whether release {bundle.version} takes {FILE}"
            check = Call(plan=f"ask {trial}", past=f"asked {trial}", work=_try)
            found.insert(0, check)
        if board.is_there(NEW):
            found.append(Remove(path=NEW))
        return found

    def _try() -> None:
        try_release(board, bundle.version, wanted, FILE)

    def notes() -> list[str]:
        if not by_hand():
            return []
        new = f"; the bundle's is {NEW}" if board.is_there(NEW) or is_news() else ""
        return [f"{FILE} was changed by hand and is left alone{new}"]

    return Step(name="configuration", wrong=wrong, actions=actions, notes=notes, restarts=True)
