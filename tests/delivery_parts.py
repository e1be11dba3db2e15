"""What the tests of delivery are made of: events, a clock to turn, an outbox, a scripted link."""

import os
import random
import select
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from agent.clock import NS_PER_S
from agent.delivery.delivery import Delivery
from agent.delivery.handover import HandOver
from agent.delivery.link import Answered, Connected, Link, Lost, Message, News, Trouble
from agent.delivery.outbox import Outbox
from agent.delivery.topics import Identity
from agent.events.state import Telemetry
from agent.events.types import Counts, Event, LabelCounts, PersonEnd, PersonNew, PersonUpdate
from agent.settings import MqttSettings, ReportSettings

BOOT_ID = "ab" * 16
IDENTITY = Identity(site="lab", device="cam1", version="0.0.1")
_BODY = {"label": "mask", "confidence": 0.93, "looks": 9, "seen_s": 2.5, "face_px": 41.0, "box": (0.1, 0.2, 0.3, 0.4)}


class TurnedClock:
    """A clock that moves only when it is turned. wall time follows the monotonic one; `jump` moves it alone."""

    def __init__(self, *, trusted: bool = True) -> None:
        self._now_ns = 1_000 * NS_PER_S
        self._wall_ns = 1_800_000_000 * NS_PER_S
        self.is_trusted = trusted

    def now_ns(self) -> int:
        return self._now_ns

    def wall_ns(self) -> int:
        return self._wall_ns

    def trusted(self) -> bool:
        return self.is_trusted

    def sleep(self, seconds: float) -> None:
        self.turn(seconds)

    def turn(self, seconds: float) -> None:
        self._now_ns += int(seconds * NS_PER_S)
        self._wall_ns += int(seconds * NS_PER_S)

    def jump(self, seconds: float) -> None:
        self._wall_ns += int(seconds * NS_PER_S)


def counted(number: int, at_ns: int = 0) -> Event:
    """An event that is about nobody, known by its number."""
    data = Counts(span_s=60.0, ended=LabelCounts(), present=0, frames=number, watched_s=60.0, blind_s=0.0)
    return Event(at_ns=at_ns, data=data)


def came(person: str, at_ns: int = 0) -> Event:
    return Event(at_ns=at_ns, data=msgspec.convert({"person": person, **_BODY}, PersonNew))


def changed(person: str, at_ns: int = 0) -> Event:
    return Event(at_ns=at_ns, data=msgspec.convert({"person": person, "previous": "unsure", **_BODY}, PersonUpdate))


def went(person: str, at_ns: int = 0) -> Event:
    more = {"duration_s": 3.0, "looks_by_label": {"mask": 9}, "reason": "gone"}
    return Event(at_ns=at_ns, data=msgspec.convert({"person": person, **more, **_BODY}, PersonEnd))


def ids(prefix: str = "5eed") -> Callable[[], str]:
    """Make ids that can be told apart: prefix and a number."""
    numbers = iter(range(1, 1_000_000))
    return lambda: f"{prefix}{next(numbers):04d}"


def open_outbox(directory: Path, *, clock: TurnedClock | None = None, quota_mb: float = 8.0) -> Outbox:
    return Outbox.open(
        directory, clock=clock or TurnedClock(), new_id=ids(os.urandom(2).hex()), boot_id=BOOT_ID, quota_mb=quota_mb
    )


class ScriptedLink:
    """A broker without a network: it takes every message, and answers when told to, or at once with `auto`."""

    def __init__(self, *, auto: bool = True, receive_max: int = 20) -> None:
        self.auto = auto
        self.receive_max = receive_max
        self.accepts = True
        self.up = False
        self.will: Message | None = None
        self.attempts = 0
        self.certificates: list[Path | None] = []
        self.published: list[Message] = []
        self.subscribed: list[str] = []
        self.news: list[News] = []
        self._token = 0

    def connect(self, will: Message | None, certificate: Path | None = None) -> None:
        self.attempts += 1
        self.will = will
        self.certificates.append(certificate)
        if self.accepts:
            self.up = True
            self.news.append(Connected(version="5", receive_max=self.receive_max))

    def subscribe(self, topics: Sequence[str]) -> None:
        self.subscribed = list(topics)

    def publish(self, message: Message) -> int:
        self.published.append(message)
        self._token += 1
        if message.qos and self.auto:
            self.news.append(Answered(token=self._token, code=0))
        return self._token

    def wait(self, timeout_s: float, wake: int) -> list[News]:
        if not self.news:
            select.select([wake], [], [], min(timeout_s, 0.02))
        news, self.news = self.news, []
        return news

    def drop(self) -> None:
        self.up = False

    def close(self) -> None:
        self.up = False

    def lose(self, trouble: Trouble = Trouble.CLOSED) -> None:
        """Let the connection break."""
        self.up = False
        self.news.append(Lost(trouble=trouble, sentence="it broke"))

    def on(self, topic: str) -> list[bytes]:
        """Give the payloads published on a topic."""
        return [message.payload for message in self.published if message.topic == topic]


class Parts(msgspec.Struct, frozen=True):
    """A Delivery with all that it is made of."""

    delivery: Delivery
    hand_over: HandOver
    outbox: Outbox
    link: Link

    def step_until(self, condition: Callable[[], bool], steps: int = 5000, timeout_s: float = 0.01) -> None:
        """Step until a condition holds; a real clock makes 5000 steps last 50 s."""
        for _ in range(steps):
            if condition():
                return
            self.delivery.step(timeout_s)
        raise AssertionError(f"it did not come to that: {self.delivery.figures}")


def make_parts(
    directory: Path,
    link: Link,
    clock: TurnedClock,
    *,
    mqtt: MqttSettings | None = None,
    report: ReportSettings | None = None,
    telemetry: Callable[[], Telemetry | None] = lambda: None,
    frames_coming: Callable[[], bool] = lambda: False,
    quota_mb: float = 8.0,
) -> Parts:
    hand_over = HandOver()
    outbox = open_outbox(directory, clock=clock, quota_mb=quota_mb)
    delivery = Delivery(
        identity=IDENTITY,
        mqtt=mqtt or MqttSettings(),
        report=report or ReportSettings(),
        hand_over=hand_over,
        outbox=outbox,
        link=link,
        clock=clock,
        rng=random.Random(7),
        telemetry=telemetry,
        frames_coming=frames_coming,
    )
    return Parts(delivery, hand_over, outbox, link)
