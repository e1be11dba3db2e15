"""Stands for Raspberry Pi OS's bindings of the display, which picamera2 imports and a board without one never uses."""


class _Formats:
    """Whatever format is asked for is there."""

    def __getattr__(self, name: str) -> str:
        return name


PixelFormat = _Formats()
