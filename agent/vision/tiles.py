"""A closer look at pictures that wait (`inspect`); a live frame has no time for it.

One net, drawn at several input sizes, looks twice: closely, in one piece or in tiles, at about the picture's own
pixels; and once more at the whole of it, smaller. Two looks at different scales, one of them mirrored, go wrong in
different places: what both see is believed, what only one of two could see counts half.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.seams import Box, Face, Pixels
from agent.vision.detector import FaceDetector
from agent.vision.nms import overlaps, suppress

OVERLAP = 0.25
"""Of a tile: a face that a tile's border cuts is left to its neighbour, which sees it whole."""
SIDE_MAX_PX = 1920
"""Larger pictures are shrunk to this first: at most 64 tiles of 320x256, about a fifth of a second."""
BORDER_PX = 2.0
SHRUNK_MIN = 0.75
"""A whole picture at this scale shows nearly as much as its tiles, and costs a third."""
ENLARGED_MAX = 1.6
"""Small pictures are enlarged up to this: 400x300 fills 640x480. Of twice their size the net knows less."""
SEEN_PART = 0.5
"""The look beside tiles is for the faces that no tile holds, and for a second opinion: half the size will do."""
SAME_IOU = 0.4
SEEN_PX = 10.0
"""A face smaller than this in a net's input may well be overlooked, and that says nothing against it."""

LARGE_PX = 128.0
"""A face larger than this in the close look's input is left to the wide look, which sees it as large as it needs."""

Size = tuple[int, int]


class Plan(NamedTuple):
    """How to look at a picture. close, wide: nets by their place in the list; wide is None where one look is all.

    lefts, tops: where the tiles of the close look begin, pixels; empty: it takes the whole picture.
    """

    close: int
    wide: int | None
    lefts: tuple[int, ...] = ()
    tops: tuple[int, ...] = ()


