"""A second, closer look at pictures larger than the detector's input: the whole picture, then overlapping tiles of it.

For pictures that wait (`inspect`); a live frame has no time for it. A tile is looked at pixel by pixel. What touches a
tile's border inside the picture is left to its neighbour, which overlaps it by a quarter and sees the face whole; faces
larger than the overlap are large enough in the whole picture.
"""

import math

import cv2
import msgspec
import numpy as np

from agent.seams import Box, Face, Pixels
from agent.vision.detector import FaceDetector
from agent.vision.nms import suppress

OVERLAP = 0.25
SIDE_MAX_PX = 1920
"""Larger pictures are shrunk to this before they are tiled: 64 tiles of 320x256, about a fifth of a second."""
BORDER_PX = 2.0


def find_closely(detector: FaceDetector, pixels: Pixels, floor: float | None = None) -> list[Face]:
    """Give the faces in a picture of any size, best first; boxes in pixels of it. floor: as in FaceDetector.find."""
    faces = detector.find(pixels, floor)
    height, width = pixels.shape[:2]
    tile_width, tile_height = detector.input_size
    if width <= tile_width and height <= tile_height:
        return faces
    shrink = min(1.0, SIDE_MAX_PX / max(width, height))
    picture = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else pixels
    height, width = picture.shape[:2]
    for top in starts(height, tile_height):
        for left in starts(width, tile_width):
            tile = np.asarray(picture[top : top + tile_height, left : left + tile_width], np.uint8)
            for face in detector.find(tile, floor):
                if is_whole(face.box, left, top, tile.shape, picture.shape):
                    x0, y0, x1, y1 = face.box
                    box = Box(x0=x0 + left, y0=y0 + top, x1=x1 + left, y1=y1 + top)
                    faces.append(msgspec.structs.replace(face, box=Box(*(side / shrink for side in box))))
    if not faces:
        return faces
    boxes = np.array([face.box for face in faces], np.float32)
    kept = suppress(boxes, np.array([face.score for face in faces]), detector.manifest.nms_iou)
    return [faces[index] for index in kept]


def starts(length: int, tile: int) -> list[int]:
    """Give where tiles begin on one axis: evenly spread from edge to edge, overlapping by OVERLAP or more."""
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile * (1 - OVERLAP)))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def is_whole(box: Box, left: int, top: int, tile: tuple[int, ...], picture: tuple[int, ...]) -> bool:
    """Say whether a box in a tile keeps clear of the borders that are not the picture's own."""
    return (
        (left == 0 or box.x0 > BORDER_PX)
        and (top == 0 or box.y0 > BORDER_PX)
        and (left + tile[1] == picture[1] or box.x1 < tile[1] - BORDER_PX)
        and (top + tile[0] == picture[0] or box.y1 < tile[0] - BORDER_PX)
    )
