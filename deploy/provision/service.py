"""The unit, its drop-ins, and the agent as systemd and the agent itself see it."""

import json

from .board import Board
from .bundle import Bundle
from .facts import Facts
from .problem import Exit
from .record import HOME, Record
from .release import CURRENT, OPT
from .step import Action, Call, Remove, Run, Step, Write, files_step

UNIT = "maskwatch.service"
_FOLDER = "/etc/systemd/system"
_DROP_INS = f"{_FOLDER}/{UNIT}.d"
_NOTICE = "/run/maskwatch/agent.json"
_BACKOFF_SINCE = 254
_START_S = 300.0
GATE_S = 60
_TIME_KEEPERS = ("chrony.service", "ntpsec.service", "ntp.service", "ntpd.service", "openntpd.service")


def drop_ins(board: Board, bundle: Bundle, facts: Facts) -> list[str]:
    """Choose the drop-ins that this board needs."""
    options = bundle.options
    chosen = {
        "key.conf": True,
        "password.conf": board.is_there(f"{HOME}/secrets/password"),
        "restart-backoff.conf": facts.systemd >= _BACKOFF_SINCE,
        "chrony.conf": _other_time_keeper(board),
        "coral.conf": options.coral,
        "reboot.conf": options.reboot,
        "tmpfs-state.conf": options.state_in_memory,
    }
    return [name for name, is_wanted in chosen.items() if is_wanted]


def unit_step(board: Board, record: Record, bundle: Bundle, facts: Facts) -> Step:
    """Give the step that sees to the unit and its drop-ins; drop-ins of other names are somebody else's."""
    chosen = drop_ins(board, bundle, facts)
    wanted: list[Action] = [Write(path=f"{_FOLDER}/{UNIT}", data=bundle.data(f"systemd/{UNIT}"))]
    wanted += [Write(path=f"{_DROP_INS}/{name}", data=bundle.data(f"systemd/drop-ins/{name}")) for name in chosen]
    paths = {f"{_DROP_INS}/{name}" for name in chosen}
    wanted += [Remove(path=path) for path in record.files if path.startswith(f"{_DROP_INS}/") and path not in paths]
    return files_step("unit", board, record, wanted, lambda: [Run(("systemctl", "daemon-reload"))], restarts=True)


def service_step(board: Board, record: Record) -> Step:
    """Give the step that enables the service, and starts it anew where what it runs with has changed."""

    def is_enabled() -> bool:
        return board.ask("systemctl", "is-enabled", UNIT).out.strip() == "enabled"

    def wrong() -> list[str]:
        found = [] if is_enabled() else [f"{UNIT} is not enabled"]
        if not is_active(board):
            found.append(f"{UNIT} does not run")
        elif record.restart:
            found.append(f"{UNIT} runs with what was there before")
        return found

    def actions() -> list[Action]:
        found: list[Action] = [] if is_enabled() else [Run(("systemctl", "enable", UNIT))]
        found.append(Call(plan=f"run systemctl restart {UNIT}", past=f"started {UNIT}", work=_restart))
        return found

    def _restart() -> None:
        restart(board)
        record.restart = False

    return Step(name="service", wrong=wrong, actions=actions)


def is_active(board: Board) -> bool:
    return board.ask("systemctl", "is-active", UNIT).out.strip() == "active"


def restart(board: Board) -> None:
    """Start the agent anew. Whether it did start is for the gate to say, and why it did not."""
    board.run("systemctl", "reset-failed", UNIT, may_fail=True)  # which fails where there was nothing to forget
    board.run("systemctl", "restart", UNIT, timeout_s=_START_S, may_fail=True)


def gate(board: Board) -> tuple[int, list[str]]:
    """Wait until the agent says that an event was acknowledged. Returns the exit code of `check`, and its lines."""
    program = str(board.path(f"{CURRENT}/bin/maskwatch"))
    is_hopeless = board.ask("systemctl", "is-active", UNIT).out.strip() == "failed"  # and systemd tries no more
    wait_s = 1 if is_hopeless else GATE_S
    done = board.ask(program, "check", "--wait", str(wait_s), timeout_s=GATE_S + 120.0)
    lines = [" ".join(line.split()) for line in (done.out + "\n" + done.err).splitlines() if line.strip()]
    code = done.code
    if code == 0 and not any(line.startswith("agent ok") for line in lines):
        code = Exit.UNAVAILABLE  # a program that a worn card has emptied runs as an empty shell script, and ends with 0
        lines.append(f"agent FAIL {program} check said nothing of it; remove {OPT}, and run the same command again")
    if code != 0 and not is_active(board) and (word := _last_word(board)):
        lines.append(f"the agent's last word: {word}")
    return code, lines


def backlog(board: Board) -> int | None:
    """Give how many events the running agent has that nobody acknowledged, or None where none says so."""
    if not is_active(board):
        return None
    try:
        number = json.loads(board.read(_NOTICE) or b"null")["diagnosis"]["backlog"]
    except (ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) else None


def _last_word(board: Board) -> str:
    if not board.has_program("journalctl"):
        return ""
    done = board.ask("journalctl", "--unit", UNIT, "--identifier", "maskwatch", "--lines", "1", "--output", "cat")
    return done.last_line if done.code == 0 and done.out.strip() else ""


def _other_time_keeper(board: Board) -> bool:
    """Tell whether anything but systemd-timesyncd sets the clock; the agent looks at the latter's own file."""
    done = board.ask("systemctl", "is-enabled", *_TIME_KEEPERS)
    return "enabled" in done.out.split()
