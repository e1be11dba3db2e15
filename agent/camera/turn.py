"""What is done to every picture before anything else: colour order and rotation."""

from typing import Any

import cv2

from agent.seams import Pixels

_ROTATE = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def to_rgb(bgr: Any) -> Pixels:
    """Give (h, w, 3) uint8 RGB of what OpenCV decodes: (h, w, 3) BGR, or (h, w) grey."""
    code = cv2.COLOR_GRAY2RGB if bgr.ndim == 2 else cv2.COLOR_BGR2RGB
    rgb: Any = cv2.cvtColor(bgr, code)
    pixels: Pixels = rgb
    return pixels


def rotate(pixels: Pixels, rotate_deg: int) -> Pixels:
    """Turn clockwise by 0, 90, 180 or 270 degrees."""
    if rotate_deg == 0:
        return pixels
    turned: Any = cv2.rotate(pixels, _ROTATE[rotate_deg])
    result: Pixels = turned
    return result
