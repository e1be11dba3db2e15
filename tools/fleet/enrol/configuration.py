"""What a bundle says to the agent and to the operating system: config.toml and board.toml, tried beforehand."""

import json
import tempfile
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.config import load
from agent.errors import ConfigError, MaskwatchError, NotPermittedError
from deploy.provision.options import Options, read_options
from deploy.provision.problem import Problem

DEVICE = "@DEVICE@"
"""Stands for the device id in config.toml; the board puts its own there."""

_A_DEVICE = "0123456789abcdef"
_FILES = {
    "ca_file": "/etc/maskwatch/ca.pem",
    "cert_file": "/var/lib/maskwatch/device.pem",
    "key_file": "/etc/maskwatch/secrets/key.pem",
}


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What an operator says about all boards of a site. overlay: a TOML file of settings; None: no such word."""

    site: str
    broker: str
    camera: str | None = None
    ack_mode: str | None = None
    overlay: Path | None = None


def config_toml(wishes: Wishes) -> str:
    """Give the text of config.toml. What an option says outdoes the overlay; the board's own files outdo nothing.

    Raises ConfigError for what the agent would not take, NotPermittedError for an overlay that may not be read.
    """
    table: dict[str, Any] = {"device": {}, "camera": {}, "mqtt": dict(_FILES)}
    for section, values in _overlay(wishes.overlay).items():
        table.setdefault(section, {}).update(values)
    table["device"] |= {"site": wishes.site, "id": DEVICE}
    table["camera"] |= {} if wishes.camera is None else {"source": wishes.camera}
    table["mqtt"] |= {"url": wishes.broker} | ({} if wishes.ack_mode is None else {"ack_mode": wishes.ack_mode})
    text = "".join(_section(section, values) for section, values in table.items() if values)
    _try(text)
    return f"# Made by tools.fleet.enrol for site {wishes.site}. `maskwatch config --example` lists every key.\n{text}"


def board_toml(file: Path | None) -> str:
    """Give the text of board.toml: an operator's, or the defaults. Raises ConfigError, NotPermittedError."""
    try:
        options = read_options(file)
    except Problem as problem:
        raise ConfigError(problem.what, where=str(file), remedy="correct it") from problem
    except OSError as error:
        raise _unreadable(error, file) from error
    return _section("board", {field.name: getattr(options, field.name) for field in fields(Options)}).lstrip()


def check_url(url: str) -> str:
    """Give the host of an enrolment server's URL. Raises ConfigError unless it is https://HOST:PORT."""
    parts = urlsplit(url)
    try:
        is_good = parts.scheme == "https" and parts.path in ("", "/") and not parts.query and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not (is_good and parts.hostname) or parts.username is not None:
        raise ConfigError("not where an enrolment server is", where=f"--url {url}", remedy="write https://HOST:8443")
    return parts.hostname


def _overlay(file: Path | None) -> dict[str, dict[str, Any]]:
    if file is None:
        return {}
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(error, file) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not TOML: {error}", where=str(file), remedy="correct it") from error
    for section, values in table.items():
        if not isinstance(values, dict):
            what = f"{section} is a section, not a value"
            raise ConfigError(what, where=str(file), remedy=f"write its keys below [{section}]")
    for key in ("site", "id"):
        if key in table.get("device", {}):
            what = f"device.{key} is not for a file that many boards share"
            remedy = "leave it out; --site says the site, and each board has an id of its own"
            raise ConfigError(what, where=str(file), remedy=remedy)
    return table


def _try(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.toml"
        file.write_text(text.replace(DEVICE, _A_DEVICE), encoding="utf-8")
        try:
            load(file, environ={})
        except MaskwatchError as error:
            what = error.what.replace(str(file), "it")
            raise ConfigError(what, where="config.toml of the bundle", remedy=error.remedy) from error


def _section(name: str, values: dict[str, Any]) -> str:
    return "".join([f"\n[{name}]\n", *(f"{_key(key)} = {_toml(value)}\n" for key, value in values.items())])


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").isalnum() else _toml(key)


def _toml(value: Any) -> str:
    """Write a string, number, boolean or list of them; whatever else there is in TOML no setting takes, and as text
    the agent says so."""
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007F")


def _unreadable(error: OSError, file: Path | None) -> MaskwatchError:
    if isinstance(error, PermissionError):
        return NotPermittedError("may not be read", where=str(file), remedy="let this user read it")
    return ConfigError(error.strerror or "cannot be read", where=str(file), remedy="name a TOML file")
