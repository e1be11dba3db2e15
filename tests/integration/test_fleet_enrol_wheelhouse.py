"""Which wheels a kind of board gets, and how they are kept; pip itself is asked, with a small folder for an index."""

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

from agent.errors import InputError, UnavailableError
from tools.fleet.enrol import wheelhouse
from tools.fleet.enrol.wheelhouse import BOARD, MACHINES, PIP, PYTHONS, Cache, Target, Wheel, given, locked, put

TARGETS = [Target(machine=machine, python=python) for machine in MACHINES for python in PYTHONS]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_every_package_of_the_lock_is_there_once_for_each_kind_of_board_with_its_hashes(target: Target) -> None:
    lines = locked(BOARD.read_text(), target).splitlines()
    names = [Requirement(line.split(" --hash")[0]).name for line in lines]

    assert len(names) == len(set(names))
    assert {"numpy", "opencv-python-headless", "ai-edge-litert", "paho-mqtt", "msgspec", "rich"} <= set(names)
    assert "colorama" not in names  # for Windows
    assert all(";" not in line and line.count("--hash=sha256:") >= 1 for line in lines)


def test_a_marker_is_judged_by_the_board_s_python_and_not_by_ours() -> None:
    text = (
        "one==1 ; python_full_version < '3.12' \\\n    --hash=sha256:aa\n    # via x\n"
        "one==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
        "two==3 ; platform_machine == 'aarch64' --hash=sha256:dd\n"
    )
    assert locked(text, Target(machine="aarch64", python="3.11")) == (
        "one==1 --hash=sha256:aa\ntwo==3 --hash=sha256:dd\n"
    )
    assert locked(text, Target(machine="x86_64", python="3.13")) == "one==2 --hash=sha256:bb --hash=sha256:cc\n"


def test_a_line_that_is_no_requirement_is_told() -> None:
    with pytest.raises(InputError, match="make lock"):
        locked("one === two three\n", TARGETS[0])


def test_pip_itself_is_pinned_by_its_hash() -> None:
    assert locked(PIP.read_text(), TARGETS[0]).startswith("pip==")
    assert "--hash=sha256:" in locked(PIP.read_text(), TARGETS[0])


