"""Reads the configuration: defaults, then the TOML file, then the environment, then --set; the last word counts.

Every value is checked where it was written, so that the one line of an error names the file, variable or option.
"""

import hashlib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import ConfigError, NotPermittedError, nearest
from agent.settings import Settings

DEFAULT_PATH = Path("/etc/maskwatch/config.toml")
ENVIRONMENT_PREFIX = "MASKWATCH_"

_SERIAL_FILES = (Path("/proc/device-tree/serial-number"),)
_MACHINE_ID = Path("/etc/machine-id")


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The effective settings. sources: for each `section.key` who said so. file: the one that was read, if any."""

    settings: Settings
    sources: dict[str, str]
    file: Path | None

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change when any setting does; they hold no secret, none is in a setting."""
        return hashlib.sha256(msgspec.json.encode(self.settings)).hexdigest()[:16]


class _Word(msgspec.Struct, frozen=True):
    """One value somebody gave for one key."""

    section: str
    key: str
    value: Any
    source: str


def load(
    path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Sequence[str] = (),
    *,
    machine: Callable[[], str] | None = None,
) -> Loaded:
    """Read and check all settings. path: None is the default path, where a missing file means defaults.

    overrides: `section.key=value`. machine: gives the device id when none is set.
    Raises ConfigError for a missing named file, broken TOML, an unknown key, a wrong type or value, each with its
    place; NotPermittedError for a file that may not be read.
    """
    file, table = _read(path)
    words = [*_from_table(table, file), *_from_environment(environ), *_from_overrides(overrides)]
    given: dict[str, dict[str, Any]] = {field.name: {} for field in msgspec.structs.fields(Settings)}
    sources = {f"{section}.{key}": "default" for section in given for key in _keys(section)}
    for word in words:
        given[word.section][word.key] = _checked(word)
        sources[f"{word.section}.{word.key}"] = word.source
    if not given["device"].get("id"):
        given["device"]["id"] = (machine or machine_id)()
        sources["device.id"] = "machine"
    sections = {name: _section(name, values, sources) for name, values in given.items()}
    return Loaded(settings=Settings(**sections), sources=sources, file=file)


def machine_id() -> str:
    """Name this board: the serial number of a Pi, else twelve digits made from the machine id; `unnamed` without both.

    The machine id itself must not leave the machine (machine-id(5)), so a digest of it is used.
    """
    for file in _SERIAL_FILES:
        text = _text(file)
        if re.fullmatch(r"[0-9a-fA-F-]{8,36}", text):
            return text.lower()
    text = _text(_MACHINE_ID)
    return hashlib.sha256(b"maskwatch" + text.encode()).hexdigest()[:12] if text else "unnamed"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _read(path: Path | None) -> tuple[Path | None, dict[str, Any]]:
    file = path or DEFAULT_PATH
    try:
        return file, tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if path is None:
            return None, {}
        raise ConfigError("there is no such file", where=str(file), remedy="name one that exists") from error
    except PermissionError as error:
        raise NotPermittedError("may not be read", where=str(file), remedy="let this user read it") from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(file), remedy="name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"not TOML: {error}", where=str(file), remedy="correct it; `maskwatch config --example` shows the form"
        ) from error


def _from_table(table: Mapping[str, Any], file: Path | None) -> Iterator[_Word]:
    for section, values in table.items():
        _known_section(section, where=str(file))
        if not isinstance(values, dict):
            raise ConfigError(
                f"{section} is a section, not a value", where=str(file), remedy=f"write its keys below [{section}]"
            )
        for key, value in values.items():
            _known_key(section, key, where=str(file))
            yield _Word(section, key, value, str(file))


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Word]:
    known = {f"{ENVIRONMENT_PREFIX}{s}_{k}".upper(): (s, k) for s in _sections() for k in _keys(s)}
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if name not in known:
            raise ConfigError(
                f"no setting of this name{nearest(name, known)}",
                where=f"environment variable {name}",
                remedy="correct or unset it; `maskwatch config` lists all settings",
            )
        section, key = known[name]
        yield _Word(section, key, _parsed(section, key, environ[name]), f"environment variable {name}")


def _from_overrides(overrides: Sequence[str]) -> Iterator[_Word]:
    for override in overrides:
        where = f"--set {override}"
        name, equals, text = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise ConfigError("not of the form section.key=value", where=where, remedy="write --set section.key=value")
        _known_section(section, where=where)
        _known_key(section, key, where=where)
        yield _Word(section, key, _parsed(section, key, text.strip()), where)


def _known_section(section: str, *, where: str) -> None:
    if section not in _sections():
        raise ConfigError(
            f"unknown section {section!r}{nearest(section, _sections())}",
            where=where,
            remedy=f"sections are {', '.join(_sections())}",
        )


def _known_key(section: str, key: str, *, where: str) -> None:
    keys = _keys(section)
    if key not in keys:
        raise ConfigError(
            f"unknown key {section}.{key}{nearest(key, keys)}",
            where=where,
            remedy=f"keys of {section} are {', '.join(keys)}",
        )


def _parsed(section: str, key: str, text: str) -> Any:
    """Read a value that came as text: a string setting takes it as it is, any other as TOML would."""
    if isinstance(_default(section, key), str):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # of the wrong type then, which the check says better


def _checked(word: _Word) -> Any:
    kind = next(field.type for field in _fields(word.section) if field.name == word.key)
    try:
        return msgspec.convert(word.value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{word.section}.{word.key} = {word.value!r}: {_lower(str(error))}",
            where=word.source,
            remedy=f"the default is {_default(word.section, word.key)!r}",
        ) from error


def _section(name: str, values: dict[str, Any], sources: Mapping[str, str]) -> Any:
    """Make a section; its keys are right one by one, now the rules between them are checked."""
    kind = type(getattr(Settings(), name))
    try:
        return kind(**values)
    except ValueError as error:
        places = sorted({sources[f"{name}.{key}"] for key in values} - {"machine"})
        raise ConfigError(
            f"{name}: {error}", where=", ".join(places), remedy="see `maskwatch config --example`"
        ) from error


def _sections() -> list[str]:
    return [field.name for field in msgspec.structs.fields(Settings)]


def _fields(section: str) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(type(getattr(Settings(), section)))


def _keys(section: str) -> list[str]:
    return [field.name for field in _fields(section)]


def _default(section: str, key: str) -> Any:
    return getattr(getattr(Settings(), section), key)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