def find_closely(nets: Sequence[FaceDetector], pixels: Pixels, floor: float | None = None) -> list[Face]:
    """Give the faces in a picture of any size, best first; boxes in pixels of it.

    nets: one net at different input sizes, of which the first says what score is sure. floor: the lowest score wanted;
    the first net's report_floor by default, which is as far as any look goes.
    """
    height, width = pixels.shape[:2]
    shrink = min(1.0, SIDE_MAX_PX / max(width, height))
    picture = (
        np.asarray(cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
        if shrink < 1
        else pixels
    )
    height, width = picture.shape[:2]
    manifest = nets[0].manifest
    plan = choose([net.input_size for net in nets], width, height)
    close = nets[plan.close]
    if plan.wide is None:
        faces = close.find(picture, manifest.report_floor)
    else:
        wide = nets[plan.wide]
        whole = wide.find(picture, manifest.report_floor)
        if plan.tops:
            closely = _keep(_in_tiles(close, picture, plan, manifest.report_floor), manifest.nms_iou)
            largest_px = OVERLAP * min(close.input_size)
        else:
            closely = _mirrored(close, picture, manifest.report_floor)
            largest_px = LARGE_PX / fit(close.input_size, width, height)
        smallest_px = SEEN_PX / fit(wide.input_size, width, height)
        faces = _keep(agree(closely, whole, smallest_px, largest_px, manifest.report_floor), manifest.nms_iou)
    wanted = manifest.report_floor if floor is None else floor
    return [
        msgspec.structs.replace(
            face, box=Box(*(side / shrink for side in face.box)), sure=face.score >= manifest.score_threshold
        )
        for face in faces
        if face.score >= wanted
    ]


def choose(sizes: Sequence[Size], width: int, height: int) -> Plan:
    """Choose how to look at a picture of width x height with inputs of these sizes, width and height.

    The close look takes the input in which the whole picture is largest, if it is SHRUNK_MIN to ENLARGED_MAX of its
    own size there; where it is shrunk and tiles show its pixels for less work, or it does not fit so, the tiles that
    have the fewest pixels in all. The wide look beside one piece takes the next smaller input; beside tiles, the
    smallest that shows the picture at half its size, or the largest there is.
    """
    by_area = sorted(range(len(sizes)), key=lambda index: math.prod(sizes[index]))
    scales = [fit(size, width, height) for size in sizes]
    pieces = [index for index in by_area if SHRUNK_MIN <= scales[index] <= ENLARGED_MAX]
    if min(scales) > ENLARGED_MAX:
        pieces = by_area[:1]
    cost = {index: tiled_pixels(sizes[index], width, height) for index in by_area if scales[index] < 1}
    if pieces:
        best = max(pieces, key=lambda index: (scales[index], math.prod(sizes[index])))
        if scales[best] >= 1 or math.prod(sizes[best]) / scales[best] ** 2 <= min(cost.values()):
            smaller = by_area[: by_area.index(best)]
            return Plan(close=best, wide=smaller[-1] if smaller else None)
    best = min(cost, key=lambda index: cost[index])
    return Plan(
        close=best,
        wide=next((index for index in by_area if scales[index] >= SEEN_PART), by_area[-1]),
        lefts=starts(width, sizes[best][0]),
        tops=starts(height, sizes[best][1]),
    )


def agree(
    closely: Sequence[Face], whole: Sequence[Face], smallest_px: float, largest_px: float, floor: float
) -> list[Face]:
    """Put two looks at one picture together.

    Of a face in both the box and the score's logit are the means of the two. A face in one only is one that the other
    gave `floor`, unless it is smaller than smallest_px, which the look at the whole could hardly see. Of faces larger
    than largest_px the look at the whole is believed as it is.
    """
    shares = overlaps(_boxes(closely), _boxes(whole))
    free = np.ones(len(whole), bool)
    faces = []
    for face, row in zip(closely, shares * (shares >= SAME_IOU), strict=True):
        row *= free
        at = int(row.argmax()) if len(row) else 0
        if len(row) and row[at] > 0:
            other = whole[at]
            free[at] = False
            box = Box(*((one + two) / 2 for one, two in zip(face.box, other.box, strict=True)))
            both = Face(box=box, score=_mean(face.score, other.score))
            faces.append(other if other.box.size_px > largest_px else both)
        else:
            seen = face.box.size_px >= smallest_px
            faces.append(msgspec.structs.replace(face, score=_mean(face.score, floor)) if seen else face)
    for face in (face for face, is_free in zip(whole, free, strict=True) if is_free):
        seen = face.box.size_px <= largest_px
        faces.append(msgspec.structs.replace(face, score=_mean(face.score, floor)) if seen else face)
    return faces


def fit(size: Size, width: int, height: int) -> float:
    """Give the scale at which a picture of width x height fits an input of this size."""
    return min(size[0] / width, size[1] / height)


def tiled_pixels(tile: Size, width: int, height: int) -> int:
    """Count the pixels of all tiles that cover a picture of width x height."""
    return math.prod(tile) * len(starts(width, tile[0])) * len(starts(height, tile[1]))


def starts(length: int, tile: int) -> tuple[int, ...]:
    """Give where tiles begin on one axis: evenly spread from edge to edge, overlapping by OVERLAP or more."""
    if length <= tile:
        return (0,)
    count = 1 + math.ceil((length - tile) / (tile * (1 - OVERLAP)))
    return tuple(round(index * (length - tile) / (count - 1)) for index in range(count))


def is_whole(box: Box, left: int, top: int, tile: tuple[int, ...], picture: tuple[int, ...]) -> bool:
    """Say whether a box in a tile keeps clear of the borders that are not the picture's own."""
    return (
        (left == 0 or box.x0 > BORDER_PX)
        and (top == 0 or box.y0 > BORDER_PX)
        and (left + tile[1] == picture[1] or box.x1 < tile[1] - BORDER_PX)
        and (top + tile[0] == picture[0] or box.y1 < tile[0] - BORDER_PX)
    )


def _in_tiles(net: FaceDetector, picture: Pixels, plan: Plan, floor: float) -> list[Face]:
    """Find the faces that are whole in a tile; one in two tiles comes twice."""
    width, height = net.input_size
    faces = []
    for top in plan.tops:
        for left in plan.lefts:
            tile = picture[top : top + height, left : left + width]
            for face in _mirrored(net, tile, floor):
                if is_whole(face.box, left, top, tile.shape, picture.shape):
                    x0, y0, x1, y1 = face.box
                    box = Box(x0=x0 + left, y0=y0 + top, x1=x1 + left, y1=y1 + top)
                    faces.append(msgspec.structs.replace(face, box=box))
    return faces


def _mirrored(net: FaceDetector, picture: Pixels, floor: float) -> list[Face]:
    """Find faces in the picture's mirror image; boxes in the picture itself."""
    width = picture.shape[1]
    found = net.find(np.asarray(cv2.flip(picture, 1), np.uint8), floor)
    return [
        msgspec.structs.replace(face, box=Box(width - face.box.x1, face.box.y0, width - face.box.x0, face.box.y1))
        for face in found
    ]


def _keep(faces: Sequence[Face], iou: float) -> list[Face]:
    """Give the best face of each heap, best first."""
    kept = suppress(_boxes(faces), np.array([face.score for face in faces]), iou)
    return [faces[index] for index in kept]


def _boxes(faces: Sequence[Face]) -> NDArray[np.float32]:
    return np.array([face.box for face in faces], np.float32).reshape(-1, 4)


def _mean(one: float, other: float) -> float:
    """Give the probability whose logit is the mean of the two's."""
    odds = math.sqrt(one / (1 - one) * other / (1 - other))
    return odds / (1 + odds)
