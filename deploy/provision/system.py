"""What the operating system is told for the agent's sake: user, devices, journal, watchdog, Wi-Fi."""

from .board import Board
from .bundle import Bundle
from .facts import Facts
from .record import HOME, Record
from .step import Action, Remove, Run, Step, Write, due, files_step

USER = "maskwatch"
_SYSUSERS = "/usr/lib/sysusers.d/maskwatch.conf"
_TMPFILES = "/usr/lib/tmpfiles.d/maskwatch.conf"
_RULES = "/etc/udev/rules.d/60-maskwatch.rules"
_JOURNAL = "/etc/systemd/journald.conf.d/maskwatch.conf"
_WATCHDOG = "/etc/systemd/system.conf.d/maskwatch.conf"
_WIFI = "/etc/NetworkManager/conf.d/maskwatch.conf"
_JOURNALS = {
    # A board that writes its log to the card wears it out; 16 MB hold weeks of what the agent says.
    "volatile": "Storage=volatile\nRuntimeMaxUse=16M\n",
    "persistent": "Storage=persistent\nSystemMaxUse=64M\nSyncIntervalSec=15m\n",
}
_HEAD = "# Written by maskwatch's provisioning, from board.toml of its bundle.\n"


def user_step(board: Board, record: Record, bundle: Bundle) -> Step:
    """Give the step that makes the agent's user, its groups and its folders."""
    files = [
        Write(path=_SYSUSERS, data=bundle.data("systemd/maskwatch.sysusers")),
        Write(path=_TMPFILES, data=bundle.data("systemd/maskwatch.tmpfiles")),
    ]

    def wrong() -> list[str]:
        found = [why for file in files if (why := file.needed(board))]
        if board.user(USER) is None:
            found.append(f"there is no user {USER}")
        elif USER not in (board.group_members("video") or []):
            found.append(f"{USER} is not in the group video")
        if not board.is_folder(f"{HOME}/secrets"):
            found.append(f"{HOME}/secrets is missing")
        return found

    def actions() -> list[Action]:
        return [
            *due("user", board, record, files),
            Run(("systemd-sysusers", str(board.path(_SYSUSERS)))),
            Run(("systemd-tmpfiles", "--create", str(board.path(_TMPFILES)))),
        ]

    return Step(name="user", wrong=wrong, actions=actions)


def devices_step(board: Board, record: Record, bundle: Bundle) -> Step:
    """Give the step that lets the agent's user open cameras and accelerators."""
    return files_step(
        "devices",
        board,
        record,
        [Write(path=_RULES, data=bundle.data("systemd/60-maskwatch.rules"))],
        lambda: apply_rules(board),
    )


def apply_rules(board: Board) -> list[Action]:
    """Give what makes udev rules count for devices that are there; nothing where no udev runs, as in a container."""
    if not board.is_there("/run/udev/control"):
        return []
    matches = tuple(f"--subsystem-match={name}" for name in ("dma_heap", "usb", "apex"))
    return [Run(("udevadm", "control", "--reload")), Run(("udevadm", "trigger", *matches))]


def journal_step(board: Board, record: Record, bundle: Bundle) -> Step:
    """Give the step that bounds the system's log and says where it is kept."""
    text = f"{_HEAD}[Journal]\n{_JOURNALS[bundle.options.journal]}"
    return files_step("journal", board, record, [Write(path=_JOURNAL, data=text.encode())], apply_journal)


def apply_journal() -> list[Action]:
    return [Run(("systemctl", "try-restart", "systemd-journald.service"))]


def watchdog_step(board: Board, record: Record, bundle: Bundle) -> Step:
    """Give the step that lets the hardware restart a board whose kernel or systemd hangs."""
    seconds = bundle.options.hardware_watchdog_s
    is_there = board.is_there("/dev/watchdog")
    text = f"{_HEAD}[Manager]\nRuntimeWatchdogSec={seconds}\n"
    return files_step(
        "watchdog",
        board,
        record,
        _wanted(record, _WATCHDOG, text, is_wanted=bool(seconds) and is_there),
        apply_watchdog,
        notes=lambda: ["asked for, but there is no /dev/watchdog"] if seconds and not is_there else [],
    )


def apply_watchdog() -> list[Action]:
    return [Run(("systemctl", "daemon-reexec"))]


def wifi_step(board: Board, record: Record, bundle: Bundle, facts: Facts) -> Step:
    """Give the step that keeps Wi-Fi awake: a sleeping one loses its connection to the broker again and again."""
    has_manager = board.is_folder("/etc/NetworkManager")
    save = bundle.options.wifi_power_save
    text = f"{_HEAD}[connection]\nwifi.powersave=2\n"
    note = "Wi-Fi is not NetworkManager's here: switch its power saving off yourself (iw dev wlan0 set power_save off)"
    return files_step(
        "wifi",
        board,
        record,
        _wanted(record, _WIFI, text, is_wanted=has_manager and not save),
        lambda: apply_wifi(board, on=save),
        notes=lambda: [note] if facts.has_wifi and not has_manager and not save else [],
    )


def apply_wifi(board: Board, *, on: bool) -> list[Action]:
    """Give what makes the setting count now and not only at the next connection."""
    found: list[Action] = []
    if board.ask("systemctl", "is-active", "NetworkManager.service").out.strip() == "active":
        found.append(Run(("systemctl", "reload", "NetworkManager.service")))
    if board.has_program("iw"):
        wireless = [name for name in board.names("/sys/class/net") if board.is_there(f"/sys/class/net/{name}/wireless")]
        found += [Run(("iw", "dev", name, "set", "power_save", "on" if on else "off")) for name in wireless]
    return found


def _wanted(record: Record, path: str, text: str, *, is_wanted: bool) -> list[Action]:
    """Give the action for a file that an option decides about: one that we wrote goes when it is wanted no more."""
    if is_wanted:
        return [Write(path=path, data=text.encode())]
    return [Remove(path=path)] if path in record.files else []
