"""A subscriber that comes back: it connects, asks for its topics, and after a loss does so again with back-off."""

import os
import random
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from agent.clock import NS_PER_S, Clock, new_id
from agent.delivery.link import Connected, Link, Lost, News, Received, Refused, SubscriptionRefused
from agent.delivery.mqtt import MqttLink
from agent.errors import UnavailableError
from agent.settings import MqttSettings

_BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_WAIT_S_MAX = 0.5


class Listener:
    """A link that listens. state: connection in words, for a heading."""

    def __init__(self, link: Link, *, where: str, topics: Sequence[str], clock: Clock, rng: random.Random) -> None:
        self._link = link
        self._where = where
        self._topics = topics
        self._clock = clock
        self._rng = rng
        self._again_ns: int | None = clock.now_ns()
        self._tries = 0
        self._ever = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # `wait` wants one; nobody calls us
        self.connected = False
        self.state = "connecting"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()
        os.close(self._wake)

    def step(self, timeout_s: float) -> list[Received]:
        """Give the messages that came within `timeout_s`.

        Raises UnavailableError if the first connection is refused, or a subscription: trying again would not help who
        waits in front of a screen. A connection that is lost later is made again.
        """
        now_ns = self._clock.now_ns()
        if self._again_ns is not None and now_ns >= self._again_ns:
            self._again_ns = None
            self._link.connect(None)
        received = []
        for news in self._link.wait(min(timeout_s, _WAIT_S_MAX), self._wake):
            if isinstance(news, Received):
                received.append(news)
            else:
                self._take(news)
        return received

    def _take(self, news: News) -> None:
        match news:
            case Connected(version=version):
                self.connected, self._ever, self._tries = True, True, 0
                self.state = f"MQTT {version}"
                self._link.subscribe(self._topics)
            case Refused(sentence=sentence) if not self._ever:
                raise _error(sentence)
            case Refused(trouble=trouble) | Lost(trouble=trouble):
                self.connected = False
                self.state = trouble.value
                delay_s = _BACKOFF_S[min(self._tries, len(_BACKOFF_S) - 1)] * self._rng.uniform(0.5, 1.0)
                self._tries += 1
                self._again_ns = self._clock.now_ns() + round(delay_s * NS_PER_S)
            case SubscriptionRefused(topic=topic, code=code):
                raise UnavailableError(
                    f"the broker does not let us read {topic} (reason {code:#04x})",
                    where=self._where,
                    remedy="log in as a user who may (mqtt.username), or name --site and --device",
                )


def _error(sentence: str) -> UnavailableError:
    """Make an error of a link's sentence, `host:port: what; remedy`."""
    where, _, rest = sentence.partition(": ")
    what, _, remedy = rest.partition("; ")
    return UnavailableError(what, where=where, remedy=remedy or "ask whoever runs the broker")


def listen(settings: MqttSettings, topics: Sequence[str], clock: Clock) -> Listener:
    """Make a listener on the broker of the settings. Raises ConfigError or NotPermittedError for its files."""
    link = MqttLink(settings, client_id=f"maskwatch-watch-{new_id()[:8]}", spawn=spawn)
    return Listener(link, where=settings.url, topics=topics, clock=clock, rng=random.Random())


def spawn(work: Callable[[], None]) -> None:
    """Run a function on a thread that the process does not wait for."""
    threading.Thread(target=work, daemon=True).start()
