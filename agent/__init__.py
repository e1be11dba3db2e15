"""maskwatch: finds faces, says mask, no mask, worn wrongly or unsure, and tells a broker, one story per person."""

import os

__version__ = "0.1.0"

# Read by the libraries when they are first imported. Their lines say nothing that our errors do not, and a V4L2 camera
# that has gone silent shall not hold its thread for ten seconds.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")
os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
