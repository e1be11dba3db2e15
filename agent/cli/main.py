"""`maskwatch COMMAND`: finds the command, runs it, and turns what went wrong into one line and an exit code.

A command is a module here with `add_parser(subparsers)` and `run(args) -> int`. Only the module of the command that was
asked for is imported: on a board every import counts.
"""

import argparse
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from agent import __version__
from agent.errors import MaskwatchError, UsageError, nearest

COMMANDS = {
    "run": "watch the camera and tell the broker: what the service runs",
    "demo": "a scene or clip through the real agent and a real broker, live",
    "inspect": "pictures, clips or folders: what the agent would say of each face",
    "watch": "a live view of the events of any site",
    "check": "is everything here ready: board, camera, models, broker, clock",
    "bench": "the budgets against measurements on this machine",
    "config": "the effective configuration, and who said what",
}
EXIT_FAULT = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell tells it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line. Returns the exit code; every foreseen failure has been said in one line on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    _tame_libraries()
    logging.getLogger("agent").addHandler(logging.NullHandler())  # only the daemon keeps a journal
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except MaskwatchError as error:
        _say(error, verbose=_is_verbose(words))
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has had enough. Without this the interpreter would flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_BROKEN_PIPE
    except Exception:
        traceback.print_exc()
        return EXIT_FAULT


def _dispatch(words: list[str]) -> int:
    name = next((word for word in words if not word.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        raise UsageError(
            f"no command {name!r}{nearest(name, COMMANDS)}", where="maskwatch", remedy="see maskwatch --help"
        )
    module = importlib.import_module(f"agent.cli.{name}") if name else None
    parser, chosen = _parsers(name, module)
    try:
        args, unknown = parser.parse_known_args(words)
    except SystemExit as end:  # --help and --version end so, after they have printed
        return int(end.code or 0)
    if unknown:
        _refuse(unknown[0], chosen)
    if module is None:
        raise UsageError("no command", where="maskwatch", remedy=f"name one of {', '.join(COMMANDS)}")
    code: int = module.run(args)
    return code


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UsageError, and knows -v before and after the command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False} | options)
        self.add_argument(
            "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="say the cause of a failure too"
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=self.prog, remedy=f"see {self.prog} --help")


def _parsers(name: str | None, module: ModuleType | None) -> tuple[Parser, Parser]:
    """Make the parser, with the named command in full and the others by name only. Returns it and the command's own."""
    parser = Parser(prog="maskwatch", description="Tells a broker, for every person who passes: mask, no mask, or how.")
    parser.add_argument("--version", action="version", version=f"maskwatch {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for command, summary in COMMANDS.items():
        if command == name and module is not None:
            module.add_parser(commands)
        else:
            commands.add_parser(command, help=summary)
    chosen = commands.choices[name] if name else parser
    assert isinstance(chosen, Parser)
    return parser, chosen


def _refuse(word: str, parser: Parser) -> NoReturn:
    """Say which option or argument nobody knows, and which one may have been meant."""
    if word.startswith("-"):
        option = word.split("=")[0]
        known = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
        what = f"no option {option}{nearest(option, known)}"
    else:
        what = f"takes no argument {word!r}"
    raise UsageError(what, where=parser.prog, remedy=f"see {parser.prog} --help")


def _say(error: MaskwatchError, *, verbose: bool) -> None:
    print(error, file=sys.stderr)
    cause = error.__cause__
    while verbose and cause is not None:
        print(f"  because {type(cause).__name__}: {' '.join(str(cause).split())}", file=sys.stderr)
        cause = cause.__cause__ or cause.__context__


def _is_verbose(words: Sequence[str]) -> bool:
    """Tell whether -v is given, even where the words as a whole cannot be understood."""
    return any(word in ("-v", "--verbose") for word in words)


def _tame_libraries() -> None:
    """Keep OpenCV and FFmpeg off the terminal, and OpenCV from threads of its own. Read when cv2 is imported.

    What they have to say we say, in one line. The pictures are small: OpenCV's threads wait for work longer than they
    do any (docs/decisions/0015).
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")


if __name__ == "__main__":
    sys.exit(main())
