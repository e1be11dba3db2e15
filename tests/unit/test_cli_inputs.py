"""Which files `inspect` looks at, in which order, and where drawn copies go."""

import io
from pathlib import Path

import pytest

from agent.cli.inputs import Input, count_inputs, find_inputs, place
from agent.errors import InputError, UsageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b/2.PNG", "b/1.jpg", "a/clip.MP4", "notes.txt", ".hidden.jpg", "c/deep/x.webp"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return tmp_path


def names(paths: list[str], stdin: str = "") -> list[str]:
    return [str(item.name) if isinstance(item, Input) else "!" for item in find_inputs(paths, io.StringIO(stdin))]


def test_a_folder_is_walked_sorted_pictures_and_clips_of_any_case(tree: Path) -> None:
    assert names([str(tree)]) == ["a/clip.MP4", "b/1.jpg", "b/2.PNG", "c/deep/x.webp"]
    assert count_inputs([str(tree)]) == 4


def test_a_clip_is_told_from_a_picture_by_its_name(tree: Path) -> None:
    pictures = {i.name.name: i.is_picture for i in find_inputs([str(tree)], ()) if isinstance(i, Input)}
    assert pictures == {"clip.MP4": False, "1.jpg": True, "2.PNG": True, "x.webp": True}


def test_a_dash_reads_paths_from_stdin_line_by_line(tree: Path) -> None:
    assert names(["-"], f"{tree}/b/1.jpg\n\n{tree}/a\n{tree}/gone.jpg\n") == ["1.jpg", "clip.MP4", "!"]
    assert count_inputs(["-"]) is None


def test_a_bad_path_is_an_error_in_its_place_and_the_rest_goes_on(tree: Path) -> None:
    (tree / "empty").mkdir()
    found = list(find_inputs([str(tree / "nope"), str(tree / "empty"), str(tree / "b/1.jpg")], ()))
    assert [type(item) for item in found] == [InputError, InputError, Input]


def test_copies_keep_their_place_below_the_folder_and_never_meet() -> None:
    used: set[Path] = set()
    first = Input(path=Path("x/1.jpg"), name=Path("1.jpg"))
    second = Input(path=Path("y/1.jpg"), name=Path("1.jpg"))
    clip = Input(path=Path("y/deep/c.avi"), name=Path("deep/c.avi"))
    assert place(Path("out"), first, used) == Path("out/1.jpg")
    assert place(Path("out"), second, used) == Path("out/1-2.jpg")
    assert place(Path("out"), clip, used, ".mp4") == Path("out/deep/c.mp4")


def test_a_copy_never_overwrites_what_it_is_made_from(tree: Path) -> None:
    item = Input(path=tree / "b/1.jpg", name=Path("1.jpg"))
    with pytest.raises(UsageError, match="overwrite"):
        place(tree / "b", item, set())
