"""What a board is given, and what is said where it cannot be had."""

from pathlib import Path

import pytest

from agent.errors import UnavailableError
from tools.arm import __main__ as command
from tools.arm import archive
from tools.arm.cache import kept, run
from tools.arm.emulator import CPUS
from tools.arm.wheels import locked, versions

LOCK = """both==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via something
old==2.0 ; python_full_version < '3.12' \\
    --hash=sha256:cc
new==3.0 ; python_full_version >= '3.12' \\
    --hash=sha256:dd
other==4.0 ; sys_platform == 'win32' or platform_machine == 'x86_64' \\
    --hash=sha256:ee
"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_lock_is_read_for_the_board_s_python_and_processor_and_keeps_every_hash() -> None:
    both = "both==1.0 --hash=sha256:aa --hash=sha256:bb\n"
    assert locked(LOCK, "3.11") == f"{both}old==2.0 --hash=sha256:cc\n"
    assert locked(LOCK, "3.13") == f"{both}new==3.0 --hash=sha256:dd\n"


def test_the_shipped_lock_has_an_interpreter_and_hashes_for_both_releases() -> None:
    lock = (Path(__file__).parents[2] / "requirements" / "board.txt").read_text()
    for python in ("3.11", "3.13"):
        lines = locked(lock, python).splitlines()
        assert any(line.startswith("ai-edge-litert==") for line in lines)
        assert all("--hash=sha256:" in line and ";" not in line for line in lines)
        names = [line.split("==")[0] for line in lines]
        assert len(names) == len(set(names))


def test_what_was_made_is_made_once_and_again_only_for_another_recipe() -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text(str(len(made)))

    assert (kept("thing", "recipe", make) / "file").read_text() == "1"
    assert (kept("thing", "recipe", make) / "file").read_text() == "1"
    assert (kept("thing", "another", make) / "file").read_text() == "2"


def test_what_failed_half_way_is_not_kept() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        kept("thing", "recipe", fail)

    def make(folder: Path) -> None:
        (folder / "whole").touch()

    assert [path.name for path in kept("thing", "recipe", make).iterdir()] == ["whole"]


def test_a_program_that_is_missing_fails_or_does_not_end_is_told_in_one_line() -> None:
    cases: list[tuple[list[str | Path], float, str]] = [
        (["maskwatch-no-such-program"], 5, "maskwatch-no-such-program: is not installed; do this"),
        (["sh", "-c", "echo first; echo last >&2; exit 3"], 5, "sh: ended with 3: last; do this"),
        (["sleep", "60"], 0.1, "sleep: no end within 0 s; do this"),
    ]
    for words, within_s, line in cases:
        with pytest.raises(UnavailableError) as refused:
            run(words, within_s=within_s, remedy="do this")
        assert str(refused.value) == line


def test_without_apt_it_says_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError) as refused:
        archive.unpacked("trixie", "arm64", ("base-files",))
    assert str(refused.value).endswith("apt-get install apt debian-archive-keyring, on Debian")


def test_without_tensorflow_the_command_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_TRAIN_PYTHON", tmp_path / "python")
    assert command.main(["--out", str(tmp_path / "out")]) == 69
    said = capsys.readouterr().err
    assert said.endswith("there is no TensorFlow to make the reference net with; make .venv-train/.ready\n")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_each_core_is_described_as_linux_describes_it() -> None:
    for cpu in CPUS.values():
        blocks = cpu.description.split("\n\n")
        assert len(blocks) == 4
        lines = [dict(line.split("\t: ") for line in block.strip().splitlines()) for block in blocks]
        assert [block["processor"] for block in lines] == ["0", "1", "2", "3"]
        assert all(block["CPU implementer"] == "0x41" and block["CPU part"] == cpu.part for block in lines)
        assert ("asimddp" in cpu.flags) == (cpu.name == "cortex-a76")


def test_what_pip_installed_is_read_from_its_own_records(tmp_path: Path) -> None:
    for name in ("numpy-2.5.5", "opencv_python_headless-4.14.0.94"):
        (tmp_path / f"{name}.dist-info").mkdir()
    (tmp_path / "numpy").mkdir()
    assert versions(tmp_path) == {"numpy": "2.5.5", "opencv_python_headless": "4.14.0.94"}


def test_a_page_without_figures_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (None, "{}", "no json"):
        if content is not None:
            (tmp_path / "boards.json").write_text(content)
        assert command.main(["--page", "--out", str(tmp_path)]) == 65
        said = capsys.readouterr().err
        assert said.startswith(f"{tmp_path / 'boards.json'}: holds no figures: ")
        assert said.endswith("; count: leave --page out\n")
        assert said.count("\n") == 1
