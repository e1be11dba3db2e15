"""A network camera that cannot be opened: what is said, and how long it may take."""

import socket
from typing import Any

import cv2
import pytest

from agent.camera.opencv import StreamDevice
from agent.errors import UnavailableError
from tests.unit.service_clock import TestClock


class Closed:
    """A capture that has not opened."""

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        return False

    def release(self) -> None: ...


@pytest.mark.parametrize(
    ("took_s", "said", "asked"), [(0.1, "refused", 1), (5.5, "refused", 1), (8.0, "no answer in time", 0)]
)
def test_the_network_is_not_asked_again_about_what_took_long_to_answer(
    monkeypatch: pytest.MonkeyPatch, took_s: float, said: str, asked: int
) -> None:
    clock, asks = TestClock(), []

    def capture(*_: Any) -> Closed:
        clock.sleep(took_s)
        return Closed()

    def connect(address: Any, timeout: float) -> socket.socket:
        asks.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(UnavailableError, match=said):
        StreamDevice("rtsp://camera.example/x", clock).open()
    assert len(asks) == asked
