"""The front door: which command, which exit code, which line."""

import argparse
import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from agent import __version__
from agent.cli import main as front
from agent.errors import InputError, StorageError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a command `bench` in place that does what the test says."""

    def install(action: Any) -> None:
        module = ModuleType("agent.cli.bench")

        def add_parser(subparsers: Any) -> None:
            parser = subparsers.add_parser("bench")
            parser.add_argument("--frames", type=int, default=1)

        module.add_parser = add_parser  # type: ignore[attr-defined]
        module.run = action  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "agent.cli.bench", module)

    return install


def test_the_commands_own_code_is_the_exit_code(command: Any) -> None:
    seen: list[argparse.Namespace] = []

    def action(args: argparse.Namespace) -> int:
        seen.append(args)
        return 7

    command(action)
    assert front.main(["bench", "--frames", "3"]) == 7
    assert seen[0].frames == 3


def test_version_and_help_end_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["--version"]) == 0
    assert capsys.readouterr().out == f"maskwatch {__version__}\n"
    assert front.main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in front.COMMANDS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inpsect"], "no command 'inpsect' (did you mean 'inspect'?)"),
        (["zzzz"], "no command 'zzzz';"),
        ([], "no command; name one of run, demo"),
        (["config", "--exmaple"], "no option --exmaple (did you mean '--example'?)"),
        (["config", "--exmaple=3"], "no option --exmaple (did you mean '--example'?)"),
        (["config", "extra"], "takes no argument 'extra'"),
        (["config", "--set"], "--set: expected one argument"),
        (["config", "--schema", "--example"], "not allowed with argument"),
        (["--verzion"], "no option --verzion (did you mean '--version'?)"),
    ],
)
def test_what_nobody_knows_is_one_line_and_code_two(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert front.main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert said in printed.err


def test_a_foreseen_failure_is_one_line_and_its_code(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def action(args: argparse.Namespace) -> int:
        raise StorageError("full", where="/data", remedy="make room") from OSError(28, "No space left")

    command(action)
    assert front.main(["bench"]) == 74
    assert capsys.readouterr().err == "/data: full; make room\n"


@pytest.mark.parametrize("words", [["-v", "bench"], ["bench", "-v"], ["bench", "--verbose"]])
def test_verbose_adds_every_cause(command: Any, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def action(args: argparse.Namespace) -> int:
        try:
            try:
                raise OSError("the disk\nis gone")
            except OSError as error:
                raise ValueError("cannot read") from error
        except ValueError as error:
            raise InputError("damaged", where="a.jpg", remedy="replace it") from error

    command(action)
    assert front.main(words) == 65
    assert capsys.readouterr().err.splitlines() == [
        "a.jpg: damaged; replace it",
        "  because ValueError: cannot read",
        "  because OSError: the disk is gone",
    ]


def test_a_fault_of_ours_ends_with_one_and_a_traceback(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda args: 1 // 0)
    assert front.main(["bench"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_ends_quietly(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def action(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    command(action)
    assert front.main(["bench"]) == 130
    assert capsys.readouterr().err == ""


def test_every_command_can_say_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    for name in front.COMMANDS:
        assert front.main([name, "--help"]) == 0, name
        assert "--help" in capsys.readouterr().out


@pytest.mark.parametrize(("said", "threads"), [(None, "1"), ("3", "3")])
def test_every_command_keeps_opencv_to_one_thread_unless_the_environment_says_otherwise(
    said: str | None, threads: str
) -> None:
    asks = "import sys; from agent.cli.main import main; main(['--version']); import cv2; print(cv2.getNumThreads())"
    name = "OPENCV_FOR_THREADS_NUM"
    environment = {key: value for key, value in os.environ.items() if key != name} | ({name: said} if said else {})
    done = subprocess.run(
        [sys.executable, "-c", asks], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split()[-1] == threads
