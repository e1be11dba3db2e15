"""Faces of one's own camera: cut out of clips, corrected by a person, packed for the training (docs/own-camera.md)."""
