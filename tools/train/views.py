"""Training views of pictures: zoomed crops, mosaics, light and sensor faults, and which cell learns which face.

Everything here runs in the loader's own process with OpenCV and a generator that is passed in, so one seed gives the
same batches again. A view costs about 2 ms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tools.train.paste import Portrait, paste
from tools.train.pictures import Picture

Pixels = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

LEARN, IGNORE = 1, 2
"""States of a cell; 0 is a cell where no face is."""


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """How far a view may lie from the stored picture."""

    zoom_min: float = 0.25
    """Side of the window / side of the picture fitted into the input; small numbers are close-ups."""
    zoom_max: float = 1.25
    enlarge_max: float = 2.0
    """A stored pixel never becomes more than this many; beyond it there is nothing left to see."""
    fill: float = 0.5
    """Share of windows that are fitted by the picture's shorter side: they have no empty margins to learn from."""
    mosaic: float = 0.3
    """Share of views made of four pictures at half the size: small masked faces are rare otherwise."""
    patch: float = 0.33
    """Share of bare faces whose mouth is covered by a coloured patch, so that the net looks above it."""
    paste: float = 0.3
    """Share of views into which faces of portraits, and things like faces, are pasted."""
    gray: float = 0.12
    blur: float = 0.25
    noise: float = 0.3
    jpeg: float = 0.25
    face_px_min: float = 4.5
    """Smaller faces are ignored: neither learnt nor background."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One training picture: pixels (h, w, 3) RGB, boxes (n, 4) in its pixels, ignore (n,)."""

    pixels: Pixels
    boxes: Boxes
    ignore: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Pasted:
    """What is pasted into views: faces, and pictures without any for pieces of them."""

    portraits: Sequence[Portrait]
    scraps: Sequence[Picture]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What each cell learns. Cells run over all levels, row by row, in the order of the strides."""

    state: npt.NDArray[np.uint8]
    """(cells,) 0 background, LEARN or IGNORE."""
    cells: npt.NDArray[np.int64]
    """(m,) the cells to learn."""
    boxes: Boxes
    """(m, 4) the face of each, in pixels of the input."""


def make_view(
    pictures: Sequence[Picture],
    width: int,
    height: int,
    settings: ViewSettings,
    rng: np.random.Generator,
    pasted: Pasted | None = None,
) -> View:
    """Make one view of the first picture, or a mosaic of four. pictures: four, drawn by the caller.

    pasted: what to paste into some views.
    """
    places: tuple[tuple[int, int, int, int], ...] = ((0, 0, width, height),)
    if rng.random() < settings.mosaic:
        x, y = int(width * rng.uniform(0.35, 0.65)), int(height * rng.uniform(0.35, 0.65))
        places = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
    canvas = np.empty((height, width, 3), np.uint8)
    boxes, ignore = [], []
    for picture, (x0, y0, x1, y1) in zip(pictures, places, strict=False):
        part = cut(picture, x1 - x0, y1 - y0, settings, rng)
        canvas[y0:y1, x0:x1] = part.pixels
        boxes.append(part.boxes + np.array([x0, y0, x0, y0], np.float32))
        ignore.append(part.ignore)
    if pasted is not None and rng.random() < settings.paste:
        scrap = pasted.scraps[int(rng.integers(len(pasted.scraps)))].pixels
        boxes.append(paste(canvas, np.concatenate(boxes), pasted.portraits, scrap, rng))
        ignore.append(np.zeros(len(boxes[-1]), bool))
    pixels = disturb(canvas, settings, rng)
    return View(pixels=pixels, boxes=np.concatenate(boxes), ignore=np.concatenate(ignore))


def cut(picture: Picture, width: int, height: int, settings: ViewSettings, rng: np.random.Generator) -> View:
    """Cut a window out of a picture, scale it to width x height, maybe mirror it, maybe cover mouths."""
    stored_height, stored_width = picture.pixels.shape[:2]
    ratios = width / stored_width, height / stored_height
    fitted = max(ratios) if rng.random() < settings.fill else min(ratios)
    near = rng.random() < 0.5  # half of the views at about the scale at which a camera's picture is looked at
    low = max(0.75, settings.zoom_min) if near else settings.zoom_min
    zoom = float(np.exp(rng.uniform(np.log(low), np.log(settings.zoom_max))))
    scale_y = min(fitted / zoom, settings.enlarge_max)
    scale_x = scale_y * float(rng.uniform(0.88, 1.14))
    left = window_start(stored_width, width / scale_x, rng)
    top = window_start(stored_height, height / scale_y, rng)
    pixels = resized_window(picture.pixels, left, top, scale_x, scale_y, width, height, rng)
    boxes = (picture.boxes - np.array([left, top, left, top], np.float32)) * np.array(
        [scale_x, scale_y, scale_x, scale_y], np.float32
    )
    if rng.random() < 0.5:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    boxes, ignore, kept = clip_faces(boxes, picture.ignore, width, height, settings.face_px_min)
    for index, box in zip(kept, boxes, strict=True):
        bare = picture.labels[index] in ("no_mask", "face") and not picture.ignore[index]
        if bare and rng.random() < settings.patch:
            cover_mouth(pixels, box, rng)
    return View(pixels=pixels, boxes=boxes, ignore=ignore)


def window_start(stored: int, window: float, rng: np.random.Generator) -> int:
    """Choose where a window begins on one axis: inside the picture, or around it when it is larger."""
    slack = stored - window
    return round(float(rng.uniform(min(0.0, slack), max(0.0, slack))))


def resized_window(
    stored: Pixels,
    left: int,
    top: int,
    scale_x: float,
    scale_y: float,
    width: int,
    height: int,
    rng: np.random.Generator,
) -> Pixels:
    """Give the window of width x height at this scale that begins at (left, top) of the stored picture.

    What lies outside the picture is one gray or one random colour.
    """
    x0, y0 = max(0, left), max(0, top)
    x1 = min(stored.shape[1], round(left + width / scale_x))
    y1 = min(stored.shape[0], round(top + height / scale_y))
    to_x0, to_y0 = round((x0 - left) * scale_x), round((y0 - top) * scale_y)
    to_x1, to_y1 = min(width, round((x1 - left) * scale_x)), min(height, round((y1 - top) * scale_y))
    method = cv2.INTER_AREA if rng.random() < 0.6 else cv2.INTER_LINEAR
    inner: Any = cv2.resize(stored[y0:y1, x0:x1], (to_x1 - to_x0, to_y1 - to_y0), interpolation=method)
    canvas: Pixels = inner
    if inner.shape[:2] == (height, width):
        return canvas
    colour = np.full(3, 128) if rng.random() < 0.6 else rng.integers(0, 256, 3)
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = colour
    canvas[to_y0:to_y1, to_x0:to_x1] = inner
    return canvas


def clip_faces(
    boxes: Boxes, ignore: npt.NDArray[np.bool_], width: int, height: int, face_px_min: float
) -> tuple[Boxes, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Clip boxes to the view and drop those outside; too small or mostly cut off becomes ignored.

    Returns the boxes, whether each is ignored, and which of the given ones they were.
    """
    limit = np.array([width, height, width, height], np.float32)
    clipped = np.clip(boxes, 0, limit).astype(np.float32)
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3), 1)
    seen = np.prod(np.maximum(clipped[:, 2:] - clipped[:, :2], 0), 1)
    kept = np.flatnonzero(seen > 1)
    doubtful = ignore | (seen < 0.5 * area) | (seen < face_px_min**2)
    return clipped[kept], doubtful[kept], kept


