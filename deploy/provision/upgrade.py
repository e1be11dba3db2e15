"""From one release to another, and back where the new one does not prove itself.

    begin     the new release is whole and has tried the configuration: what will change is copied into the record
    (steps)   link, configuration, unit: switched, the agent started anew
    gate      `check --wait`: an event has been acknowledged        -> settled: the copies go, older releases too
              or not                                                -> back: copies, link, start, gate; said as such

Cut anywhere after `begin`, the next run goes on: forward to the gate, or back where the gate has spoken.
"""

from dataclasses import dataclass

from .board import Board
from .bundle import Bundle
from .configuration import FILE, effective, rendered
from .identity import CERTIFICATE, KEY, ROOT, Identity
from .problem import Exit, Problem
from .record import Pending, Record
from .release import CURRENT, PROGRAM, RELEASES, other_releases, running_version, try_release
from .service import gate, restart
from .step import Action, Call, Step, make_folders

# What a way back leaves as it is: who the board is belongs to no release, and the agent renews its certificate itself.
_STAYS = {KEY, CERTIFICATE, ROOT, CURRENT, PROGRAM}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate came to. lines: what the agent said. back_at: the release that was gone back to."""

    code: int
    lines: list[str]
    back_at: str = ""


def refuse_unasked(board: Board, record: Record, bundle: Bundle, *, is_asked: bool) -> None:
    """Raise Problem where the bundle holds another release than the one that runs and nobody said `--upgrade`."""
    now = record.pending.from_version if record.pending else running_version(board)
    going = record.pending.to_version if record.pending else ""
    if now and bundle.version not in (now, going) and not is_asked:
        raise Problem(
            f"this board runs {now}, the bundle holds {bundle.version}",
            where="provision",
            remedy="add --upgrade",
            code=Exit.USAGE,
        )


def upgrade_step(board: Board, record: Record, bundle: Bundle, identity: Identity) -> Step:
    """Give the step that stands between an installed release and the switch to it."""

    def wrong() -> list[str]:
        now = running_version(board)
        if now in ("", bundle.version) or record.pending is not None:
            return []
        return [f"this board runs {now}, not {bundle.version}"]

    def actions() -> list[Action]:
        if not wrong():
            return []
        now = running_version(board)
        return [
            Call(
                plan=f"try release {bundle.version} with the configuration; remember {now} as the way back",
                past=f"tried release {bundle.version}",
                work=_begin,
            )
        ]

    def _begin() -> None:
        wanted = rendered(bundle, identity)
        try_release(board, bundle.version, effective(board, record, wanted), FILE)
        kept = {path: digest for path, digest in record.files.items() if path not in _STAYS}
        texts = {path: data.decode() for path in kept if (data := board.read(path)) is not None}
        record.pending = Pending(
            from_version=running_version(board), to_version=bundle.version, files=texts, digests=kept
        )

    return Step(name="upgrade", wrong=wrong, actions=actions)


def judge(board: Board, record: Record) -> Verdict:
    """Wait for the agent's word. A pending release that does not get it is left again."""
    code, lines = gate(board)
    pending = record.pending
    if pending is None:
        return Verdict(code=code, lines=lines)
    if code == 0:
        for name in other_releases(board, {pending.to_version, pending.from_version}):
            board.remove_tree(f"{RELEASES}/{name}")
        record.pending = None
        record.save(board)
        return Verdict(code=0, lines=lines)
    pending.failure = next((line for line in reversed(lines) if "FAIL" in line), lines[-1] if lines else "no answer")
    record.save(board)
    return go_back(board, record)


def go_back(board: Board, record: Record) -> Verdict:
    """Return to the release before, with the files of then, and wait for its word. May be cut, and done again."""
    pending = record.pending
    assert pending is not None
    for path in [path for path in record.files if path not in pending.files and path not in _STAYS]:
        board.remove(path)
    for path, text in pending.files.items():
        if board.read(path) != text.encode():
            make_folders(board, record, path)
            board.write(path, text.encode())
    board.link(CURRENT, f"releases/{pending.from_version}")
    stays = {path: digest for path, digest in record.files.items() if path in _STAYS}
    record.files = pending.digests | stays
    record.unfinished = []
    record.save(board)
    board.run("systemctl", "daemon-reload")
    restart(board)
    code, lines = gate(board)
    board.remove_tree(f"{RELEASES}/{pending.to_version}")
    record.pending, record.restart = None, False
    record.save(board)
    said = [f"release {pending.to_version} did not prove itself: {pending.failure}"]
    return Verdict(code=code, lines=said + lines, back_at=pending.from_version)
