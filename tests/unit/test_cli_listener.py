"""A subscriber that comes back, on a scripted link."""

import random
from collections.abc import Sequence

import pytest

from agent.cli.listener import Listener
from agent.delivery.link import (
    Answered,
    Connected,
    Lost,
    Message,
    News,
    Received,
    Refused,
    SubscriptionRefused,
    Trouble,
)
from agent.errors import UnavailableError

S = 10**9
UP = Connected(version="5", receive_max=20)
REFUSED = Refused(trouble=Trouble.REFUSED, sentence="h:1883: nobody listens there; start the broker")
LOST = Lost(trouble=Trouble.CLOSED, sentence="h:1883: the connection ended")
HELLO = Received(topic="maskwatch/a/b/events", payload=b"{}")


class Clock:
    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        return self.ns

    def wall_ns(self) -> int:
        return 0

    def trusted(self) -> bool:
        return False

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * S)


class ScriptedLink:
    """Says what the script holds, one list a wait."""

    def __init__(self, script: Sequence[list[News]]) -> None:
        self.script = list(script)
        self.calls: list[str] = []

    def connect(self, will: Message | None, certificate: object = None) -> None:
        assert will is None
        self.calls.append("connect")

    def subscribe(self, topics: Sequence[str]) -> None:
        self.calls.append(f"subscribe {','.join(topics)}")

    def publish(self, message: Message) -> int:
        raise AssertionError("a listener only listens")

    def wait(self, timeout_s: float, wake: int) -> list[News]:
        return self.script.pop(0) if self.script else []

    def drop(self) -> None:
        raise AssertionError("nobody drops a link here")

    def close(self) -> None:
        self.calls.append("close")


def listener(link: ScriptedLink, clock: Clock) -> Listener:
    return Listener(link, where="mqtt://h", topics=["a", "b"], clock=clock, rng=random.Random(1))


def test_it_connects_once_subscribes_and_gives_messages() -> None:
    link, clock = ScriptedLink([[], [UP], [HELLO, Answered(token=1, code=0)], []]), Clock()
    with listener(link, clock) as ear:
        assert [ear.step(1.0) for _ in range(4)] == [[], [], [HELLO], []]
        assert (ear.connected, ear.state) == (True, "MQTT 5")
    assert link.calls == ["connect", "subscribe a,b", "close"]


def test_after_a_loss_it_connects_again_later_and_later() -> None:
    link, clock = ScriptedLink([[UP], [LOST], *[[]] * 3, [REFUSED]]), Clock()
    with listener(link, clock) as ear:
        ear.step(1.0)
        ear.step(1.0)
        assert (ear.connected, ear.state) == (False, "closed by the broker")
        ear.step(1.0)
        assert link.calls.count("connect") == 1, "not at once"
        clock.sleep(0.5)
        ear.step(1.0)
        assert link.calls.count("connect") == 2
        ear.step(1.0)
        ear.step(1.0)
        assert ear.state == "connection refused"
        clock.sleep(0.49)
        ear.step(1.0)
        assert link.calls.count("connect") == 2, "the second wait is longer than the first"
        clock.sleep(0.51)
        link.script = [[UP], []]
        ear.step(1.0)
        assert ear.connected
        assert link.calls.count("subscribe a,b") == 2


def test_a_first_connection_that_is_refused_ends_it_with_the_links_own_words() -> None:
    with listener(ScriptedLink([[REFUSED]]), Clock()) as ear, pytest.raises(UnavailableError) as refused:
        ear.step(1.0)
    assert str(refused.value) == "h:1883: nobody listens there; start the broker"


def test_a_sentence_without_a_remedy_gets_one() -> None:
    banned = Refused(trouble=Trouble.NOT_AUTHORISED, sentence="h:1883: the broker has banned this device")
    with listener(ScriptedLink([[banned]]), Clock()) as ear, pytest.raises(UnavailableError, match=r"banned.*; ask"):
        ear.step(1.0)


def test_a_subscription_that_is_refused_ends_it() -> None:
    script: list[list[News]] = [[UP, SubscriptionRefused(topic="a", code=0x87)]]
    with listener(ScriptedLink(script), Clock()) as ear, pytest.raises(UnavailableError, match=r"read a .*0x87"):
        ear.step(1.0)