def cover_mouth(pixels: Pixels, box: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    """Draw a patch of one colour, with a little texture, over the lower half of a face."""
    x0, y0, x1, y1 = (float(v) for v in box)
    width, height = x1 - x0, y1 - y0
    centre = (x0 + width * rng.uniform(0.4, 0.6), y0 + height * rng.uniform(0.68, 0.8))
    axes = (max(1, round(width * rng.uniform(0.3, 0.5))), max(1, round(height * rng.uniform(0.18, 0.34))))
    shade = rng.uniform(20, 250)
    colour = np.clip(shade + rng.normal(0, 25, 3), 0, 255)
    if rng.random() < 0.5:
        cv2.ellipse(pixels, (round(centre[0]), round(centre[1])), axes, 0, 0, 360, colour.tolist(), -1)
    else:
        low = (round(centre[0] - axes[0]), round(centre[1] - axes[1]))
        high = (round(centre[0] + axes[0]), round(centre[1] + axes[1]))
        cv2.rectangle(pixels, low, high, colour.tolist(), -1)


def disturb(view: Pixels, settings: ViewSettings, rng: np.random.Generator) -> Pixels:
    """Change light, colour, sharpness, noise and compression as cheap cameras do. Returns (h, w, 3) uint8."""
    pixels: Any = view  # OpenCV's stubs know no dtypes
    if rng.random() < settings.blur:
        if rng.random() < 0.5:
            pixels = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.4, 1.2)))
        else:  # a stream of fewer pixels, enlarged
            height, width = pixels.shape[:2]
            factor = rng.uniform(0.45, 0.9)
            small = cv2.resize(pixels, (int(width * factor), int(height * factor)), interpolation=cv2.INTER_AREA)
            pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    gain, lift, gamma = rng.uniform(0.6, 1.35), rng.uniform(-25, 25), np.exp(rng.uniform(-0.35, 0.35))
    cast = rng.uniform(0.85, 1.15, 3) if rng.random() < 0.4 else np.ones(3)
    levels = np.arange(256)[:, None] / 255
    table = np.clip(255 * levels**gamma * gain * cast + lift, 0, 255).astype(np.uint8)
    pixels = cv2.LUT(pixels, table[None])
    if rng.random() < settings.gray:
        pixels = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < settings.noise:
        grain = rng.integers(0, 256, pixels.shape, np.uint8)  # uniform bytes are ten times cheaper than normal ones
        pixels = cv2.addWeighted(pixels, 1.0, grain, amount := float(rng.uniform(0.02, 0.12)), -127.5 * amount)
    if rng.random() < settings.jpeg:
        _, packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))])
        pixels = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    seen: Pixels = pixels
    return seen


