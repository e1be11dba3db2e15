"""A device that dies, seen through a real broker, a real collector and its page."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector_parts import Running
from tests.integration.page_scene import Device, Stream, Visitor, logged_in, sqlite_url, user
from tests.real import Mosquitto, free_port, wait_for

KEEPALIVE_S = 16  # mosquitto waits for one and a half of it, and looks every six seconds


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def test_a_device_that_freezes_is_shown_as_offline_within_twice_its_keepalive(
    broker: Mosquitto, tmp_path: Path
) -> None:
    port, url = free_port(), sqlite_url(tmp_path)
    user(url)
    with Running(broker, url, "--page", str(port)), Device(broker, KEEPALIVE_S) as device:
        visitor = logged_in(port)
        wait_for(lambda: 'class="badge well"' in visitor.see("/devices/cam1"), what="the device")
        stream = Stream(visitor, "?device=cam1")
        wait_for(lambda: "48 °C" in visitor.see("/devices/cam1"), what="its telemetry")
        changes = stream.changes

        device.process.send_signal(signal.SIGSTOP)
        died_s = time.monotonic()
        wait_for(lambda: stream.changes > changes and _is_off(visitor), 2 * KEEPALIVE_S, "offline")
        shown_s = time.monotonic() - died_s

        assert "connection lost" in visitor.see("/")
        print(f"shown {shown_s:.1f} s after it froze, keepalive {KEEPALIVE_S} s")
        stream.close()


def _is_off(visitor: Visitor) -> bool:
    return 'class="badge offline"' in visitor.see("/devices/cam1")
