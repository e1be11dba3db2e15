"""What a subscriber knows of a site from its messages alone: devices, the persons in front of them, what was said.

Fed by `watch` and `demo` with every message of `maskwatch/<site>/<device>/...`; drawn by agent.cli.live, told in plain
lines by agent.cli.lines. Pure: it is told what time it is. Doubled events (delivery is at least once) count once.
"""

from collections import Counter, deque
from collections.abc import Iterable

import msgspec

from agent.clock import NS_PER_S
from agent.delivery.link import Received
from agent.events.envelope import Envelope, decode
from agent.events.state import Status, Telemetry
from agent.events.types import (
    AgentStart,
    AgentStop,
    CameraBack,
    CameraBlind,
    Counts,
    EventData,
    Gap,
    OutboxReset,
    PersonEnd,
    PersonNew,
    PersonUpdate,
)
from agent.seams import Reason, Verdict

# A watcher may run for months: what it keeps is bounded. 64 devices' worth of the newest lines fill any screen.
_LOG_LINES = 200
_BINS = 240
_GONE_S = 5.0  # how long a person who left stays on the screen
_DUPLICATES = 4096  # sequences remembered for one device; a broker resends at most its window of 20

Event = Envelope[EventData]
News = Event | Status | Telemetry


class Person(msgspec.Struct, kw_only=True):
    """Somebody who is or was just in front of a camera. at_ns: when we heard last; seen_s: as of then."""

    id: str
    label: Verdict
    confidence: float
    face_px: float
    looks: int
    seen_s: float
    at_ns: int
    reason: Reason | None = None
    previous: Verdict | None = None
    gone: bool = False

    def seconds(self, now_ns: int) -> float:
        """Give for how long this person has been there, going on from what was last heard."""
        return self.seen_s + (0.0 if self.gone else max(0.0, (now_ns - self.at_ns) / NS_PER_S))


class Device:
    """One board as its messages tell of it."""

    def __init__(self, site: str, name: str) -> None:
        self.site = site
        self.name = name
        self.status: Status | None = None
        self.telemetry: Telemetry | None = None
        self.persons: dict[str, Person] = {}
        self.started: Counter[str] = Counter()  # persons by their first label
        self.ended: Counter[str] = Counter()  # persons by their last label
        self.events = 0
        self.doubled = 0
        self.last_sequence = 0
        self.blind: str | None = None
        self.bins: deque[tuple[int, Counter[str]]] = deque(maxlen=_BINS)
        self._stream = ""
        self._seen: deque[int] = deque(maxlen=_DUPLICATES)

    @property
    def online(self) -> bool:
        return self.status is not None and self.status.state == "online"

    def new(self, event: Event) -> bool:
        """Tell whether this event has not been here before, and remember it."""
        if event.stream != self._stream:
            self._stream = event.stream
            self._seen.clear()
        sequence = int(event.sequence)
        if sequence in self._seen:
            self.doubled += 1
            return False
        self._seen.append(sequence)
        self.last_sequence = sequence
        self.events += 1
        return True

    def per_bin(self, bin_now: int, width: int) -> list[int]:
        """Give how many persons appeared in each of the last `width` spans, the present one last."""
        found = {number: sum(labels.values()) for number, labels in self.bins}
        return [found.get(number, 0) for number in range(bin_now - width + 1, bin_now + 1)]


class Site:
    """All devices that were heard of. bin_s: the span of one bar of a sparkline."""

    def __init__(self, *, bin_s: float) -> None:
        self.bin_s = bin_s
        self.devices: dict[tuple[str, str], Device] = {}
        self.log: deque[tuple[Device, Event]] = deque(maxlen=_LOG_LINES)
        self.unreadable = 0

    def take(self, topic: str, payload: bytes, now_ns: int) -> tuple[Device, News] | None:
        """Take one message. Returns the device and what was new in it; None for what says nothing new."""
        parts = topic.split("/")
        if len(parts) != 4 or parts[0] != "maskwatch" or parts[3] not in ("events", "status", "telemetry"):
            return None
        key = (parts[1], parts[2])
        device = self.devices.get(key) or Device(*key)
        try:
            new = self._read(device, parts[3], payload, now_ns)
        except msgspec.DecodeError:
            self.unreadable += 1
            return None
        self.devices[key] = device
        return None if new is None else (device, new)

    def take_all(self, messages: Iterable[Received], now_ns: int) -> list[tuple[Device, News]]:
        """Give what is new in the messages."""
        found = (self.take(message.topic, message.payload, now_ns) for message in messages)
        return [news for news in found if news is not None]

    def tick(self, now_ns: int) -> None:
        """Forget persons who have been gone for some seconds."""
        for device in self.devices.values():
            for person in list(device.persons.values()):
                if person.gone and now_ns - person.at_ns > _GONE_S * NS_PER_S:
                    del device.persons[person.id]

    def bin(self, now_ns: int) -> int:
        """Give the number of the span that `now_ns` falls into."""
        return int(now_ns / NS_PER_S / self.bin_s)

    def _read(self, device: Device, kind: str, payload: bytes, now_ns: int) -> News | None:
        if kind == "telemetry":
            device.telemetry = msgspec.json.decode(payload, type=Telemetry)
            return device.telemetry
        if kind == "status":
            return self._status(device, payload)
        event = decode(payload)
        if not device.new(event):
            return None
        self._apply(device, event, now_ns)
        self.log.append((device, event))
        return event

    def _status(self, device: Device, payload: bytes) -> Status | None:
        if not payload:  # a retained status that somebody has removed
            return None
        status = msgspec.json.decode(payload, type=Status)
        known = device.status
        if known is not None and status.state == "offline" and status.session < known.session:
            return None  # the will of an older connection, come late
        device.status = status
        return status

    def _apply(self, device: Device, event: Event, now_ns: int) -> None:
        match event.data:
            case PersonNew() | PersonUpdate() as data:
                known = data.person in device.persons
                device.persons[data.person] = Person(
                    id=data.person,
                    label=data.label,
                    confidence=data.confidence,
                    face_px=data.face_px,
                    looks=data.looks,
                    seen_s=data.seen_s,
                    at_ns=now_ns,
                    reason=data.reason or None,
                    previous=data.previous if isinstance(data, PersonUpdate) else None,
                )
                if isinstance(data, PersonNew) and not known:
                    device.started[data.label] += 1
                    self._count(device, data.label, self.bin(now_ns))
            case PersonEnd() as data:
                device.ended[data.label] += 1
                device.persons[data.person] = Person(
                    id=data.person,
                    label=data.label,
                    confidence=data.confidence,
                    face_px=data.face_px,
                    looks=data.looks,
                    seen_s=data.duration_s,
                    at_ns=now_ns,
                    gone=True,
                )
            case CameraBlind(reason=reason):
                device.blind = reason
            case CameraBack():
                device.blind = None
            case AgentStart():
                device.blind = None
            case Counts() | AgentStop() | Gap() | OutboxReset():
                pass  # said in the log; nothing here depends on it

    def _count(self, device: Device, label: str, number: int) -> None:
        if not device.bins or device.bins[-1][0] != number:
            device.bins.append((number, Counter()))
        device.bins[-1][1][label] += 1


def count_events(news: Iterable[tuple[Device, News]]) -> int:
    """Count the events among the news."""
    return sum(not isinstance(new, Status | Telemetry) for _, new in news)
