"""Pictures: reading one whole or saying what is wrong, listing folders, each picture a scene of its own."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.camera.pictures import CLIP_SUFFIXES, PICTURE_SUFFIXES, PicturesCamera, list_inputs, read_picture
from agent.clock import NS_PER_S
from agent.errors import InputError, NotPermittedError
from agent.seams import End, Frame


def _picture(path: Path, *, red: int = 200, size: tuple[int, int] = (40, 30)) -> Path:
    """Write a picture that is red on its left half and green on its right."""
    width, height = size
    bgr = np.zeros((height, width, 3), np.uint8)
    bgr[:, : width // 2, 2] = red
    bgr[:, width // 2 :, 1] = 180
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), bgr)
    return path


def _noise(path: Path) -> Path:
    random = np.random.default_rng(5)
    assert cv2.imwrite(str(path), random.integers(0, 256, (120, 160, 3), dtype=np.uint8))
    return path


@pytest.mark.parametrize("suffix", [*PICTURE_SUFFIXES, ".JPG", ".Png"])
def test_a_picture_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    pixels = read_picture(_picture(tmp_path / f"a{suffix}"))
    assert pixels.shape == (30, 40, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[5, 5].astype(int) - [200, 0, 0]).max() < 12
    assert np.abs(pixels[5, 35].astype(int) - [0, 180, 0]).max() < 12


def test_the_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    path = _picture(tmp_path / "a.jpg")
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">I", 0)
    exif = b"Exif\0\0" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    pixels = read_picture(path)
    assert pixels.shape == (40, 30, 3)
    assert pixels[5, 5, 0] > 150  # orientation 6: turn clockwise, so what was on the left is on top


def test_transparency_and_grey_become_three_channels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "alpha.png"), np.full((8, 9, 4), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((8, 9), 77, np.uint8))
    for name in ("alpha.png", "grey.png"):
        assert np.array_equal(read_picture(tmp_path / name), np.full((8, 9, 3), 77, np.uint8))


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
@pytest.mark.parametrize("part", [0.1, 0.6, 0.95])
def test_a_truncated_picture_is_an_input_error(
    tmp_path: Path, suffix: str, part: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = _noise(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match="damaged, truncated or not a picture"):
        read_picture(path)
    assert capfd.readouterr() == ("", "")


def test_a_text_file_named_jpg_and_an_empty_file_and_a_folder_are_input_errors_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture\n" * 20)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    for name in ("text.jpg", "empty.jpg", "folder.jpg"):
        with pytest.raises(InputError) as caught:
            read_picture(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_header_that_promises_too_many_pixels_is_an_input_error(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2_000_000, 2_000_000, 8, 2, 0, 0, 0)
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 99)))
    with pytest.raises(InputError):
        read_picture(path)


def test_a_missing_picture_names_the_nearest_one_beside_it(tmp_path: Path) -> None:
    _picture(tmp_path / "portrait.png")
    with pytest.raises(InputError, match=r"did you mean 'portrait\.png'"):
        read_picture(tmp_path / "portrat.png")
    with pytest.raises(InputError, match="no such file"):
        read_picture(tmp_path / "nowhere" / "a.png")


def test_a_picture_that_may_not_be_read_is_not_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _picture(tmp_path / "a.png")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything: let the system call say what it would say to others

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(NotPermittedError):
        read_picture(path)


def test_a_library_that_warns_on_standard_error_is_not_heard(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path = _picture(tmp_path / "a.png")
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile")) + data[33:])
    assert read_picture(path).shape == (30, 40, 3)
    os.write(2, b"still open\n")
    assert capfd.readouterr() == ("", "still open\n")


def test_a_folder_is_walked_recursively_sorted_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.webp", "sub/deeper/d.bmp", ".hidden.png", ".git/e.png"):
        _picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no")
    (tmp_path / "film.MP4").write_text("no")
    names = [path.relative_to(tmp_path).as_posix() for path in list_inputs(tmp_path)]
    assert names == ["a.JPG", "b.png", "sub/c.webp", "sub/deeper/d.bmp"]
    both = list_inputs(tmp_path, PICTURE_SUFFIXES + CLIP_SUFFIXES)
    assert [path.name for path in both] == ["a.JPG", "b.png", "film.MP4", "c.webp", "d.bmp"]
    assert list_inputs(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_a_folder_without_pictures_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no")
    with pytest.raises(InputError, match=r"no file in it ends in \.jpg"):
        list_inputs(tmp_path)


def test_a_folder_inside_that_may_not_be_read_is_not_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _picture(tmp_path / "a.png")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path) != str(tmp_path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(NotPermittedError, match="closed"):
        list_inputs(tmp_path)


def _read_all(camera: PicturesCamera, limit: int = 100) -> tuple[list[Frame], object]:
    frames: list[Frame] = []
    while len(frames) < limit:
        got = camera.read(0)
        if not isinstance(got, Frame):
            return frames, got
        frames.append(got)
    return frames, None


def test_each_picture_of_a_folder_is_a_scene_of_its_own(tmp_path: Path) -> None:
    for number in range(3):
        _picture(tmp_path / f"{number}.png", red=100 + number)
    with PicturesCamera(tmp_path, fps=4, rotate_deg=90) as camera:
        assert camera.describe() == f"{tmp_path}, 3 pictures"
        frames, end = _read_all(camera)
    assert [frame.scene for frame in frames] == [0, 1, 2]
    assert [frame.captured_ns for frame in frames] == [0, NS_PER_S // 4, NS_PER_S // 2]
    assert [frame.pixels[0, -1, 0] for frame in frames] == [100, 101, 102]
    assert frames[0].pixels.shape == (40, 30, 3)
    assert end == End()


def test_a_looped_folder_goes_on_with_new_scenes(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    _picture(tmp_path / "b.png")
    with PicturesCamera(tmp_path, fps=1, loop=True) as camera:
        frames, end = _read_all(camera, limit=5)
    assert [(frame.index, frame.scene, frame.captured_ns) for frame in frames] == [
        (n, n, n * NS_PER_S) for n in range(5)
    ]
    assert end is None


@pytest.mark.parametrize("loop", [False, True])
def test_damaged_pictures_are_left_out_and_the_first_is_told_at_the_end(tmp_path: Path, loop: bool) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no picture")
    if not loop:
        _picture(tmp_path / "c.png")
    with PicturesCamera(tmp_path, fps=1, loop=loop) as camera:
        frames, end = _read_all(camera)
    assert len(frames) == (0 if loop else 1)
    assert isinstance(end, End)
    assert isinstance(end.damage, InputError)
    assert "a.png" in str(end.damage)


def test_a_single_damaged_picture_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(InputError), PicturesCamera(tmp_path / "a.png", fps=1):
        pass
