"""A device without a camera: the real delivery, fed with persons at a rate, made to be killed.

`python -m tools.chaos.producer JSON`. It tells its ledger (tools.chaos.ledger) on stdout, takes orders on stdin, one a
line, and ends when stdin does: nobody has to hunt it down.

    rate N          events a second from now on        wall S       the wall clock is S seconds off from now on
    burst N         hand over N events at once         trusted 0|1  whether the wall clock is to be trusted
    stop            stop in order
"""

import logging
import os
import random
import select
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.clock import NS_PER_S, SystemClock, boot_id, new_id
from agent.delivery import schema
from agent.delivery.delivery import Delivery
from agent.delivery.handover import HandOver, HandOverFull
from agent.delivery.mqtt import MqttLink
from agent.delivery.outbox import APPEND_MAX, Outbox
from agent.delivery.recovery import restart_ends
from agent.delivery.topics import Identity
from agent.errors import MaskwatchError
from agent.events.types import AgentStart, Event
from agent.settings import MqttSettings, ReportSettings
from tools.chaos.contents import digest_of_event
from tools.chaos.ledger import Begun, Failed, Handed, Line, Stored, Told, Trying, write
from tools.chaos.street import Street

_TELL_EVERY_NS = NS_PER_S // 4


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """How a producer works. speed: its seconds are shorter than ours by this factor (its waits, not its rate).

    synchronous: what SQLite is told; anything but FULL is there to see the checker find the loss.
    """

    directory: str
    mqtt: MqttSettings
    site: str
    device: str
    rate_per_s: float
    seed: int
    speed: float = 1.0
    quota_mb: float = 64.0
    synchronous: str = "FULL"


class ScaledClock(SystemClock):
    """The machine's clock, its seconds shortened and its wall clock bent; still one timeline over restarts."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self.wall_off_s = 0.0
        self.is_trusted: bool | None = None

    def now_ns(self) -> int:
        return int(super().now_ns() * self._speed)

    def wall_ns(self) -> int:
        return super().wall_ns() + int(self.wall_off_s * NS_PER_S)

    def trusted(self) -> bool:
        return super().trusted() if self.is_trusted is None else self.is_trusted


class Teller:
    """Stdout as the ledger reads it: whole lines, from any thread, each written before the next step is taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, line: Line) -> None:
        text = write(line)
        with self._lock:
            while text:
                text = text[os.write(1, text) :]


class LedgerOutbox(Outbox):
    """The product's outbox, which says what it is about to store and what it has stored."""

    tell: Callable[[Line], None]
    real_ns: Callable[[], int]

    def append(self, events: Sequence[Event]) -> None:
        self.tell(Trying(digests=[digest_of_event(event) for event in events]))
        super().append(events)
        count = len(events)
        self.tell(Stored(stream=self.stream, first=self.last_sequence - count + 1, count=count, at_ns=self.real_ns()))


