"""The page of real collectors beside a real broker: what comes is shown, a device that dies is told of."""

import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector_parts import Running, event, payload, send, topic
from tests.integration.page_scene import Device, Scene, Stream, Visitor, answers, logged_in, sqlite_url, user
from tests.postgres import Postgres
from tests.real import Mosquitto, free_port, wait_for
from tools.fleet.collector.__main__ import main
from tools.fleet.collector.sqlite import SqliteStore
from tools.fleet.page.live import LISTENERS_MAX


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto") / "broker") as running:
        yield running


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def test_what_a_device_was_last_heard_to_say_is_there_after_a_restart(broker: Mosquitto, tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    user(url)
    status = b'{"state":"online","session":1,"version":"7.7","camera":"blind","reason":"covered"}'
    port = free_port()
    with Running(broker, url, "--page", str(port), "--instance", "restarted") as first:
        visitor = logged_in(port)
        send(broker, [("maskwatch/lab/once/status", status), ("maskwatch/lab/once/telemetry", b'{"temperature_c":51}')])
        wait_for(lambda: "51 °C" in visitor.see("/devices/once") if _is_known(visitor, "once") else False)
        code, _ = first.stop()
    assert code == 0
    second = free_port()
    with Running(broker, url, "--page", str(second), "--instance", "restarted"):
        answers(second)
        visitor.port = second
        page = visitor.see("/devices/once")

    assert "covered" in page
    assert "51 °C" in page
    assert "7.7" in page


def _is_known(visitor: Visitor, device: str) -> bool:
    return visitor.ask(f"/devices/{device}").code == 200


def test_a_device_whose_process_is_killed_is_shown_as_offline_at_once(broker: Mosquitto, tmp_path: Path) -> None:
    port, url = free_port(), sqlite_url(tmp_path)
    user(url)
    keepalive_s = 600
    with Running(broker, url, "--page", str(port), "--instance", "killed"), Device(broker, keepalive_s) as device:
        visitor = logged_in(port)
        wait_for(lambda: _is(visitor, "well"), what="the device")
        device.process.kill()

        wait_for(lambda: _is(visitor, "offline"), what="word of its death")


def _is(visitor: Visitor, level: str) -> bool:
    return f'class="badge {level}"' in visitor.ask("/devices/cam1").text


def test_two_instances_show_one_fleet_and_know_each_others_visitors(broker: Mosquitto, postgres: Postgres) -> None:
    url = postgres.new_schema()
    user(url)
    ports = [free_port(), free_port()]
    with (
        Running(broker, url, "--page", str(ports[0]), "--instance", "page-1"),
        Running(broker, url, "--page", f"127.0.0.1:{ports[1]}", "--instance", "page-2"),
    ):
        visitor = logged_in(ports[0])
        answers(ports[1])
        both = [visitor, Visitor(ports[1])]
        both[1].cookies = visitor.cookies
        streams = [Stream(one, "?device=shared") for one in both]
        wait_for(lambda: all("No collector" not in one.see("/") for one in both))
        send(broker, [(topic("shared"), payload(number, device="shared")) for number in range(1, 41)])
        for stream in streams:
            wait_for(lambda stream=stream: len(stream.lines) == 40, what="all events")  # type: ignore[misc]
            stream.close()
        pages = [one.see("/events?device=shared&type=maskwatch.counts.v1") for one in both]

    for stream in streams:
        assert sorted(one["sequence"] for one in stream.lines) == list(range(1, 41))
    assert pages[0].count('class="event"') == pages[1].count('class="event"') == 40


def test_a_page_with_filters_hears_of_nothing_else_and_nobody_hears_anything_twice(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "events.db")
    now_ms = time.time_ns() // 1_000_000
    store.commit([event(1, device="early")], now_ms=now_ms)
    with Scene(sqlite_url(tmp_path)) as scene:
        visitor = scene.visitor()
        everything, one = Stream(visitor), Stream(visitor, "?device=cam2")
        wait_for(lambda: _hears(store, everything), what="the first news")
        for number in range(2, 5):
            for device in ("cam1", "cam2"):
                store.commit([event(number, device=device)], now_ms=time.time_ns() // 1_000_000)
        wait_for(lambda: len([line for line in everything.lines if line["device"].startswith("cam")]) == 6)
        wait_for(lambda: len(one.lines) == 3)
        for stream in (everything, one):
            stream.close()

    assert {line["device"] for line in one.lines} == {"cam2"}
    keys = [(line["device"], line["sequence"]) for line in everything.lines]
    assert len(keys) == len(set(keys))
    assert "early" not in {line["device"] for line in everything.lines}
    store.close()


_probes = iter(range(1, 1000))


def _hears(store: SqliteStore, stream: Stream) -> bool:
    """Store something, until a first look has been had and news comes."""
    store.commit([event(next(_probes), device="probe")], now_ms=time.time_ns() // 1_000_000)
    return bool(stream.lines)


def test_no_more_than_so_many_pages_are_live_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.fleet.page.live.LISTENERS_MAX", 2)
    assert LISTENERS_MAX > 2
    with Scene(sqlite_url(tmp_path)) as scene:
        visitor = scene.visitor()
        streams = [Stream(visitor), Stream(visitor)]

        wait_for(lambda: _refused(visitor))

        for stream in streams:
            stream.close()


def _refused(visitor: Visitor) -> bool:
    """Ask for one more, and do not wait for what it says."""
    link = http.client.HTTPConnection("127.0.0.1", visitor.port, timeout=20)
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    link.request("GET", "/live", headers={"Cookie": cookie})
    code = link.getresponse().status
    link.close()
    return code == 503


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--page", "nowhere"], 2, "--page"),
        (["--page", "0.0.0.0:8080"], 2, "in clear"),
        (["--page", "8080", "--page-zone", "Mars/Olympus"], 2, "time zone"),
        (["--page", "8080", "--page-zone", "../etc/passwd"], 2, "time zone"),
        (["--page", "8080", "--page-origin", "http://x"], 2, "no address"),
    ],
)
def test_a_wrong_word_about_the_page_is_one_line(
    words: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--broker", "mqtt://localhost", "--store", sqlite_url(tmp_path), *words]) == code

    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert said in line


def test_a_port_that_somebody_has_is_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Scene(sqlite_url(tmp_path / "other")) as scene:
        words = ["--broker", "mqtt://localhost", "--store", sqlite_url(tmp_path), "--page", str(scene.port)]
        assert main(words) == 69

    assert "--page" in capsys.readouterr().err
