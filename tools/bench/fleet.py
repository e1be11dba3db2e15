"""A fleet that never was, for measuring: its events in a database, its devices' last words at a broker."""

import itertools
import json
import math
import random
import time
from collections.abc import Iterator

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

from tools.fleet.collector.postgres import PostgresStore

DAYS = 90
SITES = 10
LABELS = ("mask", "no_mask", "incorrect", "unsure")
_DAY_MS = 86_400_000
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
    names = [device_name(number) for number in range(devices)]
    kinds, weights = zip(*(*_EVERY_KIND, *_RARE), strict=True)
    drawn = rng.choices(kinds, weights, k=100_000)
    labels = rng.choices(LABELS, (70, 20, 6, 4), k=99_991)
    clock = _day_curve()
    sequences = [0] * devices
    begin_ms, chunk = end_ms - DAYS * _DAY_MS, []
    busy = list(
        itertools.accumulate(rng.uniform(0.4, 0.6) if day % 7 > 4 else rng.uniform(0.8, 1.2) for day in range(DAYS))
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
        chunk.append(_row(names[number], number % SITES, sequences[number], at_ms, kind, label))
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


def device_name(number: int) -> str:
    """Name a device of the fleet."""
    return f"cam-{number:04d}"


def tell_states(broker: int, devices: int) -> None:
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
    return f"maskwatch/site{number % SITES}/{device_name(number)}/status", json.dumps(about).encode()


def tell_telemetry(broker: int, devices: int) -> None:
    """Publish every device's telemetry once: some are hot, some lag behind, some certificates end soon."""
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
        client.publish(f"maskwatch/site{number % SITES}/{device_name(number)}/telemetry", json.dumps(about), qos=0)
    client.publish("maskwatch/bench/done", b"", qos=1).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
