"""sd_notify against a real AF_UNIX socket, and the watchdog's environment."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.service import notify
from agent.service.notify import Notifier, watchdog_interval_s


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(10)
        yield server


def test_each_word_is_one_datagram_in_the_managers_form(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("watching\nscene")
    notifier.status("blind")
    notifier.watchdog()
    notifier.trigger()
    notifier.stopping("SIGTERM")
    assert [manager.recv(500) for _ in range(5)] == [
        b"READY=1\nSTATUS=watching scene",
        b"STATUS=blind",
        b"WATCHDOG=1",
        b"WATCHDOG=trigger",
        b"STOPPING=1\nSTATUS=SIGTERM",
    ]


def test_an_at_sign_is_the_abstract_namespace() -> None:
    name = f"maskwatch-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + name)
        server.settimeout(10)
        Notifier({"NOTIFY_SOCKET": "@" + name}).watchdog()
        assert server.recv(100) == b"WATCHDOG=1"


def test_without_a_manager_or_with_a_dead_one_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")  # no exception is the point

    assert not list(tmp_path.iterdir())


def test_a_manager_that_does_not_read_cannot_hang_us(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_PATIENCE_S", 0.001)
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for _ in range(1000):  # far more than net.unix.max_dgram_qlen
        notifier.watchdog()
    assert manager.recv(100) == b"WATCHDOG=1"


def test_a_status_is_one_line_of_bounded_length(manager: socket.socket) -> None:
    Notifier({"NOTIFY_SOCKET": manager.getsockname()}).status("x" * 5000)
    assert len(manager.recv(10_000)) < 250


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_interval_is_for_the_process_it_names(environ: dict[str, str], expected: float | None) -> None:
    assert watchdog_interval_s(environ) == expected