def main(words: Sequence[str]) -> int:
    """Deliver until told to stop. Gives the exit code; 74 and its like when the disk does not let us begin."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    orders = msgspec.json.decode(words[0], type=Orders)
    _set_synchronous(orders.synchronous)
    tell, clock = Teller(), ScaledClock(orders.speed)
    try:
        outbox = LedgerOutbox.open(
            Path(orders.directory), clock=clock, new_id=new_id, boot_id=boot_id(), quota_mb=orders.quota_mb
        )
    except MaskwatchError as error:
        tell(Failed(why=str(error), code=error.exit_code))
        return error.exit_code
    outbox.tell, outbox.real_ns = tell, SystemClock().now_ns
    tell(
        Begun(
            stream=outbox.stream,
            sequence=outbox.last_sequence,
            previous_stop=outbox.previous_stop,
            at_ns=SystemClock().now_ns(),
        )
    )
    hand_over = HandOver()
    delivery = Delivery(
        identity=Identity(site=orders.site, device=orders.device, version="0.0.0"),
        mqtt=orders.mqtt,
        report=ReportSettings(discovery=False),
        hand_over=hand_over,
        outbox=outbox,
        link=MqttLink(orders.mqtt, client_id=orders.device, spawn=_spawn, environ={}),
        clock=clock,
        rng=random.Random(),  # of its own in each life: a fleet that comes back together must not stay together
        telemetry=lambda: None,
        frames_coming=lambda: False,
    )
    feeder = Feeder(orders, hand_over, clock, tell)
    feeder.put([*restart_ends(outbox.open_persons(), clock.now_ns()), _started(outbox.previous_stop, clock)])
    _spawn(feeder.run)
    _deliver(delivery, outbox, feeder.stopped, tell, clock)
    return 0


def _deliver(
    delivery: Delivery, outbox: LedgerOutbox, stopped: threading.Event, tell: Teller, clock: ScaledClock
) -> None:
    told, told_ns = None, 0
    while not stopped.is_set():
        delivery.step(0.2)
        figures = delivery.figures
        now = Told(
            stream=outbox.stream,
            sequence=outbox.last_sequence,
            acknowledged=outbox.acknowledged,
            backlog=outbox.backlog,
            connected=figures.connected_since_ns is not None,
            trouble=figures.sentence,
            storage=figures.storage,
        )
        if now != told and SystemClock().now_ns() - told_ns >= _TELL_EVERY_NS:
            tell(now)
            told, told_ns = now, SystemClock().now_ns()
    delivery.drain(5.0)
    delivery.close("stop")


class Feeder:
    """The thread that decides: persons come, change and go, at the rate that was ordered."""

    def __init__(self, orders: Orders, hand_over: HandOver, clock: ScaledClock, tell: Teller) -> None:
        self._hand_over = hand_over
        self._clock = clock
        self._real = SystemClock()
        self._tell = tell
        self._rate_per_s = orders.rate_per_s
        self._street = Street(random.Random(orders.seed), run_id=new_id())
        self.stopped = threading.Event()

    def put(self, events: Sequence[Event]) -> None:
        """Hand events over and say so; said first, so that none is in memory of which nobody knows."""
        for start in range(0, len(events), APPEND_MAX):
            group = events[start : start + APPEND_MAX]
            self._tell(Handed(count=len(group), at_ns=self._real.now_ns()))
            while True:
                with suppress(HandOverFull):
                    self._hand_over.put(group)
                    break
                self._real.sleep(0.05)

    def run(self) -> None:
        due_ns = self._real.now_ns()
        waiting = b""
        while not self.stopped.is_set():
            idle = self._rate_per_s <= 0
            wait_s = 1.0 if idle else max(0.0, (due_ns - self._real.now_ns()) / NS_PER_S)
            if select.select([0], [], [], wait_s)[0]:
                said = os.read(0, 4096)
                if not said:
                    os._exit(0)  # the controller is gone; a kill like any other
                *lines, waiting = (waiting + said).split(b"\n")
                for line in lines:
                    self._obey(*line.decode().split())
                    due_ns = max(due_ns, self._real.now_ns())
            if not idle and self._real.now_ns() >= due_ns and self._rate_per_s > 0:
                self.put([self._street.next(self._clock.now_ns())])
                due_ns += int(NS_PER_S / self._rate_per_s)

    def _obey(self, word: str, value: str = "0") -> None:
        match word:
            case "rate":
                self._rate_per_s = float(value)
            case "burst":
                self.put([self._street.next(self._clock.now_ns()) for _ in range(int(value))])
            case "wall":
                self._clock.wall_off_s = float(value)
            case "trusted":
                self._clock.is_trusted = value == "1"
            case "stop":
                self.stopped.set()
                self._hand_over.wake()


def _started(previous_stop: str, clock: ScaledClock) -> Event:
    data = msgspec.convert(
        {
            "version": "0.0.0",
            "classifier_sha256": "",
            "detector_sha256": "",
            "config_digest": "",
            "reason": f"process {os.getpid()}",
            "previous_stop": previous_stop,
        },
        AgentStart,
    )
    return Event(at_ns=clock.now_ns(), data=data)


def _set_synchronous(mode: str) -> None:
    """Let SQLite sync less than the product does: the suite proves itself with it, the product has no such switch."""
    if mode == "FULL":
        return
    connect = schema.connect

    def careless(file: Path, *, pages_max: int) -> sqlite3.Connection:
        db = connect(file, pages_max=pages_max)
        db.execute(f"PRAGMA synchronous = {mode}")
        return db

    schema.connect = careless


def _spawn(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
