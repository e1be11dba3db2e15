"""When a broker that was just started counts as serving."""

import socket
import threading
from pathlib import Path

import pytest

from tests.integration.shipped_mosquitto import ShippedMosquitto, TestAuthority
from tests.real import Mosquitto, free_port
from tools.fleet.mosquitto import is_serving


def test_nobody_serves_on_a_closed_port() -> None:
    assert not is_serving(free_port())


def test_a_port_that_is_open_before_its_program_reads_from_it_does_not_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        assert not is_serving(door.getsockname()[1])


@pytest.mark.parametrize("reads", [0, 1, 64])
def test_a_program_that_hangs_up_counts_whatever_it_has_read(reads: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:

        def hang_up() -> None:
            link, _ = door.accept()
            with link:
                link.recv(reads)

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert is_serving(door.getsockname()[1])
        thread.join()


@pytest.mark.parametrize("tls", [False, True])
def test_a_broker_that_serves_may_be_stopped_at_once_and_ends_in_order(tmp_path: Path, tls: bool) -> None:
    folder = tmp_path / "broker"
    broker = ShippedMosquitto(folder, TestAuthority(tmp_path / "ca")) if tls else Mosquitto(folder)
    saved = folder / "mosquitto.db"
    for _ in range(20):  # waiting for the port alone, half of the stops with TLS came too early
        broker.start()
        broker.stop()
        assert saved.exists()
        saved.unlink()
