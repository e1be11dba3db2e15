"""The options that several commands share, and what they mean."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from agent.config import Loaded, load


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add --config and --set."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file (default /etc/maskwatch/config.toml)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        help="override one setting; may be given again",
    )


def load_settings(args: argparse.Namespace, *, first: Sequence[str] = ()) -> Loaded:
    """Read the configuration as the options say. first: overrides of the command itself, which --set outdoes."""
    return load(args.config, overrides=[*first, *args.overrides])
