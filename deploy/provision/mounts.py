"""Care of the SD card: /etc/fstab mounts the file system of the outbox with `noatime,commit=60`.

Events are on the card before they are sent either way. With ext4's default of five seconds every lone one would drag
the journal along.
"""

import re

from .board import Board
from .record import Mount, Record
from .step import Action, Call, Step

FSTAB = "/etc/fstab"
_HOLDS = "/var/lib"
_ATIMES = ("relatime", "atime", "strictatime", "norelatime", "nostrictatime")


def mounted_at(mounts: str, path: str) -> tuple[str, str]:
    """Give mount point and type of the file system that holds a path, from /proc/self/mounts."""
    best = ("", "")
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        point = fields[1]
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best[0]):
            best = (point, fields[2])  # a later mount on the same point hides the earlier
    return best


def spared(line: str) -> str:
    """Give a line of fstab with the options that spare the card; a `commit=` that is there is somebody's wish."""
    fields = line.split()
    options = [option for option in fields[3].split(",") if option not in _ATIMES]
    if "noatime" not in options:
        options.append("noatime")
    if not any(option.startswith("commit=") for option in options):
        options.append("commit=60")
    return line if ",".join(options) == fields[3] else _with_options(line, ",".join(options))


def line_of(fstab: str, point: str) -> str | None:
    """Find the line that mounts ext4 at a point."""
    for line in fstab.splitlines():
        fields = line.split()
        if len(fields) >= 4 and not line.lstrip().startswith("#") and (fields[1], fields[2]) == (point, "ext4"):
            return line
    return None


def mounts_step(board: Board, record: Record, *, is_wanted: bool) -> Step:
    """Give the step that changes that one line, and remembers what it was."""
    point, kind = mounted_at(board.text("/proc/self/mounts"), _HOLDS)
    text = (board.read(FSTAB) or b"").decode(errors="surrogateescape")
    old = line_of(text, point) if kind == "ext4" else None

    def wrong() -> list[str]:
        if not is_wanted or old is None or spared(old) == old:
            return []
        return [f"{FSTAB} mounts {point} without noatime,commit=60"]

    def actions() -> list[Action]:
        if not wrong():
            return [_remount(board, point)] if old is not None else []
        assert old is not None
        change = Call(
            plan=f"change in {FSTAB} `{old}` to `{spared(old)}`",
            past=f"mounted {point} with noatime,commit=60 in {FSTAB}",
            work=lambda: _change(board, record, old, spared(old)),
        )
        return [change, _remount(board, point)]

    def notes() -> list[str]:
        if not is_wanted or old is not None:
            return []
        return [f"{_HOLDS} lies on {kind or 'an unknown file system'} without a line in {FSTAB}: mounted as it is"]

    return Step(name="card", wrong=wrong, actions=actions, notes=notes)


def undo(board: Board, record: Record) -> list[Action]:
    """Give what puts the line back; one that somebody has changed since stays as it is."""
    mount = record.mount
    text = (board.read(FSTAB) or b"").decode(errors="surrogateescape")
    if mount is None or mount.new not in text.splitlines():
        return []
    point = mount.old.split()[1]
    return [
        Call(
            plan=f"put back in {FSTAB} `{mount.old}`",
            past=f"put back the line of {point} in {FSTAB}",
            work=lambda: _change(board, record, mount.new, mount.old, forget=True),
        ),
        _remount(board, point),
    ]


def _change(board: Board, record: Record, old: str, new: str, *, forget: bool = False) -> None:
    if not forget:  # before the change: whoever is interrupted between the two can still put the line back
        record.mount = Mount(old=old, new=new)
        record.save(board)
    text = (board.read(FSTAB) or b"").decode(errors="surrogateescape")
    lines = [new + line[len(old) :] if line.rstrip("\n") == old else line for line in text.splitlines(keepends=True)]
    mode = board.mode(FSTAB) or 0o644
    board.write(FSTAB, "".join(lines).encode(errors="surrogateescape"), mode=mode)


def _remount(board: Board, point: str) -> Action:
    def work() -> None:
        board.run(
            "mount", "-o", "remount", point, may_fail=True
        )  # where it may not be, as in a container, the next boot does it

    return Call(plan=f"remount {point}", past=f"remounted {point}", work=work)


def _with_options(line: str, options: str) -> str:
    """Replace the fourth field and keep every blank, so that columns stay where they are."""
    return re.sub(r"^(\s*(?:\S+\s+){3})\S+", lambda found: found[1] + options, line)
