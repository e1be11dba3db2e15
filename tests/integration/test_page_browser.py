"""The page in a real browser: what a little JavaScript adds, under the policy that the page sends along."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector_parts import event
from tests.integration.page_browser import Chromium
from tests.integration.page_scene import Scene, sqlite_url
from tools.fleet.collector.messages import Sight, sight
from tools.fleet.collector.sqlite import SqliteStore

EVIL = "<img src=/planted onerror=alert(1)>"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "events.db")
    yield made
    made.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def status(text: str) -> Sight:
    found = sight("maskwatch/lab/cam1/status", text.encode())
    assert found is not None
    return found


def test_an_open_page_shows_what_comes_and_runs_nothing_of_it(store: SqliteStore, tmp_path: Path) -> None:
    numbers = itertools.count(2)
    store.commit([event(1), status('{"session":1,"state":"online","camera":"ok"}')], now_ms=now_ms())

    def plant() -> None:
        store.commit([event(next(numbers), kind="maskwatch.<b>.v1", data={"why": EVIL})], now_ms=now_ms())

    with Scene(sqlite_url(tmp_path)) as scene, Chromium(tmp_path, scene.visitor()) as browser:
        browser.open("/")
        browser.wait_for("document.querySelectorAll('#live .event').length == 1")
        browser.wait_for("document.getElementById('lamp').textContent == 'live'")
        browser.wait_for("document.querySelectorAll('#live .event.new').length > 2", meanwhile=plant)
        store.commit([status(f'{{"session":1,"state":"offline","reason":"{EVIL}"}}')], now_ms=now_ms())
        browser.wait_for("document.querySelector('#problems .badge')?.textContent == 'offline'")

        assert browser.evaluate("document.querySelector('#live .event.new .text').textContent") == "<b>.v1"
        assert EVIL in browser.evaluate("document.querySelector('#problems .why').textContent")
        assert browser.evaluate("document.querySelectorAll('img').length") == 0
        assert browser.said == []
        assert {one.partition("?")[0] for one in browser.asked} <= {
            "/", "/live", "/static/page.css", "/static/live.js", "/static/icon.svg", "about:blank"
        }  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/devices", "/devices/cam1?by=hour", "/events", "/missing", "/login"])
def test_a_page_breaks_no_rule_of_its_own_policy_and_fits_a_phone(
    store: SqliteStore, tmp_path: Path, path: str
) -> None:
    told = status('{"session":1,"state":"offline","reason":"a reason of many words that goes on and on and on and on"}')
    long = event(1, device="d" * 64, kind="maskwatch.outbox.reset.v1", data={"why": "w" * 100})
    store.commit([event(1), told, long], now_ms=now_ms())
    with Scene(sqlite_url(tmp_path)) as scene:
        visitor = scene.visitor(logged_in=path != "/login")
        with Chromium(tmp_path, visitor) as browser:
            browser._do("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True)
            browser.open(path)
            browser.wait_for("document.readyState == 'complete' && !!document.querySelector('h1')")

            assert browser.evaluate("getComputedStyle(document.body).maxWidth") != "none", "the style is there"
            assert browser.evaluate("document.documentElement.scrollWidth") <= 360
            assert browser.said == []
