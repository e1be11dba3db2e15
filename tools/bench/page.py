"""The fleet page over many devices and events: `python -m tools.bench.page [--events 10000000] [--devices 1000]`.

A real PostgreSQL server with its defaults, filled by COPY; a real mosquitto with every device's retained status; the
collector's own process with --page; addresses asked for over HTTP by somebody who has logged in.
"""

import argparse
import http.client
import itertools
import json
import math
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

from agent.clock import SystemClock
from tools.bench.broker import await_until, mosquitto
from tools.bench.postgres import postgres
from tools.bench.rows import Row, quantile
from tools.fleet.collector.postgres import PostgresStore
from tools.fleet.page.accounts import Accounts
from tools.fleet.page.database import PostgresDatabase

NAME, PASSWORD = "bench", "a password to measure by"
_DAYS = 90
_DAY_MS = 86_400_000
_SITES = 10
_TURNS = 40
_VIEWERS = 4
_BUDGET_MS = 300.0
_LABELS = ("mask", "no_mask", "incorrect", "unsure")
_BOOT = "ab" * 16
_EVERY_KIND = (("counts", 0.40), ("person.new", 0.28), ("person.end", 0.28), ("person.update", 0.0385))
_RARE = (("agent.start", 0.0005), ("camera.blind", 0.0004), ("camera.back", 0.0004), ("gap", 0.0001))
_COLUMNS = (
    "device, stream, sequence, site, type, label, subject, boot, mono_ms, time_ms, happened_ms, received_ms, payload"
)
_HOURS = """
INSERT INTO hours SELECT place, type, coalesce(label, ''), happened_ms / 3600000, count(*)
FROM events CROSS JOIN LATERAL (VALUES (site), ('')) AS places (place) GROUP BY 1, 2, 3, 4
"""
_DEVICES = (
    "INSERT INTO devices SELECT device, max(site), max(stream), false, max(received_ms) FROM events GROUP BY device"
)
_STREAMS = "INSERT INTO streams SELECT device, stream, max(sequence), max(sequence) FROM events GROUP BY device, stream"


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
            _tell_states(broker, devices)
            with _collector(broker, url) as port:
                yield port, url


def fill(url: str, *, events: int, devices: int, end_ms: int) -> None:
    """Fill a new database; indexes are made afterwards, which takes a tenth of the time."""
    store = PostgresStore(url)
    store.figures()  # makes the tables
    store.close()
    with psycopg.connect(url, autocommit=True, client_encoding="utf8") as db:
        db.execute("SET maintenance_work_mem = '512MB'")
        db.execute("SET work_mem = '256MB'")
        indexes = db.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'events' AND indexname <> 'events_pkey'"
        ).fetchall()
        db.execute("ALTER TABLE events DROP CONSTRAINT events_pkey")
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}".encode())
        with db.cursor().copy(f"COPY events ({_COLUMNS}) FROM STDIN".encode()) as copy:
            for chunk in _rows(events, devices, end_ms):
                copy.write(chunk)
        db.execute("ALTER TABLE events ADD PRIMARY KEY (device, stream, sequence)")
        for _, made in indexes:
            db.execute(made.encode())
        for statement in (_HOURS, _DEVICES, _STREAMS):
            db.execute(statement.encode())
        db.execute("VACUUM ANALYZE")


def _rows(events: int, devices: int, end_ms: int) -> Iterator[str]:
    """Give rows as COPY reads them, in the order in which they came, more by day than by night."""
    rng = random.Random(14)
    names = [_name(number) for number in range(devices)]
    kinds, weights = zip(*(*_EVERY_KIND, *_RARE), strict=True)
    drawn = rng.choices(kinds, weights, k=100_000)
    labels = rng.choices(_LABELS, (70, 20, 6, 4), k=99_991)
    clock = _day_curve()
    sequences = [0] * devices
    begin_ms, chunk = end_ms - _DAYS * _DAY_MS, []
    busy = list(
        itertools.accumulate(rng.uniform(0.4, 0.6) if day % 7 > 4 else rng.uniform(0.8, 1.2) for day in range(_DAYS))
    )
    day, spent = 0, 0.0
    for index in range(events):
        number = rng.randrange(devices)
        sequences[number] += 1
        done = index * busy[-1] / events
        while done >= busy[day]:
            day, spent = day + 1, busy[day]
        part = (done - spent) / (busy[day] - spent)
        at_ms = begin_ms + day * _DAY_MS + clock[int(part * 1440)] * 60_000 + index % 60_000
        kind, label = drawn[index % 100_000], labels[index % 99_991]
        chunk.append(_row(names[number], number % _SITES, sequences[number], at_ms, kind, label))
        if len(chunk) == 5000:
            yield "".join(chunk)
            chunk = []
    yield "".join(chunk)


def _day_curve() -> list[int]:
    """Give for each part of a day's events the minute at which it happens: most of them around noon."""
    weights = [1.1 - math.cos(2 * math.pi * minute / 1440) for minute in range(1440)]
    total, spent, found = sum(weights), 0.0, list[int]()
    for minute, weight in enumerate(weights):
        spent += weight
        while len(found) < 1440 * spent / total - 1e-9:
            found.append(minute)
    return (found + [1439] * 1440)[:1440]


