"""board.toml: what the operating system of a board is set to. Every key has a default; an unknown one is an error."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from .problem import Exit, Problem, nearest

WATCHDOG_S_MAX = 15  # what a Raspberry Pi's counter can hold


@dataclass(frozen=True, kw_only=True)
class Options:
    """[board]. journal: where the system's log is kept, in memory or on the card. hardware_watchdog_s: 0 is off.
    card_care: the mount options. coral: the service may open accelerators, also one that is plugged in later. reboot:
    the whole board, when the agent alone cannot be brought back. state_in_memory: the root is never written to."""

    journal: Literal["volatile", "persistent"] = "volatile"
    hardware_watchdog_s: int = 0
    wifi_power_save: bool = False
    card_care: bool = True
    coral: bool = True
    reboot: bool = False
    state_in_memory: bool = False


_JOURNALS = ("volatile", "persistent")


def read_options(file: Path | None) -> Options:
    """Read board.toml, if there is one. Raises Problem for what it does not take."""
    if file is None:
        return Options()
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(file, f"not TOML: {error}") from error
    for table in tables:
        if table != "board":
            raise _wrong(file, f"unknown section {table!r}", "it has one section, [board]")
    values = tables.get("board", {})
    if not isinstance(values, dict):
        raise _wrong(file, "board is a section, not a value", "write its keys below [board]")
    for key, value in values.items():
        _check(file, key, value)
    return Options(**values)


def _check(file: Path, key: str, value: Any) -> None:
    defaults: dict[str, Any] = {item.name: item.default for item in fields(Options)}
    if key not in defaults:
        raise _wrong(file, f"unknown key {key!r}{nearest(key, defaults)}", f"keys are {', '.join(defaults)}")
    if key == "journal":
        if value not in _JOURNALS:
            raise _wrong(file, f"{key} = {value!r}", f"it is one of {', '.join(_JOURNALS)}")
    elif type(value) is not type(defaults[key]):
        raise _wrong(file, f"{key} = {value!r}", f"the default is {str(defaults[key]).lower()}")
    elif key == "hardware_watchdog_s" and not 0 <= value <= WATCHDOG_S_MAX:
        raise _wrong(file, f"{key} = {value}", f"it is 0 (off) to {WATCHDOG_S_MAX}, the most that a Raspberry Pi takes")


def _wrong(file: Path, what: str, remedy: str = "correct it") -> Problem:
    return Problem(what, where=str(file), remedy=f"{remedy}, and make the bundle again", code=Exit.UNFIT)
