"""`provision`: the command line, the walk through the plan, and what is said about it.

One line a step; the last line sums up. Foreseen failures are one line on stderr and an exit code of sysexits.h.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .board import Board
from .bundle import Bundle, open_bundle
from .facts import describe, gather, judge, remarks, wait_for_clock
from .identity import identify, refuse_copy
from .plan import Job, install_steps
from .problem import Exit, Problem, nearest
from .record import FILE, HOME, Record
from .release import is_complete
from .service import GATE_S
from .step import Step
from .uninstall import forget, refuse_undelivered, uninstall_steps
from .upgrade import Verdict, go_back, refuse_unasked
from .upgrade import judge as judge_release

_STORAGE = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT}
_RIGHTS = {errno.EACCES, errno.EPERM}
_INTERRUPTED = 130  # 128 + SIGINT, as a shell tells it
_LOOK = "systemctl status maskwatch; journalctl -u maskwatch; sudo maskwatch check"


def main(argv: Sequence[str] | None = None, board: Board | None = None) -> int:
    """Run one command line. Returns the exit code."""
    os.umask(0o022)
    try:
        return _dispatch(_parse(sys.argv[1:] if argv is None else argv), board or Board())
    except Problem as problem:
        print(problem, file=sys.stderr)
        return problem.code
    except KeyboardInterrupt:
        print("provision: interrupted; the same command again goes on from here", file=sys.stderr)
        return _INTERRUPTED
    except OSError as error:
        if error.errno not in _STORAGE | _RIGHTS:
            raise
        code = Exit.STORAGE if error.errno in _STORAGE else Exit.NOT_PERMITTED
        remedy = "see that there is room and the disk is writable, then run the same command again"
        print(f"{error.filename or 'disk'}: {error.strerror}; {remedy}", file=sys.stderr)
        return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Problem(message, where="provision", remedy="see provision --help", code=Exit.USAGE)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="provision",
        description="From a blank card to a trusted sensor; again: nothing that is right is changed.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="X", help="what to install: a folder, or a .tar or .tar.gz of it"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="say what is missing; ends with 0 (nothing) or 2")
    mode.add_argument("--dry-run", action="store_true", help="say what would be written and run; changes nothing")
    mode.add_argument("--upgrade", action="store_true", help="go to the bundle's release, and back if it does not work")
    mode.add_argument("--uninstall", action="store_true", help="remove everything, and leave nothing")
    parser.add_argument("--adopt", action="store_true", help="the card is a copy: make this a board of its own")
    parser.add_argument("--discard-events", action="store_true", help="uninstall though events wait undelivered")
    args, unknown = parser.parse_known_args(words)
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        parser.error(f"no option {unknown[0]!r}{nearest(unknown[0], known)}")
    if args.bundle is None and not args.uninstall:
        parser.error("no --bundle")
    return args


def _dispatch(args: argparse.Namespace, board: Board) -> int:
    if not board.is_root():
        raise Problem("only root can", where="provision", remedy="put sudo before it", code=Exit.NOT_PERMITTED)
    with board.alone():
        if args.uninstall:
            return _uninstall(args, board)
        with open_bundle(args.bundle) as bundle:
            return _install(args, board, bundle)


def _install(args: argparse.Namespace, board: Board, bundle: Bundle) -> int:
    is_look = args.check or args.dry_run
    record = Record.load(board)
    if record.uninstalling:
        remedy = "run it with --uninstall to its end first"
        raise Problem("an uninstallation was interrupted", where="provision", remedy=remedy, code=Exit.LATER)
    identity = identify(board)
    refuse_copy(identity, record, adopt=args.adopt)
    if not is_look:
        wait_for_clock(board, bundle, lambda words: _say("preflight", words))
    facts = gather(board)
    judge(facts, bundle, is_installed=is_complete(board, bundle.version))
    _say("preflight", f"ok: {describe(facts)}")
    for remark in remarks(facts):
        _say("", remark)
    refuse_unasked(board, record, bundle, is_asked=args.upgrade or is_look)
    if record.pending is not None and not is_look:
        verdict = _resume_way_back(board, record, bundle)
        if verdict is not None:
            return _end_of_way_back(verdict)
    job = Job(
        board=board,
        record=record,
        bundle=bundle,
        facts=facts,
        identity=identity,
        say=lambda words: _say("", words),
    )
    steps = install_steps(job)
    if is_look:
        return _look(steps, record, is_dry=args.dry_run)
    changed = _walk(steps, board, record)
    return _finish(board, record, changed)


def _resume_way_back(board: Board, record: Record, bundle: Bundle) -> Verdict | None:
    """Go back where an interrupted run had begun to, or where another release than the half switched is wanted."""
    pending = record.pending
    assert pending is not None
    if pending.failure:
        return go_back(board, record)
    if bundle.version != pending.to_version:
        pending.failure = f"its upgrade was interrupted, and {bundle.version} is wanted now"
        record.save(board)
        _say("upgrade", go_back(board, record).lines[0])
    return None


def _finish(board: Board, record: Record, changed: list[str]) -> int:
    """Ask the agent how it is, and sum up."""
    print(f"waiting up to {GATE_S} s for the agent's first acknowledged event", flush=True)
    if record.pending is not None and "upgrade" not in changed:
        changed = [*changed, "upgrade"]  # begun by a run that was cut, and settled by this one
    verdict = judge_release(board, record)
    if verdict.back_at:
        return _end_of_way_back(verdict)
    for line in verdict.lines:
        _say("check", line)
    if verdict.code != 0:
        summary = f"changed: {', '.join(changed)}" if changed else "no change"
        print(f"{summary}; the agent is not well yet: {_LOOK}", file=sys.stderr)
        return verdict.code
    print(f"done: {', '.join(changed)}; look at it with {_LOOK}" if changed else "no change", flush=True)
    return Exit.DONE


def _end_of_way_back(verdict: Verdict) -> int:
    for line in verdict.lines:
        _say("upgrade", line)
    state = "which works" if verdict.code == 0 else f"which is not well either: {_LOOK}"
    print(f"provision: rolled back to {verdict.back_at}, {state}", file=sys.stderr)
    return Exit.UNAVAILABLE


def _uninstall(args: argparse.Namespace, board: Board) -> int:
    record = Record.load(board)
    if not board.is_there(FILE):
        board.remove_if_empty(HOME)
        print("no change: nothing is installed")
        return Exit.DONE
    refuse_undelivered(board, record, discard=args.discard_events)
    _walk(uninstall_steps(board, record), board, record)
    forget(board, record)
    print("done: nothing is left")
    return Exit.DONE


def _walk(steps: Sequence[Step], board: Board, record: Record) -> list[str]:
    """Look at each step, do what is missing, say which. Returns the names of those that changed something."""
    changed = []
    for step in steps:
        if step.missing(record):
            _say(step.name, f"done: {'; '.join(step.do(board, record))}")
            changed.append(step.name)
        else:
            _say(step.name, "ok")
        for note in step.notes():
            _say("", note)
    return changed


def _look(steps: Sequence[Step], record: Record, *, is_dry: bool) -> int:
    """Say what a run would do, and change nothing."""
    count = 0
    for step in steps:
        missing = step.missing(record)
        count += bool(missing)
        if not missing:
            _say(step.name, "ok")
        elif is_dry:
            for number, action in enumerate(step.actions()):
                _say("" if number else step.name, f"would {action.plan}")
        else:
            _say(step.name, f"missing: {'; '.join(missing)}")
        for note in step.notes():
            _say("", note)
    if record.pending is not None:
        _say("upgrade", f"release {record.pending.to_version} has not proved itself yet")
        count += 1
    print(f"{count} steps have something to do" if count else "no change")
    return Exit.SOMETHING_TO_DO if count and not is_dry else Exit.DONE


def _say(name: str, words: str) -> None:
    print(f"{name:<14} {words}", flush=True)