def _row(device: str, site: int, sequence: int, at_ms: int, kind: str, label: str) -> str:
    person = f"5eed-{sequence}"
    about = f'"person":"{person}","label":"{label}","confidence":0.93,"looks":7,"seen_s":4.2,"face_px":61.0,'
    about += '"box":[0.41,0.2,0.47,0.3]'
    match kind:
        case "person.new":
            data = about
        case "person.update":
            data = about + ',"previous":"unsure"'
        case "person.end":
            counts = '{"mask":5,"no_mask":1,"incorrect":0,"unsure":1}'
            data = about + f',"duration_s":6.1,"looks_by_label":{counts},"reason":"gone"'
        case "counts":
            data = (
                '"span_s":60.0,"ended":{"mask":2,"no_mask":1},"present":1,"frames":900,"watched_s":60.0,"blind_s":0.0'
            )
        case "gap":
            data = f'"first":{max(1, sequence - 9)},"last":{max(1, sequence - 1)},"by_type":{{}},"why":"quota"'
        case "camera.blind":
            data = '"reason":"covered","since_s":30.0'
        case "camera.back":
            data = '"reason":"covered","blind_s":90.0'
        case _:
            data = (
                '"version":"0.2.0","classifier_sha256":"","detector_sha256":"","config_digest":"",'
                '"reason":"","previous_stop":"clean"'
            )
    is_person = kind.startswith("person.")
    time_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ms // 1000)) + f".{at_ms % 1000:03d}Z"
    payload = (
        f'{{"specversion":"1.0","id":"5eed.{sequence}","source":"/maskwatch/site{site}/{device}",'
        f'"type":"maskwatch.{kind}.v1","time":"{time_text}","recordedtime":"{time_text}",'
        + (f'"subject":"{person}",' if is_person else "")
        + f'"datacontenttype":"application/json","dataschema":"urn:maskwatch:schema:{kind}:v1",'
        f'"sequence":"{sequence:012d}","stream":"5eed","bootid":"{_BOOT}","monoms":"{sequence * 1000}",'
        f'"timeok":true,"historical":false,"data":{{{data}}}}}'
    )
    subject, told = (person, label) if is_person else ("\\N", "\\N")
    return (
        f"{device}\t5eed\t{sequence}\tsite{site}\tmaskwatch.{kind}.v1\t{told}\t{subject}\t{_BOOT}\t{sequence * 1000}\t"
        f"{at_ms}\t{at_ms}\t{at_ms + 40}\t{payload}\n"
    )


def _name(number: int) -> str:
    return f"cam-{number:04d}"


def _tell_states(broker: int, devices: int) -> None:
    """Publish every device's retained status: most are well, some are not."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", broker)
    client.loop_start()
    told = [client.publish(*_status(number), qos=1, retain=True) for number in range(devices)]
    for one in told:
        one.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def _status(number: int) -> tuple[str, bytes]:
    about: dict[str, object] = {"state": "online", "session": 3, "version": "0.2.0", "camera": "ok", "backlog": 0}
    if number % 50 == 7:
        about |= {"camera": "blind", "reason": "covered"}
    if number % 70 == 11:
        about = {"state": "offline", "session": 3, "version": "0.2.0", "reason": "connection lost"}
    return f"maskwatch/site{number % _SITES}/{_name(number)}/status", json.dumps(about).encode()


def _tell_telemetry(broker: int, devices: int) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker)
    client.loop_start()
    rng = random.Random(3)
    for number in range(devices):
        about = {
            "session": 3,
            "uptime_s": rng.uniform(1e3, 1e6),
            "camera": "ok",
            "frames": 10,
            "frames_per_s": rng.uniform(14, 30),
            "persons": rng.randrange(4),
            "still_faces": 0,
            "backlog": 2300 if number % 90 == 5 else rng.randrange(4),
            "accelerator": "cpu",
            "accelerator_why": "no Edge TPU",
            "memory_mb": rng.uniform(60, 80),
            "disk_free_mb": rng.uniform(2e3, 2e4),
            "written_kb": 100,
            "temperature_c": 84.0 if number % 130 == 3 else rng.uniform(38, 66),
            "throttled": number % 130 == 3,
            "certificate_days": 6.0 if number % 110 == 9 else rng.uniform(30, 90),
            "stages": {name: {"p50_ms": 1.0, "p99_ms": 2.0} for name in ("motion", "detect", "classify")},
        }
        client.publish(f"maskwatch/site{number % _SITES}/{_name(number)}/telemetry", json.dumps(about), qos=0)
    client.publish("maskwatch/bench/done", b"", qos=1).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


@contextmanager
def _collector(broker: int, url: str) -> Iterator[int]:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
    words = ["--broker", f"mqtt://127.0.0.1:{broker}", "--store", url, "--page", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.fleet.collector", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "collector ready\n"
        _tell_telemetry(broker, _devices_in(url))
        yield port
    finally:
        process.terminate()
        process.wait()


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
        device, site, page = _name(rng.randrange(devices)), f"site{rng.randrange(_SITES)}", rng.randrange(1, 10)
        now_s = time.time() - rng.uniform(0, _DAYS - 1) * 86_400
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
            ("a device, a label", f"/devices/{device}", {"label": rng.choice(_LABELS), "by": "hour"}),
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
