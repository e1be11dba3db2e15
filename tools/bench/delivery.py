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
from tools.bench.card import card
from tools.bench.generated import people
from tools.bench.rows import Options, Row, quantile

_BURST, _BURST_PER_S = 1000, 100
_LONE, _LONE_FULL, _LONE_EVERY_S = 4, 20, 6.5  # farther apart than ext4's own commit interval, 5 s
_COMMITS, _COMMIT_EVENTS = 300, 3  # what 25 ms hold at 100 events/s
_LATENCY, _LATENCY_PER_S = 150, 10
_BACKLOG = 5000
_PAIRS, _PAIR_FRAMES = 5, 340
_PAIRS_FULL, _BACKLOG_FULL = 10, 86_400  # a day without a broker, one event a second
_STEP_S = 1.0  # as the daemon's delivery thread
_CLOCK = SystemClock()


def measure(options: Options) -> list[Row]:
    """Measure with mosquitto on loopback; without one every row says so."""
    folder = Path(options.folder)
    rows: list[Row] = []
    with mosquitto(folder) as port, Subscriber(port) as subscriber:
        rows += _disk(folder, port, lone=_LONE_FULL if options.full else _LONE)
        rows.append(_commit(folder))
        rows.append(_latency(folder, port, subscriber))
        rows.append(_drain(folder, port, subscriber))
        rows.append((_frames_while_draining_a_day if options.full else _frames_while_draining)(folder, port))
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
        self.stop()

    @property
    def delivery(self) -> Delivery:
        assert self._delivery is not None
        return self._delivery

    def stop(self) -> None:
        """Stop in order."""
        self._stop.set()
        self.hand_over.wake()
        self._thread.join()

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


def _disk(folder: Path, port: int, *, lone: int) -> list[Row]:
    """Count what reaches the device, from the first commit to the last delete and a clean stop."""
    with card(folder) as disk:
        with Station(disk.folder / "burst", port, frames_coming=False) as station, _paced(_BURST, _BURST_PER_S) as go:
            before = disk.written_bytes()
            for number in go:
                station.hand_over.put([lone_event(number)])
            station.await_empty(_BURST)
        burst = (disk.written_bytes() - before) / _BURST / 1000
    with card(folder) as ours, card(folder, options="noatime") as default:
        stations = [Station(disk.folder / "lone", port, frames_coming=False) for disk in (ours, default)]
        with stations[0], stations[1], _paced(lone, 1 / _LONE_EVERY_S) as go:
            before_each = [disk.written_bytes() for disk in (ours, default)]
            for number in go:
                for station in stations:
                    station.hand_over.put([lone_event(number)])
                    station.await_empty(number + 1)
            time.sleep(_LONE_EVERY_S)  # until ext4 has written its journal of its own accord
            after_each = [disk.written_bytes() for disk in (ours, default)]
    alone, alone_default = (
        (after - before) / lone / 1000 for before, after in zip(before_each, after_each, strict=True)
    )
    note = f"{_BURST} events at {_BURST_PER_S}/s, delivered and deleted, the clean stop included; {disk.how}"
    return [
        Row(name="disk, an event in a burst", unit="kB", budget=3.5, measured=burst, note=note),
        Row(
            name="disk, a lone event",
            unit="kB",
            budget=16,
            measured=alone,
            note=f"{lone}, {_LONE_EVERY_S:g} s apart; {ours.how}; {alone_default:.1f} kB with ext4's default commit=5",
        ),
    ]


def _commit(folder: Path) -> Row:
    """Time commits of a burst on a disk of its own."""
    spent_ms = []
    with card(folder) as disk, open_outbox(disk.folder) as outbox:
        for number in range(_COMMITS):
            events = [lone_event(number * _COMMIT_EVENTS + more) for more in range(_COMMIT_EVENTS)]
            start_ns = _CLOCK.now_ns()
            outbox.append(events)
            spent_ms.append((_CLOCK.now_ns() - start_ns) / NS_PER_MS)
            outbox.acknowledge(outbox.stream, outbox.last_sequence)
    note = f"{_COMMITS} of {_COMMIT_EVENTS} events each, p50 {quantile(spent_ms, 0.5):.2f} ms; a card's is its own"
    return Row(name="a commit, p99", unit="ms", budget=None, measured=quantile(spent_ms, 0.99), note=note)


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


def _frames_while_draining_a_day(folder: Path, port: int) -> Row:
    """Compare frame times while a day's backlog drains under the cap with times before each part of it."""
    nets, clip = shipped_nets(), people(folder)
    directory = folder / f"day-{new_id()}"
    part = _BACKLOG_FULL // _PAIRS_FULL
    ratios = []
    with open_outbox(folder) as outbox:
        for turn in range(_PAIRS_FULL):
            prefilled = 0 if turn else _BACKLOG_FULL
            with Station(directory, port, frames_coming=True, prefilled=prefilled) as station:
                drained = Pass(
                    clip,
                    make_pipeline(*nets),
                    outbox,
                    loop=True,
                    until=lambda: station.delivery.figures.acknowledged >= part or not station.delivery.figures.backlog,
                )
            plain = Pass(clip, make_pipeline(*nets), outbox, loop=True, frames=drained.frames)
            ratios.append(statistics.median(drained.frame_ms) / statistics.median(plain.frame_ms))
    with Station(directory, port, frames_coming=False) as station:
        left = station.delivery.figures.backlog
    assert left < part, f"{left} of {_BACKLOG_FULL} are left"
    note = f"{_PAIRS_FULL} pairs, {_BACKLOG_FULL} rows drained under the cap; {min(ratios):.3f} to {max(ratios):.3f}"
    return Row(name="frame time while draining", unit="x", budget=1.15, measured=statistics.median(ratios), note=note)
