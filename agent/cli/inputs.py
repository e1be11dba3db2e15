"""The paths that `inspect` is given, one by one: pictures and clips, folders walked, `-` read line by line."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from agent.camera import CLIP_SUFFIXES, PICTURE_SUFFIXES, list_inputs
from agent.errors import MaskwatchError, UsageError


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A file to inspect. name: its place below what the user named, for a copy of it elsewhere."""

    path: Path
    name: Path

    @property
    def is_picture(self) -> bool:
        return self.path.name.lower().endswith(PICTURE_SUFFIXES)


def find_inputs(paths: Sequence[str], stdin: Iterable[str]) -> Iterator[Input | MaskwatchError]:
    """Give every picture and clip, in the order of the paths, a folder's sorted; an error where a path is bad."""
    for path in paths:
        if path == "-":
            for line in stdin:
                if line.strip():
                    yield from _below(Path(line.rstrip("\n")))
        else:
            yield from _below(Path(path))


def count_inputs(paths: Sequence[str]) -> int | None:
    """Give how many there are, for a progress bar; None where that is only known at the end."""
    return None if "-" in paths else sum(1 for _ in find_inputs(paths, ()))


def _below(path: Path) -> Iterator[Input | MaskwatchError]:
    try:
        files = list_inputs(path, (*PICTURE_SUFFIXES, *CLIP_SUFFIXES))
    except MaskwatchError as error:
        yield error
        return
    for file in files:
        yield Input(path=file, name=file.relative_to(path) if path.is_dir() else Path(file.name))


def place(folder: Path, item: Input, used: set[Path], suffix: str | None = None) -> Path:
    """Give where an annotated copy of `item` goes: its own name below `folder`, numbered where that is taken.

    Raises UsageError if it would overwrite what it is made from.
    """
    wanted = folder / (item.name.with_suffix(suffix) if suffix else item.name)
    target, number = wanted, 1
    while target in used:
        number += 1
        target = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    used.add(target)
    if target.resolve() == item.path.resolve():
        raise UsageError(
            "the annotated copy would overwrite it", where=str(item.path), remedy="name another folder for --annotate"
        )
    return target
