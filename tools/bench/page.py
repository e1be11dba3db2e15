"""The fleet page over many devices and events: `python -m tools.bench.page [--events 10000000] [--devices 1000]`.

A real PostgreSQL server with its defaults, filled by COPY; a real mosquitto with every device's retained status; the
collector's own process with --page; addresses asked for over HTTP by somebody who has logged in.
"""

import argparse
import http.client
import random
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

import psycopg

from agent.clock import SystemClock
from tools.bench.broker import await_until, mosquitto
from tools.bench.collector import collector
from tools.bench.fleet import DAYS, LABELS, SITES, device_name, fill, tell_states, tell_telemetry
from tools.bench.postgres import postgres
from tools.bench.rows import Row, quantile
from tools.fleet.page.accounts import Accounts
from tools.fleet.page.database import PostgresDatabase

NAME, PASSWORD = "bench", "a password to measure by"
_TURNS = 40
_VIEWERS = 4
_BUDGET_MS = 300.0


def main(words: list[str]) -> int:
    """Measure, print. Returns 1 when the budget is missed."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.page", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--serve", action="store_true", help="then serve, instead of measuring, until interrupted")
    args = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends it, servers and folders go with it
    with suppress(KeyboardInterrupt), scene(events=args.events, devices=args.devices) as (port, url):
        if args.serve:
            print(f"http://127.0.0.1:{port} {NAME} {PASSWORD!r} {url}", flush=True)
            while True:
                time.sleep(3600)
        rows = measure(port, url, devices=args.devices)
        for row in rows:
            budget = "" if row.budget is None else f" (budget {row.budget:g})"
            print(f"{row.name}: {row.measured:.4g} {row.unit}{budget}  {row.note}")
        return int(any(row.verdict == "missed" for row in rows))
    return 0


@contextmanager
def scene(*, events: int, devices: int) -> Iterator[tuple[int, str]]:
    """Make the fleet; gives the page's port and the database's URL. Everything is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="maskwatch-page-", dir="/var/tmp") as folder, postgres() as url:
        end_ms = time.time_ns() // 1_000_000
        fill(url, events=events, devices=devices, end_ms=end_ms)
        database = PostgresDatabase(url)
        Accounts(database, SystemClock()).put(NAME, PASSWORD)
        database.close()
        with mosquitto(Path(folder), "max_queued_messages 0") as broker:
            tell_states(broker, devices)
            with _served(broker, url) as port:
                yield port, url


@contextmanager
def _served(broker: int, url: str) -> Iterator[int]:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
    with collector(broker, url, "--page", f"127.0.0.1:{port}"):
        tell_telemetry(broker, _devices_in(url))
        yield port


def _devices_in(url: str) -> int:
    with psycopg.connect(url, client_encoding="utf8") as db:
        ((number,),) = db.execute("SELECT count(*) FROM devices").fetchall()
        return int(number)


