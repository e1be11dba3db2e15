"""Delivery on a real disk to a real broker: bytes an event, time to the subscriber, draining."""

import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.clock import NS_PER_MS, SystemClock, boot_id, new_id
from agent.delivery.delivery import Delivery
from agent.delivery.handover import HandOver
from agent.delivery.mqtt import MqttLink
from agent.delivery.outbox import APPEND_MAX, Outbox
from agent.delivery.topics import Identity
from agent.events.types import Event, LabelCounts, PersonEnd, PersonNew
from agent.settings import MqttSettings, OutboxSettings, ReportSettings
from tools.bench.agent import Pass, make_pipeline, open_outbox, shipped_nets
from tools.bench.broker import NoBrokerError, Subscriber, await_until, mosquitto
from tools.bench.clips import people
from tools.bench.machine import written_bytes
from tools.bench.rows import Options, Row, quantile

_BURST, _BURST_PER_S = 1000, 100
_LONE, _LONE_EVERY_S = 10, 0.5
_LATENCY, _LATENCY_PER_S = 150, 10
_BACKLOG = 5000
_PAIRS, _PAIR_FRAMES = 5, 340
_STEP_S = 1.0  # as the daemon's delivery thread
_CLOCK = SystemClock()


def measure(options: Options) -> list[Row]:
    """Measure with mosquitto on loopback; without one every row says so."""
    folder = Path(options.folder)
    rows: list[Row] = []
    with mosquitto(folder) as port, Subscriber(port) as subscriber:
        rows += _disk(folder, port)
        rows.append(_latency(folder, port, subscriber))
        rows.append(_drain(folder, port, subscriber))
        rows.append(_frames_while_draining(folder, port))
    return rows


class Station:
    """The delivery thread with its outbox, as the daemon runs it, without the rest of the daemon."""

    def __init__(self, directory: Path, port: int, *, frames_coming: bool, prefilled: int = 0) -> None:
        self.hand_over = HandOver()
        self._directory = directory
        self._mqtt = MqttSettings(url=f"mqtt://127.0.0.1:{port}")
        self._frames_coming = frames_coming
        self._prefilled = prefilled
        self._stop = threading.Event()
        self._opened = threading.Event()
        self._delivery: Delivery | None = None
        self._thread = threading.Thread(target=self._deliver, daemon=True)

    def __enter__(self) -> "Station":
        self._thread.start()
        await_until(self._opened.is_set, "the outbox does not open")
        await_until(lambda: self.delivery.figures.connected_since_ns is not None, "delivery does not connect")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.hand_over.wake()
        self._thread.join()

    @property
    def delivery(self) -> Delivery:
        assert self._delivery is not None
        return self._delivery

    def await_empty(self, stored: int) -> None:
        """Wait until that many events are stored and all of them acknowledged."""
        await_until(lambda: self.delivery.figures.acknowledged >= stored, f"not all of {stored} events arrive")

    def _deliver(self) -> None:
        outbox = Outbox.open(
            self._directory,
            clock=_CLOCK,
            new_id=new_id,
            boot_id=boot_id(),
            quota_mb=OutboxSettings().quota_mb,
        )
        for first in range(0, self._prefilled, APPEND_MAX):
            outbox.append([lone_event(number) for number in range(first, min(first + APPEND_MAX, self._prefilled))])
        self._delivery = Delivery(
            identity=Identity(site="bench", device="bench", version="0"),
            mqtt=self._mqtt,
            report=ReportSettings(discovery=False),
            hand_over=self.hand_over,
            outbox=outbox,
            link=MqttLink(self._mqtt, client_id=f"bench-{new_id()}", spawn=_spawn),
            clock=_CLOCK,
            rng=random.Random(1),
            telemetry=lambda: None,
            frames_coming=lambda: self._frames_coming,
        )
        self._opened.set()
        while not self._stop.is_set():
            self._delivery.step(_STEP_S)
        self._delivery.close("bench")


def _spawn(task: object) -> None:
    assert callable(task)
    threading.Thread(target=task, daemon=True).start()


def lone_event(number: int) -> Event:
    """Make an event of ordinary size: the first decisions about persons and their ends in turn, two in view at once.

    A person without an end would stay in the outbox as an open one, and a thousand of them are nobody's street.
    """
    story, ends = divmod(number, 2)
    told: dict[str, Any] = {
        "person": f"0123abcd-{max(story - 1, 0) if ends else story}",
        "label": "no_mask",
        "confidence": 0.9731,
        "looks": 5,
        "seen_s": 0.867,
        "face_px": 43.2,
        "box": (0.4123, 0.2811, 0.4987, 0.4216),
    }
    looks = LabelCounts(no_mask=5)
    data = PersonEnd(**told, duration_s=0.867, looks_by_label=looks, reason="gone") if ends else PersonNew(**told)
    return Event(at_ns=_CLOCK.now_ns(), data=data)


