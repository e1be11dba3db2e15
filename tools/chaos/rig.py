"""A rig: one broker, one collector and some devices with a ledger, on which one fault is tried again and again.

Each fault has a rig of its own, so that each event of the run belongs to one row of the table.
"""

import random
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from agent.clock import NS_PER_S, SystemClock
from agent.settings import MqttSettings
from tools.chaos.checker import Verdict, judge
from tools.chaos.ledger import Ledger
from tools.chaos.leftovers import Leftovers
from tools.chaos.metrics import Counters
from tools.chaos.processes import Broker, Child, Collector, Producer
from tools.chaos.producer import Orders
from tools.chaos.store import Store

SITE = "chaos"
_POLL_S = 0.1
_RESTART_S = (0.1, 1.0)  # between a death and the next life, as a service manager would


class Stopped(Exception):
    """The run is over, or somebody pressed Ctrl-C."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What all faults of a run share. speed: the devices' seconds are shorter than ours by this factor."""

    folder: Path
    leftovers: Leftovers
    stop: threading.Event
    seed: int
    speed: float = 1.0
    patience_s: float = 1e9
    """How long anything is waited for at most."""


class Rig:
    """Everything of one fault. Use as a context manager: all processes end with it."""

    def __init__(self, world: World, name: str, *, devices: int = 2, rate_per_s: float = 10.0, **how: Any) -> None:
        """how: fields of producer.Orders and of MqttSettings that differ from the usual, for all devices."""
        self.world = world
        self.name = name
        self.folder = world.folder / name
        self.folder.mkdir(parents=True)
        self.rng = random.Random(f"{world.seed} {name}")
        self.clock = SystemClock()
        self.ledger = Ledger(self.folder / "ledger")
        self.store_url = f"sqlite://{self.folder / 'events.db'}"
        self.injected = 0
        self.recoveries_s: list[float] = []
        self.unrecovered = 0
        self.power_cuts = 0
        self.broker_kills = 0
        """Of brokers that are no children of the rig's own."""
        self.notes: list[str] = []
        self.wrongs: list[str] = []
        self.broker: Broker | None = None
        self.collectors: list[Collector] = []
        self.producers: list[Producer] = []
        self.counters = Counters()
        self._devices = devices
        self._rate_per_s = rate_per_s
        self._how = how
        self._store: Store | None = None
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            with suppress(TimeoutError):
                if child.is_alive:
                    child.signal(signal.SIGKILL)
                    child.signal(signal.SIGCONT)
                child.wait()
        self.ledger.close()

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = Store(self.store_url)
        return self._store

    @property
    def sigkills(self) -> int:
        """SIGKILLs that found their process alive."""
        return self.broker_kills + sum(child.sigkills for child in self._children)

    def begin(self, *, broker: Sequence[str] = (), url: str = "", collector_words: Sequence[str] = ()) -> None:
        """Start a broker with more lines of configuration, a collector and the devices. url: where devices connect."""
        self.start_broker(*broker)
        self.start_collector(words=collector_words)
        self.start_producers(url or self.broker_url)

    @property
    def broker_url(self) -> str:
        assert self.broker is not None
        return self.broker.url

    def start_broker(self, *extra: str, **how: Any) -> Broker:
        self.broker = Broker(self.world.leftovers, self.folder / "broker", extra=extra, **how)
        self._children.append(self.broker)
        self.broker.start()
        return self.broker

    def start_collector(
        self,
        *,
        instance: str = "collector",
        words: Sequence[str] = (),
        url: str = "",
        prefix: Sequence[str] = (),
        enter: Callable[[], None] = lambda: None,
        program: Sequence[str] = ("tools.fleet.collector",),
    ) -> Collector:
        """prefix: words before its command. enter: moves a thread to where its counters can be read."""
        collector = Collector(
            self.world.leftovers,
            self.folder,
            broker_url=url or self.broker_url,
            store_url=self.store_url,
            instance=instance,
            words=words,
            program=program,
            prefix=prefix,
        )
        self.collectors.append(collector)
        self._children.append(collector)
        collector.start()
        self.counters.watch(collector, enter)
        return collector

    @property
    def devices(self) -> list[str]:
        """The names of the devices."""
        return [f"{self.name}-{number}" for number in range(self._devices)]

    def start_producers(
        self, url: str, *, directory: Callable[[str], Path] | None = None, prefix: Sequence[str] = ()
    ) -> None:
        """directory: where a device has its outbox. prefix: words before the commands."""
        for device in self.devices:
            where = None if directory is None else directory(device)
            self.add_producer(self.orders_of(device, url, directory=where), prefix=prefix)

    def start_producer(self, device: str, url: str, **mqtt: Any) -> Producer:
        """Start one device. mqtt: fields of MqttSettings."""
        return self.add_producer(self.orders_of(device, url, **mqtt))

    def orders_of(self, device: str, url: str, *, directory: Path | None = None, **mqtt: Any) -> Orders:
        """Give the orders of a device, as this rig's devices are."""
        how = {name: value for name, value in self._how.items() if name in Orders.__struct_fields__}
        mqtt |= {name: value for name, value in self._how.items() if name in MqttSettings.__struct_fields__}
        return Orders(
            directory=str(directory or self.folder / device),
            mqtt=MqttSettings(**{"url": url, "ack_mode": "collector", "plaintext": True, **mqtt}),
            site=SITE,
            device=device,
            rate_per_s=self._rate_per_s,
            seed=self.rng.randrange(2**32),
            speed=self.world.speed,
            **how,
        )

    def take_in(self, child: Child) -> None:
        """Count a child's kills among the rig's, and end it with the rig."""
        self._children.append(child)

    def add_producer(self, orders: Orders, *, prefix: Sequence[str] = ()) -> Producer:
        producer = Producer(self.world.leftovers, self.folder, self.ledger, orders, prefix=prefix)
        self.producers.append(producer)
        self._children.append(producer)
        producer.start()
        return producer

    # Time.

    def pause(self, seconds: float) -> None:
        """Let things run. Raises Stopped."""
        if self.world.stop.wait(max(0.0, seconds)):
            raise Stopped

    def pause_about(self, low_s: float, high_s: float) -> None:
        self.pause(self.rng.uniform(low_s, high_s))

    def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait for a condition; tells whether it came. Raises Stopped."""
        end_ns = self.clock.now_ns() + int(min(within_s, self.world.patience_s) * NS_PER_S)
        while not condition():
            if self.clock.now_ns() >= end_ns:
                return False
            self.pause(_POLL_S)
        return True

    # What is measured.

    def recovered(self, since_ns: int, *, within_s: float = 120.0) -> bool:
        """Wait until each device has decided something new that is in the store, with all before it.

        Notes how long that took from `since_ns` on.
        """
        before = self.ledger.marks()
        waiting = set(before)
        goals: dict[str, tuple[str, int]] = {}

        def is_there() -> bool:
            marks = self.ledger.marks()
            for device in waiting:
                is_new = marks[device] != before[device]
                if is_new and (device not in goals or goals[device][0] != marks[device][0]):
                    goals[device] = marks[device]
            reached = self.store.reached({device: goals[device] for device in waiting if device in goals})
            waiting.difference_update(reached)
            return not waiting

        if not self.until(is_there, within_s):
            self.unrecovered += 1
            return False
        self.recoveries_s.append((self.clock.now_ns() - since_ns) / NS_PER_S)
        return True

    def rebirth(self, child: Child) -> None:
        """Wait a moment and start a child that was killed."""
        self.pause_about(*_RESTART_S)
        child.start()

    def revive(self) -> None:
        """Start what has ended by itself, as a service manager does."""
        for child in (*self.collectors, *self.producers):
            if not child.is_alive:
                child.wait()
                child.start()

    def mend(self) -> None:
        """End what an injection that was cut short has left: it must not look like a loss."""
        for child in self._children:
            if child.is_alive:
                child.signal(signal.SIGCONT)
        if self.broker is not None and not self.broker.is_alive:
            self.broker.wait()
            self.broker.start()
        self.revive()

    def went_wrong(self, what: str) -> None:
        """Note an injection that did not go as it was meant to, and bring everything back to life."""
        self.unrecovered += 1
        self.wrongs.append(what)
        with suppress(TimeoutError):
            self.mend()

    def settle(self, *, within_s: float = 300.0) -> bool:
        """Let the devices decide nothing more, and wait until nothing is under way. Tells whether it came to that."""
        for producer in self.producers:
            producer.say("rate 0")

        def is_quiet() -> bool:
            self.revive()
            accounts = [self.ledger.account(producer.device) for producer in self.producers]
            if any(account.in_memory or account.told is None or account.told.backlog for account in accounts):
                return False
            return len(self.store.reached(self.ledger.marks())) == len(self.ledger.marks())

        end_ns = self.clock.now_ns() + int(min(within_s, self.world.patience_s) * NS_PER_S)
        while not is_quiet():
            if self.clock.now_ns() >= end_ns:
                return False
            self.clock.sleep(0.5)
        return True

    def unsettled(self) -> str:
        """Say which devices are not done, for a note."""
        marks = self.ledger.marks()
        behind = sorted(marks.keys() - self.store.reached(marks))
        told = [
            f"{device} has {account.in_memory} in memory, told {account.told or account.failed}"
            for device, account in self.ledger.accounts.items()
            if account.in_memory or account.told is None or account.told.backlog
        ]
        return f"behind: {behind}; {told}"

    def verdict(self, **excuses: bool) -> Verdict:
        """Hold the ledger against the store, for all devices together. excuses: may_destroy, may_give_up."""
        total = Verdict()
        for device, account in self.ledger.accounts.items():
            total += judge(account.decided, account.maybe, account.streams, self.store.rows(device), **excuses)
        return total
