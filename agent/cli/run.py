"""`maskwatch run`: the daemon; what the service runs."""

import argparse
from typing import Any

from agent.cli.options import add_config_options, load_settings


def add_parser(subparsers: Any) -> None:
    """Add the command's options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "run",
        help="watch the camera and tell the broker: what the service runs",
        description="Watch the camera and tell the broker until stopped; one that is away is waited for.",
    )
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, SIGINT or the end of a clip."""
    from agent.service.process import serve  # here, so that a wrong option or setting is said at once

    return serve(load_settings(args), verbose=getattr(args, "verbose", False))
