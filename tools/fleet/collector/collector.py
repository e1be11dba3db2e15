"""From the broker to the store and back: gather a batch, commit it, and only then answer the broker and the devices.

The order is the whole promise. A PUBACK lets the broker forget, and an `ack` lets the device forget; both come after
the commit, so whatever dies in between has the event sent again, and the store drops what it has.
"""

import itertools
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from agent.backoff import Backoff
from agent.clock import NS_PER_MS, NS_PER_S, Clock
from agent.delivery.complaint import Complaint
from agent.errors import MaskwatchError
from agent.events.state import Ack
from tools.fleet.collector.broker import Broker, Receipt, Received, Unreached
from tools.fleet.collector.fleet import EVENTS, LOOKS, SHARED, Fleet
from tools.fleet.collector.messages import Birth, Event, Message, Rejected, read, sight
from tools.fleet.collector.metrics import Metrics
from tools.fleet.collector.store import Committed, Mark, Store, StreamKey

BATCH_MAX = 500  # events: a transaction of about 400 kB
_GATHER_NS = 20 * NS_PER_MS  # and not longer than this after its first
_LULL_S = 0.002  # a batch ends when nothing more comes: a broker whose window is full waits for our answers
_IDLE_NS = NS_PER_S // 2
_ACKS_EVERY_NS = 100 * NS_PER_MS  # a device's mark is said ten times a second at most

_QUIET_NS = 100 * NS_PER_MS  # without a word: the broker has nothing for us
DOUBT_S = 30.0  # for what a device counts as done, and is not here, to come after all
_FIGURES_EVERY_NS = 15 * NS_PER_S
_ATTEST_EVERY_NS = 5 * NS_PER_S
_TELEMETRY_EVERY_NS = 2 * NS_PER_S  # together, or each board's word would be a commit of its own

