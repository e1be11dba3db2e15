"""`maskwatch config`: what is in force and who said so; the schema; an example made from the settings' own types."""

import argparse
import json
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from agent.cli.options import add_config_options, load_settings
from agent.config import Loaded
from agent.settings import Settings

_WIDTH = 100


def add_parser(subparsers: Any) -> None:
    """Add the command's options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "config",
        help="the effective configuration, and who said what",
        description="Print the effective configuration as TOML, each key with its source; secrets are never in it.",
    )
    add_config_options(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of the file instead")
    what.add_argument("--example", action="store_true", help="print a file with every key, its meaning and default")


def run(args: argparse.Namespace) -> int:
    """Print one of the three."""
    if args.schema:
        print(json.dumps(schema(), indent=2, ensure_ascii=False))
    elif args.example:
        print("\n".join(example()))
    else:
        print("\n".join(effective(load_settings(args))))
    return 0


def schema() -> dict[str, Any]:
    """Give the JSON Schema of a configuration file."""
    plain: dict[str, Any] = msgspec.to_builtins(msgspec.json.schema(Settings))  # its defaults hold tuples
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | plain


def effective(loaded: Loaded) -> Iterator[str]:
    """Give the settings in force as lines of TOML, with who said each."""
    yield (
        f"# from {loaded.file}" if loaded.file else "# no configuration file: defaults hold where nothing else is said"
    )
    for section, values in msgspec.to_builtins(loaded.settings).items():
        yield f"\n[{section}]"
        lines = {key: f"{key} = {_toml(value)}" for key, value in values.items()}
        column = min(48, max(map(len, lines.values())))
        for key, line in lines.items():
            yield f"{line:<{column}}  # {' '.join(loaded.sources[f'{section}.{key}'].split())}"


def example() -> Iterator[str]:
    """Give the lines of a file that names every key in a comment: its meaning, its bounds and its default."""
    definitions: dict[str, Any] = msgspec.json.schema(Settings)["$defs"]
    yield "# maskwatch reads /etc/maskwatch/config.toml. Every key has the default that stands here;"
    yield "# take away the # before the ones to change. MASKWATCH_<SECTION>_<KEY> and --set outdo this file."
    for section, reference in definitions["Settings"]["properties"].items():
        definition = definitions[reference["$ref"].rsplit("/", 1)[1]]
        yield ""
        yield from _comment(definition["description"])
        yield f"[{section}]"
        for key, facts in definition["properties"].items():
            yield from _comment("; ".join(filter(None, (facts.get("description"), _bounds(facts)))))
            yield f"#{key} = {_toml(facts['default'])}"


def _bounds(facts: dict[str, Any]) -> str:
    if "enum" in facts:
        return "one of " + ", ".join(_toml(value) for value in facts["enum"])
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join(f"{word} {facts[name]:g}" for name, word in words.items() if name in facts)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="#   ")


def _toml(value: Any) -> str:
    """Write a string, number, boolean or list of them; a JSON string is a TOML basic string but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
