"""What the classifier's own report measured at each face size, to tell somebody what to expect."""

import msgspec

from agent.vision.model import models_folder


class _AtSize(msgspec.Struct, frozen=True):
    two_way: float  # percent of faces with the right one of mask and no mask


class _Validation(msgspec.Struct, frozen=True):
    by_px: dict[int, _AtSize]


class _Report(msgspec.Struct, frozen=True):
    val: _Validation


class Promise:
    """What the classifier's report measured, by face size; empty for a model without one."""

    def __init__(self, by_px: dict[int, float]) -> None:
        self._by_px = sorted(by_px.items())

    @classmethod
    def of(cls, model: str) -> "Promise":
        try:
            content = (models_folder() / "reports" / f"{model}.json").read_bytes()
            report = msgspec.json.decode(content, type=_Report, strict=False)
        except (OSError, msgspec.DecodeError):
            return cls({})
        return cls({px: found.two_way for px, found in report.val.by_px.items()})

    def at(self, face_px: float) -> float | None:
        """Give the percentage measured for faces of this size: of the largest size that is not larger."""
        fitting = [percent for px, percent in self._by_px if px <= face_px]
        return fitting[-1] if fitting else None
