"""maskwatch: finds faces, says mask, no mask, worn wrongly or unsure, and tells a broker, one story per person."""

import os

__version__ = "0.1.0"

# Read by OpenCV when it is first imported: its lines and FFmpeg's say nothing that our errors do not.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