@contextmanager
def _paced(count: int, per_s: float) -> Iterator[Iterator[int]]:
    """Give numbers at a steady pace."""

    def numbers() -> Iterator[int]:
        start = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, start + number / per_s - time.monotonic()))
            yield number

    yield numbers()


def _disk(folder: Path, port: int) -> list[Row]:
    """Count what the process sends to the disk, from the first commit to the last delete and a clean stop."""
    with (
        Station(folder / f"burst-{new_id()}", port, frames_coming=False) as station,
        _paced(_BURST, _BURST_PER_S) as go,
    ):
        before = written_bytes()
        for number in go:
            station.hand_over.put([lone_event(number)])
        station.await_empty(_BURST)
    burst = (written_bytes() - before) / _BURST / 1000
    with Station(folder / f"lone-{new_id()}", port, frames_coming=False) as station:
        before = written_bytes()
        with _paced(_LONE, 1 / _LONE_EVERY_S) as go:
            for number in go:
                station.hand_over.put([lone_event(number)])
                station.await_empty(number + 1)
        lone = (written_bytes() - before) / _LONE / 1000
    note = f"{_BURST} events at {_BURST_PER_S}/s, delivered and deleted, the clean stop included"
    return [
        Row(name="disk, an event in a burst", unit="kB", budget=3.5, measured=burst, note=note),
        Row(name="disk, a lone event", unit="kB", budget=16, measured=lone, note=f"one every {_LONE_EVERY_S:g} s"),
    ]


def _latency(folder: Path, port: int, subscriber: Subscriber) -> Row:
    """Time single events from the decision to the subscriber, both in this process."""
    subscriber.came_ns.clear()
    put_ns = {}
    with Station(folder / f"latency-{new_id()}", port, frames_coming=True) as station:
        with _paced(_LATENCY, _LATENCY_PER_S) as go:
            for number in go:
                put_ns[number + 1] = _CLOCK.now_ns()
                station.hand_over.put([lone_event(number)])
        await_until(lambda: len(subscriber.came_ns) >= _LATENCY, "not all events come")
    spent_ms = [(came_ns - put_ns[sequence]) / NS_PER_MS for sequence, came_ns in subscriber.came_ns.items()]
    note = (
        f"{_LATENCY} events at {_LATENCY_PER_S}/s, durable before they are sent; p50 {quantile(spent_ms, 0.5):.1f} ms"
    )
    return Row(
        name="one event, decision to subscriber, p99",
        unit="ms",
        budget=50,
        measured=quantile(spent_ms, 0.99),
        note=note,
    )


def _drain(folder: Path, port: int, subscriber: Subscriber) -> Row:
    """Time how a backlog is delivered with no frames coming."""
    subscriber.came_ns.clear()
    directory = folder / f"drain-{new_id()}"
    with Station(directory, port, frames_coming=False, prefilled=_BACKLOG) as station:
        station.await_empty(_BACKLOG)
    came = sorted(subscriber.came_ns.values())
    rate = (len(came) - 1) / ((came[-1] - came[0]) / 1e9)
    if len(came) != _BACKLOG:
        raise NoBrokerError(f"{len(came)} of {_BACKLOG} events came")
    note = f"{_BACKLOG} events to mosquitto and a subscriber in the same process"
    return Row(name="draining, no frames coming", unit="events/s", budget=1000, measured=rate, at_least=True, note=note)


def _frames_while_draining(folder: Path, port: int) -> Row:
    """Compare frame times with and without draining under the cap, in turns."""
    nets, clip = shipped_nets(), people(folder)
    ratios = []
    with open_outbox(folder) as outbox:
        for _ in range(_PAIRS):
            plain = Pass(clip, make_pipeline(*nets), outbox, frames=_PAIR_FRAMES)
            directory = folder / f"pair-{new_id()}"
            with Station(directory, port, frames_coming=True, prefilled=_BACKLOG) as station:
                drained = Pass(clip, make_pipeline(*nets), outbox, frames=_PAIR_FRAMES)
                assert station.delivery.figures.acknowledged < _BACKLOG, "the backlog ended before the frames"
            ratios.append(statistics.median(drained.frame_ms) / statistics.median(plain.frame_ms))
    note = f"{_PAIRS} pairs of {_PAIR_FRAMES} frames with people; while draining under the cap"
    return Row(name="frame time while draining", unit="x", budget=1.15, measured=statistics.median(ratios), note=note)
