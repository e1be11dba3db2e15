"""When a server that was just started counts as there."""

import socket
import threading
from pathlib import Path

import pytest

from tests.integration.shipped_mosquitto import ShippedMosquitto, TestAuthority
from tests.real import Mosquitto, free_port
from tools.fleet.ports import listens, mosquitto_answers


def test_nobody_is_there_on_a_closed_port() -> None:
    port = free_port()
    assert (listens(port), mosquitto_answers(port)) == (False, False)


def test_a_port_listens_before_its_program_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        assert (listens(port), mosquitto_answers(port)) == (True, False)


@pytest.mark.parametrize("reads", [0, 1, 64])
def test_one_that_hangs_up_has_answered_whatever_it_has_read(reads: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:

        def hang_up() -> None:
            link, _ = door.accept()
            with link:
                link.recv(reads)

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        assert mosquitto_answers(door.getsockname()[1])
        thread.join()


@pytest.mark.parametrize("tls", [False, True])
def test_a_broker_that_answers_may_be_stopped_at_once_and_ends_in_order(tmp_path: Path, tls: bool) -> None:
    folder = tmp_path / "broker"
    broker = ShippedMosquitto(folder, TestAuthority(tmp_path / "ca")) if tls else Mosquitto(folder)
    saved = folder / "mosquitto.db"
    for _ in range(20):  # waiting for the port alone, half of the stops with TLS came too early
        broker.start()
        broker.stop()
        assert saved.exists()
        saved.unlink()
