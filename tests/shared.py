"""The data beside the checkout, which shows real people and is never part of it: tests that want it skip without."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(path: str) -> Path:
    """Give a file of ../shared, or skip the test with the reason."""
    file = SHARED / path
    if not file.exists():
        pytest.skip(f"needs ../shared/{path}, which is not beside this checkout")
    return file
