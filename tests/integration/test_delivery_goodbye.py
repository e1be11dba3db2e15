"""An orderly end is the last that the broker hears of a connection."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.delivery.link import Connected, Message
from agent.delivery.mqtt import MqttLink
from agent.settings import MqttSettings
from tests.real import Mosquitto, Subscriber, wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_a_link_that_closes_says_goodbye_and_neither_its_will_nor_another_connection_follows(
    broker: Mosquitto, protocol: str
) -> None:
    attempts: list[threading.Thread] = []

    def spawn(work: Callable[[], None]) -> None:
        attempts.append(threading.Thread(target=work))
        attempts[-1].start()

    wake = os.eventfd(0)
    link = MqttLink(MqttSettings(url=broker.url, protocol=protocol), client_id="leaver", spawn=spawn)  # type: ignore[arg-type]
    with Subscriber(broker) as subscriber:
        link.connect(Message(topic="maskwatch/a/b/status", payload=b"the will", qos=1))
        wait_for(lambda: any(isinstance(news, Connected) for news in link.wait(0.1, wake)), what="a connection")

        link.close()

        wait_for(lambda: "leaver disconnected." in broker.log.read_text(), what="the broker to hear the goodbye")
        subscriber.send("maskwatch/a/b/after", b"fence")
        subscriber.wait_for(lambda: bool(subscriber.messages))
        assert [bytes(message.payload) for message in subscriber.messages] == [b"fence"]
    for attempt in attempts:
        attempt.join()
    assert len(attempts) == 1
    os.close(wake)