def measure(port: int, url: str, *, devices: int) -> list[Row]:
    """Ask for every kind of address in turns, alone and with several viewers at once."""
    cookie = _log_in(port)
    with psycopg.connect(url, client_encoding="utf8") as db:
        query = "SELECT count(*) FROM states WHERE telemetry IS NOT NULL"
        await_until(lambda: db.execute(query).fetchone() == (devices,), "not all telemetry is stored", limit_s=60)
        ((events,),) = db.execute("SELECT count(*) FROM events").fetchall()
        about = "SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes WHERE relname = 'events'"
        sizes: dict[str, int] = dict(db.execute(about.encode()).fetchall())
        ((heap,),) = db.execute("SELECT pg_table_size('events')").fetchall()
    alone = _ask_all(port, cookie, _addresses(random.Random(1), devices, _TURNS))
    with ThreadPoolExecutor(_VIEWERS) as threads:
        lists = [_addresses(random.Random(seed), devices, _TURNS // _VIEWERS) for seed in range(_VIEWERS)]
        crowd = [one for found in threads.map(lambda them: _ask_all(port, cookie, them), lists) for one in found]
    rows = []
    for name in dict.fromkeys(name for name, _ in alone):
        times = [spent for kind, spent in alone if kind == name]
        note = f"median {quantile(times, 0.5):.0f}, most {max(times):.0f}"
        rows.append(Row(name=name, unit="ms p95", budget=_BUDGET_MS, measured=quantile(times, 0.95), note=note))
    for name, asked in (("all pages", alone), (f"all pages, {_VIEWERS} viewers at once", crowd)):
        times = [spent for _, spent in asked]
        note = f"{len(times)} pages, median {quantile(times, 0.5):.0f}, {devices} devices, {events} events"
        rows.append(Row(name=name, unit="ms p95", budget=_BUDGET_MS, measured=quantile(times, 0.95), note=note))
    rows.append(Row(name="table of events", unit="bytes an event", budget=None, measured=heap / events))
    for name, size in sorted(sizes.items()):
        rows.append(Row(name=f"index {name}", unit="bytes an event", budget=None, measured=size / events))
    return rows


def _addresses(rng: random.Random, devices: int, turns: int) -> list[tuple[str, str]]:
    found = []
    for _ in range(turns):
        device, site, page = device_name(rng.randrange(devices)), f"site{rng.randrange(SITES)}", rng.randrange(1, 10)
        now_s = time.time() - rng.uniform(0, DAYS - 1) * 86_400
        day = time.strftime("%Y-%m-%d", time.gmtime(now_s))
        rare: dict[str, object] = {"type": "maskwatch.gap.v1", "site": site}
        asked: list[tuple[str, str, dict[str, object]]] = [
            ("overview, hours", "/", {"by": "hour"}),
            ("overview, days", "/", {}),
            ("overview, weeks", "/", {"by": "week"}),
            ("overview of a site", "/", {"site": site, "by": "week"}),
            ("devices", "/devices", {"page": page}),
            ("devices, searched", "/devices", {"q": device[-3:], "sort": "temperature"}),
            ("a device", f"/devices/{device}", {}),
            ("a device, weeks", f"/devices/{device}", {"by": "week"}),
            ("a device, a label", f"/devices/{device}", {"label": rng.choice(LABELS), "by": "hour"}),
            ("events", "/events", {}),
            ("events until a day", "/events", {"until": day}),
            ("events, a label", "/events", {"label": "unsure", "until": day}),
            ("events, a site and a label", "/events", {"label": "incorrect", "site": site}),
            ("events, a kind that never came", "/events", {"type": "maskwatch.outbox.reset.v1"}),
            ("events, gaps of a site", "/events", rare),
            ("events of a device, a kind", "/events", {"device": device, "type": "maskwatch.person.update.v1"}),
            ("missing", "/missing", {}),
        ]
        found += [(name, f"{path}?{urlencode(values)}") for name, path, values in asked]
    return found


def _ask_all(port: int, cookie: str, addresses: list[tuple[str, str]]) -> list[tuple[str, float]]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found = []
    for name, address in addresses:
        start_ns = time.perf_counter_ns()
        link.request("GET", address, headers={"Cookie": cookie})
        answer = link.getresponse()
        body = answer.read()
        found.append((name, (time.perf_counter_ns() - start_ns) / 1e6))
        if answer.status != 200:
            raise RuntimeError(f"{address}: {answer.status} {body[:200]!r}")
    return found


def _log_in(port: int) -> str:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    await_until(lambda: _answers(port), "the page does not answer")
    link.request("GET", "/login")
    answer = link.getresponse()
    form = answer.read().decode()
    mark = (answer.getheader("set-cookie") or "").split(";")[0]
    token = re.findall(r'name="csrf" value="([0-9a-f]+)"', form)[0]
    body = urlencode({"csrf": token, "name": NAME, "password": PASSWORD})
    head = {"Cookie": mark, "Content-Type": "application/x-www-form-urlencoded"}
    link.request("POST", "/login", body, head)
    answer = link.getresponse()
    answer.read()
    if answer.status != 303:
        raise RuntimeError(f"the login is answered by {answer.status}")
    return next(
        told.split(";")[0] for told in answer.headers.get_all("set-cookie", []) if told.startswith("maskwatch=")
    )


def _answers(port: int) -> bool:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", "/login")
        return link.getresponse().status == 200
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