def make_wheel(folder: Path, name: str) -> str:
    """Make a wheel that pip takes; gives its sha256."""
    distribution, version = name.split("-")[:2]
    file = folder / f"{name}.whl"
    inside = f"{distribution}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    texts = {"METADATA": metadata, "WHEEL": f"Wheel-Version: 1.0\nTag: {name.split('-', 2)[2]}\n", "RECORD": ""}
    with zipfile.ZipFile(file, "w") as wheel:
        for part, text in texts.items():
            wheel.writestr(zipfile.ZipInfo(f"{inside}/{part}"), text)  # of no date: the same name is the same file
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip knows, and a lock of them."""
    folder = tmp_path / "index"
    folder.mkdir()
    names = ["one-1-cp311-cp311-manylinux_2_28_aarch64", "one-2-cp313-cp313-manylinux_2_34_aarch64"]
    names += ["one-2-cp313-cp313-manylinux2014_x86_64", "one-1-cp311-cp311-musllinux_1_1_aarch64"]
    names += ["two-3-cp37-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64", "two-3-cp37-abi3-macosx_11_0_arm64"]
    names += ["pure-5-py3-none-any"]
    hashes = {name: make_wheel(folder, name) for name in names}
    lines = [
        f"{name.split('-')[0]}=={name.split('-')[1]} ; {marker} "
        + " ".join(
            f"--hash=sha256:{digest}" for other, digest in hashes.items() if other.split("-")[:2] == name.split("-")[:2]
        )
        for name, marker in (
            (names[0], "python_version < '3.12'"),
            (names[1], "python_version >= '3.12'"),
            (names[4], "platform_machine == 'aarch64'"),
            (names[6], "python_version > '3'"),
        )
    ]
    lock = tmp_path / "board.txt"
    lock.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(wheelhouse, "BOARD", lock)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.parametrize(
    ("machine", "python", "wanted"),
    [
        ("aarch64", "3.11", {"one-1-cp311-cp311-manylinux_2_28_aarch64", "pure-5-py3-none-any", "two"}),
        ("aarch64", "3.13", {"one-2-cp313-cp313-manylinux_2_34_aarch64", "pure-5-py3-none-any", "two"}),
        ("x86_64", "3.13", {"one-2-cp313-cp313-manylinux2014_x86_64", "pure-5-py3-none-any"}),
    ],
)
def test_pip_finds_the_wheels_of_a_board_that_is_not_ours(
    index: Path, tmp_path: Path, machine: str, python: str, wanted: set[str]
) -> None:
    found = Cache(tmp_path / "cache").for_target(Target(machine=machine, python=python))

    names = {wheel.name.removesuffix(".whl") for wheel in found}
    assert {"two" if name.startswith("two") else name for name in names} == wanted
    assert all(hashlib.sha256(wheel.path.read_bytes()).hexdigest() == wheel.sha256 for wheel in found)


def test_what_was_downloaded_once_is_not_asked_for_again(index: Path, tmp_path: Path) -> None:
    target = Target(machine="aarch64", python="3.11")
    first = Cache(tmp_path / "cache").for_target(target)
    for file in index.iterdir():
        file.unlink()

    assert Cache(tmp_path / "cache").for_target(target) == first


def test_what_was_changed_since_is_downloaded_again(index: Path, tmp_path: Path) -> None:
    target = Target(machine="aarch64", python="3.11")
    first = Cache(tmp_path / "cache").for_target(target)
    first[0].path.chmod(0o644)
    first[0].path.write_bytes(b"changed")

    again = Cache(tmp_path / "cache").for_target(target)
    assert again == first
    assert again[0].path.read_bytes() != b"changed"


def test_a_wheel_that_is_not_the_one_of_the_lock_is_not_taken(index: Path, tmp_path: Path) -> None:
    (index / "pure-5-py3-none-any.whl").write_bytes((index / "one-2-cp313-cp313-manylinux2014_x86_64.whl").read_bytes())
    cache = Cache(tmp_path / "cache")
    with pytest.raises(UnavailableError, match=r"HASHES|hashes"):
        cache.for_target(Target(machine="aarch64", python="3.11"))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]  # nothing half done is kept


def test_an_index_that_has_it_not_is_one_line(index: Path, tmp_path: Path) -> None:
    (index / "pure-5-py3-none-any.whl").unlink()
    with pytest.raises(UnavailableError, match="package index") as refused:
        Cache(tmp_path / "cache").for_target(Target(machine="aarch64", python="3.11"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_tag_of_every_glibc_up_to_bookworm_s_is_named(target: Target) -> None:
    options = target.options
    named = {options[at + 1] for at, word in enumerate(options) if word == "--platform"}

    assert {f"manylinux_2_{minor}_{target.machine}" for minor in range(17, 37)} <= named
    wheel = (
        f"x-1-cp{target.python.replace('.', '')}-cp{target.python.replace('.', '')}-manylinux_2_28_{target.machine}.whl"
    )
    tags = parse_wheel_filename(wheel)[3]
    assert all(isinstance(tag, Tag) and tag.platform in named for tag in tags)


def test_bundles_share_the_wheels_on_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "a.whl"
    file.write_bytes(b"wheel")
    folder = tmp_path / "bundle"
    folder.mkdir()
    wheel = Wheel(path=file, sha256="")
    put([wheel, wheel], folder)

    assert (folder / "a.whl").stat().st_ino == file.stat().st_ino


def test_another_wheel_is_not_taken_for_the_agent_s(tmp_path: Path) -> None:
    for name in ("maskwatch-0.1.0.tar.gz", "other-1-py3-none-any.whl", "maskwatch-0.1.0-cp311-cp311-linux_x86_64.whl"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(InputError, match="not a wheel of maskwatch"):
            given(tmp_path / name)
    with pytest.raises(InputError, match="No such file"):
        given(tmp_path / "maskwatch-9-py3-none-any.whl")
