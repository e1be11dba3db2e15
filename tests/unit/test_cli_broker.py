"""The demo's own broker, and the extra it comes from."""

import importlib.util
import socket
from importlib.machinery import ModuleSpec

import pytest

from agent.cli import broker
from agent.cli.broker import EmbeddedBroker, check_extra
from agent.errors import UnavailableError


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find(name: str) -> ModuleSpec | None:
        return None if name in ("amqtt", "skimage") else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(UnavailableError, match=r"amqtt and skimage not installed; pip install 'maskwatch\[demo\]'"):
        check_extra(broker=True, scene=True)
    check_extra(broker=False, scene=False)
    monkeypatch.undo()
    check_extra(broker=True, scene=True)


def test_the_broker_listens_from_enter_to_exit() -> None:
    with EmbeddedBroker() as running:
        port = int(running.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 5):
        pass


def test_a_broker_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(broker, "_free_port", lambda: taken.getsockname()[1])
        with pytest.raises(UnavailableError, match="does not start"), EmbeddedBroker():
            pass
