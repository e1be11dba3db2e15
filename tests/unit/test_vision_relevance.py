"""Which faces count."""

from agent.seams import Box, Face
from agent.settings import VisionSettings
from agent.vision.relevance import is_relevant

LEFT_HALF = VisionSettings(region=(0.0, 0.0, 0.5, 1.0), min_face_px=20)


def face(x: float, y: float, side: float) -> Face:
    return Face(box=Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2), score=0.9)


def test_a_face_counts_by_its_centre_even_when_it_leans_out_of_the_region() -> None:
    assert is_relevant(face(319, 100, 60), LEFT_HALF, 640, 480)
    assert not is_relevant(face(321, 100, 60), LEFT_HALF, 640, 480)


def test_a_face_of_the_least_size_counts_and_a_smaller_one_does_not() -> None:
    assert is_relevant(face(100, 100, 20), LEFT_HALF, 640, 480)
    assert not is_relevant(face(100, 100, 19.9), LEFT_HALF, 640, 480)