log = logging.getLogger(__name__)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is committed together, and what the broker that sent it is answered."""

    messages: Sequence[Message]
    receipts: Sequence[Receipt]
    broker: Broker


class Collector:
    """One instance, driven by `step`, which never raises for what a broker, a network or a database does."""

    def __init__(
        self,
        *,
        broker: Broker,
        store: Store,
        fleet: Fleet | None,
        clock: Clock,
        rng: random.Random,
        metrics: Metrics,
        doubt_s: float = DOUBT_S,
    ) -> None:
        """fleet: our place among several instances; None where there can be only one."""
        self.broker = broker
        self.store = store
        self.fleet = fleet
        self.metrics = metrics
        self._clock = clock
        self._inbox: deque[Received] = deque()
        self._marks: dict[StreamKey, Mark] = {}  # to be said
        self._said_ns = 0
        self._unreached = Complaint(log, "broker.unreached", clock)
        self._failing = Complaint(log, "store.failing", clock)
        self._rejects = Complaint(log, "message.rejected", clock)
        self._contradicts = Complaint(log, "event.conflict", clock)
        self._reconnects = Backoff(rng, shortest_s=0.1, first_s=0.5, longest_s=15.0)
        self._retries = Backoff(rng, shortest_s=0.1, first_s=0.2, longest_s=5.0)
        self._connect_ns = 0  # not before
        self._commit_ns = 0  # not before
        self._heard_ns = 0  # when the broker last had something for us
        self._doubt_ns = int(doubt_s * NS_PER_S)
        self._doubtful: dict[StreamKey, tuple[int, Birth]] = {}  # births that claim more than is here; from when on
        self._figures_ns = 0
        self._attest_ns = 0
        self._attested = False  # what was attested last
        self._telemetry: dict[str, Received] = {}  # of each topic the newest: no more than boards, however long
        self._telemetry_ns = 0
        self._divides = False  # whether we leave devices to other instances
        self.was_ready = False
        """Whether it has been let in by the broker at least once."""

    def step(self) -> None:
        """Listen for what comes, commit a batch, answer; half a second at most when there is nothing to do."""
        self._listen()
        if self.fleet is not None and self.broker.is_up:
            knew = self.fleet.division.newcomers
            self.fleet.step(self.broker, self._settle)
            if self.fleet.division.newcomers - knew:
                self._heard_ns = self._clock.now_ns()  # only a silence that begins now tells that nothing older comes
        if self._inbox and self._clock.now_ns() >= self._commit_ns:
            self._work()
        elif self._doubtful and self._clock.now_ns() >= self._commit_ns:
            self._believe()
        if self._marks and self.broker.is_up and self._clock.now_ns() >= self._said_ns + _ACKS_EVERY_NS:
            self._say()
        if self._telemetry and self._clock.now_ns() >= max(self._telemetry_ns, self._commit_ns):
            self._watch()
        if self._clock.now_ns() >= self._attest_ns or self.broker.is_up != self._attested:
            self._attest(self.broker.is_up)
        if self.metrics.is_served and self._clock.now_ns() >= self._figures_ns:
            self._look()

    def settle(self, batch: Batch) -> Committed:
        """Commit, then let the broker forget. Raises MaskwatchError when the store fails; nothing is answered then."""
        committed = self.store.commit(batch.messages, now_ms=self._clock.wall_ns() // NS_PER_MS)
        batch.broker.acknowledge(batch.receipts)
        return committed

    def close(self) -> None:
        """Commit what has arrived, answer for it, and take leave; the broker keeps the session."""
        while self._inbox and self._work():
            pass
        self._say()
        self._attest(False)
        if self.fleet is not None:
            self.fleet.let_go()
        self.broker.close()
        self.store.close()

    # The broker.

    def _listen(self) -> None:
        now_ns = self._clock.now_ns()
        if not self.broker.is_up:
            # What came by the last connection is committed before the next one: it may be nowhere else any more.
            if self._inbox or now_ns < self._connect_ns:
                self._clock.sleep(self._timeout_s(now_ns, self._connect_ns))
            else:
                self._connect()
            return
        try:
            self._gather(now_ns)
        except Unreached as error:
            self._lost(error)

    def _gather(self, now_ns: int) -> None:
        """Wait for a message, then for those that come right behind it."""
        if self._inbox:
            self._receive(self._timeout_s(now_ns, now_ns))
            return
        expects_quiet = self.fleet is not None and bool(self.fleet.division.newcomers)
        self._receive(self._timeout_s(now_ns, now_ns + (_QUIET_NS if expects_quiet else _IDLE_NS)))
        if self.fleet is not None and not self._inbox and self._clock.now_ns() - self._heard_ns >= _QUIET_NS:
            self.fleet.division.quiet()
        end_ns = self._clock.now_ns() + _GATHER_NS
        while self._inbox and len(self._inbox) < BATCH_MAX and self._clock.now_ns() < end_ns:
            if not self._receive(_LULL_S):
                break

    def _receive(self, timeout_s: float) -> bool:
        """Take what comes within a time; tell whether something came."""
        received = self.broker.wait(timeout_s)
        if received:
            self._take(received)
            self._heard_ns = self._clock.now_ns()
        return bool(received)

    def _take(self, received: Sequence[Received]) -> None:
        """Take messages in. Telemetry is kept apart, only the newest: it comes unasked while the database is away."""
        for one in received:
            if one.topic.endswith("/telemetry"):
                self._telemetry[one.topic] = one
                if one.receipt is not None:
                    self.broker.acknowledge([one.receipt])
            else:
                self._inbox.append(one)

    def _timeout_s(self, now_ns: int, due_ns: int) -> float:
        """Give the seconds until `due_ns`, or until something else is due."""
        if self._inbox:
            due_ns = self._commit_ns
        if self._marks and self.broker.is_up:
            due_ns = min(due_ns, self._said_ns + _ACKS_EVERY_NS)
        return min(max(0, due_ns - now_ns), _IDLE_NS) / NS_PER_S

    def _connect(self) -> None:
        try:
            self.broker.connect()
            self._subscribe()
        except Unreached as error:
            self._lost(error)
            return
        self._heard_ns = self._clock.now_ns()
        self._unreached.over()
        self._reconnects.reset()
        self.metrics.connected.set(1)
        self.was_ready = True
        log.info("broker.connected version=%s", self.broker.version)

    def _subscribe(self) -> None:
        self._divides = self.fleet is not None and not self.broker.shares
        mine, other = (SHARED, EVENTS) if self.fleet is not None and self.broker.shares else (EVENTS, SHARED)
        if self.broker.had_session and self.broker.shares:
            self.broker.unsubscribe([other])  # of a time with another kind of store
        self.broker.subscribe([mine, *LOOKS])

    def _lost(self, error: Unreached) -> None:
        self._take(self.broker.drop())
        self.metrics.connected.set(0)
        self._unreached.failing(error.why.sentence)
        self._connect_ns = self._clock.now_ns() + self._reconnects.next_ns()

    # The store.

    def _work(self) -> bool:
        """Settle a batch; False when the store fails, and the batch stays for another try."""
        received = list(itertools.islice(self._inbox, BATCH_MAX))
        if not self._tries(lambda: self._settle(received, self.broker, self._is_ours)):
            return False
        for _ in received:
            self._inbox.popleft()
        return True

    def _settle(
        self, received: Sequence[Received], broker: Broker, wanted: Callable[[Received], bool] = lambda _: True
    ) -> None:
        """Settle messages of a connection; what is not wanted is only answered. Raises MaskwatchError.

        How a device is, is everybody's part: whoever hears of it last must have the last word. What lies in a dead
        instance's session is not the last.
        """
        messages = [found for one in received if wanted(one) and (found := read(one.topic, one.payload)) is not None]
        receipts = [one.receipt for one in received if one.receipt is not None]
        # What a device counts as done may still be on its way here: it is believed later.
        births = [message for message in messages if isinstance(message, Birth)]
        first = [replace(one, acknowledged=0) if isinstance(one, Birth) else one for one in messages]
        if broker is self.broker:
            first += [seen for one in received if (seen := sight(one.topic, one.payload)) is not None]
        self._commit(Batch(messages=first, receipts=receipts, broker=broker))
        for birth in births:
            key = (birth.device, birth.stream or "")
            if key in self._marks and self._marks[key].hwm < birth.acknowledged:
                since_ns, _ = self._doubtful.get(key, (self._clock.now_ns(), birth))
                self._doubtful[key] = (since_ns, birth)

    def _believe(self) -> None:
        """Take devices at their word that what they counted as done some time ago will not come again."""
        due_ns = self._clock.now_ns() - self._doubt_ns
        due = {key: birth for key, (since_ns, birth) in self._doubtful.items() if since_ns <= due_ns}
        if due and self._tries(
            lambda: self._commit(Batch(messages=list(due.values()), receipts=(), broker=self.broker))
        ):
            for key in due:
                del self._doubtful[key]

    def _watch(self) -> None:
        """Store how devices are; what is not to be had now is told anew in a minute."""
        told = [one for one in self._telemetry.values() if self._is_our_part(one)]
        seen = [found for one in told if (found := sight(one.topic, one.payload)) is not None]
        if not seen or self._tries(
            lambda: self._commit(Batch(messages=seen, receipts=(), broker=self.broker)),
        ):
            self._telemetry.clear()
            self._telemetry_ns = self._clock.now_ns() + _TELEMETRY_EVERY_NS

    def _commit(self, batch: Batch) -> None:
        start_ns = self._clock.now_ns()
        committed = self.settle(batch)
        self._count(batch.messages, committed, (self._clock.now_ns() - start_ns) / NS_PER_S)
        self._marks.update({(mark.device, mark.stream): mark for mark in committed.marks})

    def _tries(self, action: Callable[[], None]) -> bool:
        """Run an action on the store; False when it fails, and then it rests for a while."""
        try:
            action()
        except MaskwatchError as error:
            self.metrics.store_failures.inc()
            self._failing.failing(str(error))
            self._commit_ns = self._clock.now_ns() + self._retries.next_ns()
            return False
        self._failing.over()
        self._retries.reset()
        return True

    def _is_ours(self, received: Received) -> bool:
        ours = not self._divides or self._is_our_part(received)
        self.metrics.foreign.inc(not ours)
        return ours

    def _is_our_part(self, received: Received) -> bool:
        _, _, device, *_ = [*received.topic.split("/"), "", "", ""]
        return self.fleet is None or self.fleet.division.is_ours(device)

    def _say(self) -> None:
        """Tell devices how far their streams are here."""
        for mark in self._marks.values():
            payload = msgspec.json.encode(Ack(stream=mark.stream, hwm=mark.hwm))
            self.broker.publish(f"maskwatch/{mark.site}/{mark.device}/ack", payload)
        self._marks.clear()
        self._said_ns = self._clock.now_ns()

    def _look(self) -> None:
        self._figures_ns = self._clock.now_ns() + _FIGURES_EVERY_NS
        with suppress(MaskwatchError):  # the next commit says it
            self.metrics.show(self.store.figures())

    def _attest(self, is_up: bool) -> None:
        self._attest_ns, self._attested = self._clock.now_ns() + _ATTEST_EVERY_NS, is_up
        with suppress(MaskwatchError):  # the next commit says it
            now_ms = self._clock.wall_ns() // NS_PER_MS
            self.store.attest(self.broker.client_id, connected=is_up, now_ms=now_ms)

    def _count(self, messages: Sequence[Message], committed: Committed, took_s: float) -> None:
        now_ms = self._clock.wall_ns() / NS_PER_MS
        self.metrics.commit_s.observe(took_s)
        self.metrics.batch.observe(len(messages))
        self.metrics.waiting.set(len(self._inbox))
        self.metrics.stored.inc(committed.stored)
        self.metrics.duplicates.inc(committed.duplicates)
        for message in messages:
            if isinstance(message, Rejected):
                self.metrics.rejected.inc()
                self._rejects.failing(f"{message.topic}: {message.why}")
            elif isinstance(message, Event) and message.recorded_ms is not None:
                self.metrics.lag_s.observe(max(0.0, (now_ms - message.recorded_ms) / 1000))
        for event in committed.conflicts:
            self.metrics.conflicts.inc()
            self._contradicts.failing(f"{event.device} {event.stream}.{event.sequence} is stored with other contents")
        for gap in committed.lost:
            self.metrics.lost.inc(gap.last - gap.first + 1)
            log.warning("events.lost device=%s stream=%s first=%d last=%d", gap.device, gap.stream, gap.first, gap.last)
