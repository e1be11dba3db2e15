"""Delivery end to end: events handed over, a real SQLite, a real mosquitto, a subscriber."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.clock import SystemClock
from agent.delivery.mqtt import MqttLink
from agent.events.envelope import CONTENT_TYPE, decode
from agent.events.state import Status
from agent.settings import MqttSettings
from tests.delivery_parts import IDENTITY, Parts, counted, make_parts
from tests.real import Mosquitto, Subscriber, spawn


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def parts_for(broker: Mosquitto, directory: Path, clock: object, **changes: object) -> Parts:
    settings = msgspec.convert({"url": broker.url, **changes}, MqttSettings)
    link = MqttLink(settings, client_id="cam1", spawn=spawn, environ={})
    return make_parts(directory, link, clock, mqtt=settings)  # type: ignore[arg-type]


def numbers(subscriber: Subscriber) -> list[int]:
    """Give the numbers of the events in the order of their arrival, doubled ones once."""
    seen: dict[str, int] = {}
    for payload in subscriber.payloads(IDENTITY.events):
        event = decode(payload)
        seen.setdefault(event.id, event.data.frames)  # type: ignore[union-attr]
    return list(seen.values())


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_events_arrive_in_order_once_and_the_outbox_is_empty(broker: Mosquitto, tmp_path: Path, protocol: str) -> None:
    parts = parts_for(broker, tmp_path / "outbox", SystemClock(), protocol=protocol)
    with Subscriber(broker, mqtt5=protocol != "3.1.1") as subscriber:
        parts.hand_over.put([counted(number) for number in range(200)])
        parts.step_until(lambda: parts.delivery.figures.acknowledged == 200)
        subscriber.wait_for(lambda: len(numbers(subscriber)) == 200)
        parts.delivery.close("test over")
        subscriber.wait_for(lambda: len(subscriber.payloads(IDENTITY.status)) == 2)
    assert numbers(subscriber) == list(range(200))
    first, last = (msgspec.json.decode(payload, type=Status) for payload in subscriber.payloads(IDENTITY.status))
    assert (first.state, first.session) == ("online", 1)
    assert (last.state, last.session, last.reason) == ("offline", 1, "test over")
    content_types = {
        getattr(message.properties, "ContentType", None)
        for message in subscriber.messages
        if message.topic == IDENTITY.events
    }
    assert content_types == ({CONTENT_TYPE} if protocol != "3.1.1" else {None})
