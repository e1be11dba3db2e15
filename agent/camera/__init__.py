"""Frame sources behind one protocol (agent.seams.Camera); `open_camera` chooses by the source's name."""

from agent.camera.open import open_camera
from agent.camera.pictures import CLIP_SUFFIXES, PICTURE_SUFFIXES, list_inputs, read_picture
from agent.camera.scene import SceneCamera

__all__ = ["CLIP_SUFFIXES", "PICTURE_SUFFIXES", "SceneCamera", "list_inputs", "open_camera", "read_picture"]
