"""The bench's delivery rows, small, against a real mosquitto: all events arrive and every row has a figure."""

import os
import shutil
from pathlib import Path

import pytest

from tools.bench import delivery
from tools.bench.broker import NoBrokerError, Subscriber, await_until, mosquitto
from tools.bench.card import card

needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto") is None and shutil.which("/usr/sbin/mosquitto") is None,
    reason="needs mosquitto: apt-get install mosquitto",
)


@needs_mosquitto
def test_latency_drain_and_disk_are_measured_on_events_that_really_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_BURST": 20, "_COMMITS": 10, "_LATENCY": 20, "_BACKLOG": 300, "_LONE_EVERY_S": 0.1}.items():
        monkeypatch.setattr(delivery, name, value)
    with mosquitto(tmp_path) as port, Subscriber(port) as subscriber:
        latency = delivery._latency(tmp_path, port, subscriber)
        assert sorted(subscriber.came_ns) == list(range(1, 21))
        assert latency.measured is not None
        assert 0 < latency.measured < 5000
        drain = delivery._drain(tmp_path, port, subscriber)
        assert sorted(subscriber.came_ns) == list(range(1, 301))
        assert drain.measured is not None
        assert drain.measured > 0
        for row in (*delivery._disk(tmp_path, port, lone=2), delivery._commit(tmp_path)):
            assert row.measured is not None
            assert row.measured > 0


def test_what_never_happens_is_told_after_the_limit() -> None:
    with pytest.raises(NoBrokerError, match="no rain within 0 s"):
        await_until(lambda: False, "no rain", limit_s=0.05)


def test_a_machine_without_mosquitto_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(NoBrokerError, match="apt-get install mosquitto"), mosquitto(tmp_path):
        pass


def test_what_is_written_to_a_card_of_its_own_is_counted_at_its_device(tmp_path: Path) -> None:
    with card(tmp_path) as disk:
        before = disk.written_bytes()
        with (disk.folder / "file").open("wb") as file:
            file.write(b"x" * 1_000_000)
            file.flush()
            os.fsync(file.fileno())
        assert disk.written_bytes() - before >= 1_000_000
        assert disk.how.startswith("at the block device" if os.geteuid() == 0 else "what the process sends")
    assert not list(tmp_path.glob("*.img"))
