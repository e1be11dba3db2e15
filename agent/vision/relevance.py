"""Which of the faces found are anybody's business: those in the region that counts, and large enough."""

from agent.seams import Box, Face
from agent.settings import VisionSettings


def region_px(settings: VisionSettings, width: int, height: int) -> Box:
    """Give vision.region in pixels of a frame of width x height."""
    x0, y0, x1, y1 = settings.region
    return Box(x0 * width, y0 * height, x1 * width, y1 * height)


def is_relevant(face: Face, settings: VisionSettings, width: int, height: int) -> bool:
    """Tell whether the face's centre is in the region and its side at least vision.min_face_px."""
    region = region_px(settings, width, height)
    x, y = face.box.centre
    inside = region.x0 <= x <= region.x1 and region.y0 <= y <= region.y1
    return inside and face.box.size_px >= settings.min_face_px