def assign(view: View, strides: Sequence[int]) -> Targets:
    """Say which cell learns which face.

    A face of size sqrt(w * h) belongs to the level whose stride is a quarter of it (rounded up), and is learnt by those
    of the 3x3 cells round its centre that lie in it, at least by the middle one. At the levels beside it the cells
    round its centre, and everywhere the cells in an ignored box, are left out. Small faces win over large ones.
    """
    height, width = view.pixels.shape[:2]
    grids = [(height // stride, width // stride) for stride in strides]
    states = [np.zeros(grid, np.uint8) for grid in grids]
    owners = [np.full(grid, -1, np.int32) for grid in grids]
    sizes = np.sqrt(np.prod(view.boxes[:, 2:] - view.boxes[:, :2], 1))
    home = np.searchsorted(np.array(strides[:-1]) * 4.0, sizes)
    for index in np.flatnonzero(view.ignore):
        for stride, state in zip(strides, states, strict=True):
            rows, columns = cells_inside(view.boxes[index], stride)
            state[rows, columns] = IGNORE
    order = np.argsort(-sizes)
    learnt = [index for index in order if not view.ignore[index]]
    for index in learnt:
        box, level = view.boxes[index], int(home[index])
        for beside in (level - 1, level + 1):
            if 0 <= beside < len(strides):
                rows, columns = cells_round_centre(box, strides[beside], grids[beside])
                patch = states[beside][rows, columns]
                patch[patch != LEARN] = IGNORE
        rows, columns = cells_to_learn(box, strides[level], grids[level])
        states[level][rows, columns] = LEARN
        owners[level][rows, columns] = index
    state = np.concatenate([level.ravel() for level in states])
    cells = np.flatnonzero(state == LEARN)
    owner = np.concatenate([level.ravel() for level in owners])[cells]
    return Targets(state=state, cells=cells, boxes=view.boxes[owner].reshape(-1, 4))


def cells_inside(box: npt.NDArray[np.float32], stride: int) -> tuple[slice, slice]:
    """Give rows and columns of the cells whose centre lies in the box, none if it is too small for one."""
    x0, y0, x1, y1 = np.ceil(np.maximum(box / stride - 0.5, 0)).astype(int)
    return slice(y0, y1), slice(x0, x1)


def middle_cell(box: npt.NDArray[np.float32], stride: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Give row and column of the cell that holds the centre of the box."""
    row, column = int((box[1] + box[3]) / 2 / stride), int((box[0] + box[2]) / 2 / stride)
    return min(row, grid[0] - 1), min(column, grid[1] - 1)


def cells_round_centre(box: npt.NDArray[np.float32], stride: int, grid: tuple[int, int]) -> tuple[slice, slice]:
    """Give rows and columns of the 3x3 cells round the centre."""
    row, column = middle_cell(box, stride, grid)
    return slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2)


def cells_to_learn(box: npt.NDArray[np.float32], stride: int, grid: tuple[int, int]) -> tuple[slice, slice]:
    """Give rows and columns of those of the 3x3 cells round the centre that lie in the box, at least the middle one."""
    row, column = middle_cell(box, stride, grid)
    rows, columns = cells_inside(box, stride)
    return (
        slice(max(row - 1, min(rows.start, row)), min(row + 2, max(rows.stop, row + 1))),
        slice(max(column - 1, min(columns.start, column)), min(column + 2, max(columns.stop, column + 1))),
    )
