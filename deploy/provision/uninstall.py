"""Everything away again, in the reverse order, down to the memory of it. Cut anywhere, a re-run goes on."""

from .board import Board
from .identity import STATE
from .mounts import undo
from .problem import Exit, Problem
from .record import FILE, HOME, SIDE_EFFECTS, Record
from .release import CURRENT, OPT, RELEASES
from .service import UNIT, backlog
from .step import Action, Call, Remove, Run, Step
from .system import USER, apply_journal, apply_rules, apply_watchdog, apply_wifi


def refuse_undelivered(board: Board, record: Record, *, discard: bool) -> None:
    """Raise Problem while events wait that nobody else has, unless they are to be thrown away."""
    if discard or record.uninstalling:
        return
    remedy = "wait until they are delivered (maskwatch check --wait 60), or add --discard-events"
    aside = [name for name in board.names(STATE) if name.startswith("of-")]
    if aside:
        remedy = f"they are {aside[0].removeprefix('of-')}'s; keep a copy, then add --discard-events"
        raise Problem("holds another board's events", where=f"{STATE}/{aside[0]}", remedy=remedy, code=Exit.LATER)
    waiting = backlog(board)
    if waiting:
        raise Problem(f"{waiting} events wait undelivered", where=STATE, remedy=remedy, code=Exit.LATER)
    if waiting is None and board.is_there(f"{STATE}/outbox.db"):
        remedy = "systemctl start maskwatch and try again, or add --discard-events"
        what = "the agent does not run, so nobody can say whether events wait"
        raise Problem(what, where=STATE, remedy=remedy, code=Exit.LATER)


def uninstall_steps(board: Board, record: Record) -> list[Step]:
    """Give the steps in order; the last one forgets. The record says what there is to be undone."""
    return [
        _mark(record),
        _stop(board),
        _mount(board, record),
        _files(board, record),
        _user(board),
        _trees(board),
        _rest(board, record),
    ]


def forget(board: Board, record: Record) -> None:
    """Remove the record itself, as the very last thing."""
    board.remove_tree(f"{HOME}/secrets")
    for name in board.names(HOME):
        if f"{HOME}/{name}" != FILE:
            board.remove(f"{HOME}/{name}")
    board.remove(FILE)
    board.remove_if_empty(HOME)


def _mark(record: Record) -> Step:
    def work() -> None:
        record.uninstalling = True

    return Step(
        name="uninstall",
        wrong=lambda: [] if record.uninstalling else ["is installed"],
        actions=lambda: [Call(plan="remember that this is the end", past="begun", work=work)],
    )


def _stop(board: Board) -> Step:
    path = f"/etc/systemd/system/{UNIT}"

    def actions() -> list[Action]:
        return [Run(("systemctl", "disable", "--now", UNIT))]

    return Step(name="service", wrong=lambda: ["is installed"] if board.is_there(path) else [], actions=actions)


def _mount(board: Board, record: Record) -> Step:
    return Step(
        name="card",
        wrong=lambda: ["/etc/fstab has our line"] if undo(board, record) else [],
        actions=lambda: undo(board, record),
    )


def _files(board: Board, record: Record) -> Step:
    """Remove the files outside HOME, then the folders that were made for them, then tell those who had read them."""

    def paths() -> list[str]:
        return [path for path in record.files if not path.startswith((f"{HOME}/", f"{STATE}/")) and path != CURRENT]

    def wrong() -> list[str]:
        return [f"{path} is there" for path in paths() if board.is_there(path)]

    def actions() -> list[Action]:
        found: list[Action] = [Remove(path=path) for path in paths()]
        folders = list(reversed(record.folders))
        found.append(Call(plan="remove empty folders", past="removed empty folders", work=lambda: _rmdir(folders)))
        found.append(Run(("systemctl", "daemon-reload")))
        if any("journald" in path for path in paths()):
            found += apply_journal()
        if any("system.conf.d" in path for path in paths()):
            found += apply_watchdog()
        if any("NetworkManager" in path for path in paths()):
            found += apply_wifi(board, on=True)
        return found + apply_rules(board)

    def _rmdir(folders: list[str]) -> None:
        for folder in folders:
            board.remove_if_empty(folder)

    return Step(name="files", wrong=wrong, actions=actions)


def _user(board: Board) -> Step:
    def is_there() -> bool:
        return board.user(USER) is not None or board.group_members(USER) is not None

    def work() -> None:
        if board.user(USER) is not None:
            board.run("userdel", USER)
        if board.group_members(USER) is not None:
            board.run("groupdel", USER)

    return Step(
        name="user",
        wrong=lambda: [f"there is a user {USER}"] if is_there() else [],
        actions=lambda: [Call(plan=f"remove user and group {USER}", past=f"removed user {USER}", work=work)],
    )


def _trees(board: Board) -> Step:
    """Remove releases and state. The link goes first: a release that is half removed is nobody's current one."""

    def work() -> None:
        board.remove(CURRENT)
        board.remove_tree(RELEASES)
        board.remove_if_empty(OPT)
        board.remove_tree(STATE)

    def wrong() -> list[str]:
        return [f"{path} is there" for path in (RELEASES, CURRENT, STATE) if board.is_there(path)]

    return Step(
        name="program",
        wrong=wrong,
        actions=lambda: [Call(plan=f"remove {OPT} and {STATE}", past=f"removed {OPT} and {STATE}", work=work)],
    )


def _rest(board: Board, record: Record) -> Step:
    """Remove what the programs that we ran left and what was not there before."""

    def paths() -> list[str]:
        return [path for path in SIDE_EFFECTS if path in record.absent and board.is_there(path)]

    def work() -> None:
        for path in paths():
            board.remove_tree(path) if board.is_folder(path) else board.remove(path)

    return Step(
        name="traces",
        wrong=lambda: [f"{path} was not there before" for path in paths()],
        actions=lambda: [Call(plan=f"remove {', '.join(paths())}", past=f"removed {', '.join(paths())}", work=work)],
    )
