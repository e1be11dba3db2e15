"""Who refuses what: each refusal is named, costs no event, and is not asked about without end.

Time is turned, so that an hour of retrying passes in seconds: what is counted are the attempts at a real broker.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.clock import NS_PER_S
from agent.delivery.link import Trouble
from agent.delivery.mqtt import MqttLink
from agent.events.envelope import decode
from agent.events.state import Status
from agent.settings import MqttSettings, ReportSettings
from tests.delivery_parts import IDENTITY, Parts, TurnedClock, counted, make_parts
from tests.integration.wire import RefusingBroker
from tests.real import Mosquitto, Pki, Subscriber, spawn, wait_for

NO_DISCOVERY = ReportSettings(discovery=False)


class Scene:
    """A delivery with some events, whose clock is turned while a real broker answers."""

    def __init__(self, url: str, directory: Path, *, events: int = 5, **settings: Any) -> None:
        self.clock = TurnedClock()
        mqtt = msgspec.convert({"url": url, **{key: str(value) for key, value in settings.items()}}, MqttSettings)
        link = MqttLink(mqtt, client_id="cam1", spawn=spawn, environ={})
        self.parts: Parts = make_parts(directory, link, self.clock, mqtt=mqtt, report=NO_DISCOVERY)
        self.parts.hand_over.put([counted(number, self.clock.now_ns()) for number in range(events)])

    @property
    def figures(self) -> Any:
        return self.parts.delivery.figures

    def turn(self) -> None:
        """Let time pass: fast while nothing is under way, slowly while the broker is to answer."""
        delivery = self.parts.delivery
        waits = not delivery._reconnect.connecting and not delivery._unanswered
        self.clock.turn(1.0 if waits else 0.01)
        delivery.step(0 if waits else 0.005)

    def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until a condition holds."""
        for _ in range(20_000):
            if condition():
                return
            self.turn()
        raise AssertionError(f"it did not come to that: {self.figures}")

    def pass_on(self, seconds: float) -> None:
        """Let time pass."""
        end_ns = self.clock.now_ns() + int(seconds * NS_PER_S)
        while self.clock.now_ns() < end_ns:
            self.turn()


def statuses(payloads: list[bytes]) -> list[Status]:
    return [msgspec.json.decode(payload, type=Status) for payload in payloads]


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_a_wrong_password_is_named_asked_seldom_and_forgotten_when_it_is_right(tmp_path: Path, protocol: str) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    with Mosquitto(tmp_path / "broker", users={"cam1": "s3cret"}) as broker:
        scene = Scene(broker.url, tmp_path / "outbox", username="cam1", password_file=password, protocol=protocol)
        scene.pass_on(3600)
        attempts = broker.log.read_text().count("not authorised")
        assert 10 <= attempts <= 45
        assert scene.figures.trouble in (Trouble.CREDENTIALS, Trouble.NOT_AUTHORISED)
        assert "password" in scene.figures.sentence
        assert scene.figures.backlog == 5
        password.write_text("s3cret\n")
        put_right_ns = scene.clock.now_ns()
        scene.until(lambda: scene.figures.acknowledged == 5)
        assert scene.clock.now_ns() - put_right_ns <= 330 * NS_PER_S
        scene.parts.delivery.close("over")


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_an_expired_certificate_is_named_asked_seldom_and_renewed_without_a_restart(
    tmp_path: Path, protocol: str
) -> None:
    pki = Pki(tmp_path / "pki")
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"

    def take(issued: tuple[Path, Path]) -> None:
        for new, place in zip(issued, (certificate, key), strict=True):
            place.write_bytes(new.read_bytes())

    take(pki.issue("cam1", days=-1))
    extra = [f"cafile {pki.ca}", "require_certificate true", "use_identity_as_username true"]
    with Mosquitto(tmp_path / "broker", certificate=pki.issue("server"), extra=extra) as broker:
        files: dict[str, Any] = {"ca_file": pki.ca, "cert_file": certificate, "key_file": key}
        scene = Scene(broker.url, tmp_path / "outbox", protocol=protocol, **files)
        scene.pass_on(1200)
        attempts = broker.log.read_text().count("certificate verify failed")
        assert 4 <= attempts <= 40
        assert scene.figures.trouble is Trouble.TLS_CLIENT_CERTIFICATE
        assert "certificate has expired; renew it" in scene.figures.sentence
        assert scene.figures.backlog == 5
        take(pki.issue("cam1-renewed"))
        scene.until(lambda: scene.figures.acknowledged == 5)
        scene.parts.delivery.close("over")


def test_an_access_list_that_refuses_events_is_not_taken_for_a_fight_over_the_client_id(tmp_path: Path) -> None:
    acl = ["topic readwrite maskwatch/lab/cam1/status", "topic write homeassistant/#", "topic read maskwatch/#"]
    with Mosquitto(tmp_path / "broker", acl=acl) as broker:  # 2.0.11 hangs up after each refusal
        scene = Scene(broker.url, tmp_path / "outbox")
        troubles, said = set(), set()
        for _ in range(5):
            scene.until(lambda: scene.figures.trouble is not None)
            troubles.add(scene.figures.trouble)
            said.add(scene.figures.sentence)
            scene.until(lambda: scene.figures.trouble is None)
        assert troubles == {Trouble.MESSAGE_REFUSED}
        assert said == {"the broker does not let this device publish events; mend its access list"}
        assert broker.log.read_text().count("Denied PUBLISH") <= 2 * 5
        assert scene.figures.backlog == 5


def test_a_quota_that_is_used_up_holds_the_events_and_is_told(tmp_path: Path) -> None:
    full = [True]
    with RefusingBroker(puback=lambda topic: 151 if full[0] and topic == IDENTITY.events else 0) as broker:
        scene = Scene(broker.url, tmp_path / "outbox")
        scene.until(lambda: len(broker.on(IDENTITY.events)) == 1)
        scene.pass_on(3600)
        asked = len(broker.on(IDENTITY.events))
        assert 10 <= asked <= 45
        assert scene.figures.trouble is None
        assert scene.figures.sentence == "the broker's quota for this device is used up"
        assert statuses(broker.on(IDENTITY.status))[-1].reason == scene.figures.sentence
        full[0] = False
        scene.until(lambda: scene.figures.acknowledged == 5)
        taken = [int(decode(payload).sequence) for payload in broker.on(IDENTITY.events)[asked:]]
        assert taken == [1, 2, 3, 4, 5]
        scene.until(lambda: statuses(broker.on(IDENTITY.status))[-1].reason is msgspec.UNSET)
        assert broker.connections == 1
        scene.parts.delivery.close("over")


def test_a_client_id_that_is_taken_over_each_time_is_named_and_not_fought_for(tmp_path: Path) -> None:
    with RefusingBroker(farewell=bytes([0xE0, 2, 0x8E, 0])) as broker:
        scene = Scene(broker.url, tmp_path / "outbox")
        scene.until(lambda: scene.figures.trouble is not None)
        scene.pass_on(3600)
        assert 10 <= broker.connections <= 45
        assert scene.figures.trouble is Trouble.TAKEN_OVER
        assert (
            "another client connected with our id 'cam1'; give each device its own device.id" in scene.figures.sentence
        )
        assert scene.figures.backlog == 5


def test_an_acknowledgement_that_may_not_be_read_is_told_in_the_status(tmp_path: Path) -> None:
    with RefusingBroker(suback=lambda topic: 135 if topic == IDENTITY.ack else 1) as broker:
        scene = Scene(broker.url, tmp_path / "outbox", ack_mode="collector")
        sentence = f"the broker does not let this device read {IDENTITY.ack}; mend its access list"
        scene.until(lambda: any(status.reason == sentence for status in statuses(broker.on(IDENTITY.status))))
        assert scene.figures.sentence == sentence
        scene.parts.delivery.close("over")


def test_without_a_subscriber_events_wait_for_the_collector_and_that_is_told(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        scene = Scene(broker.url, tmp_path / "outbox", events=30, ack_mode="collector", protocol="5")
        scene.until(lambda: scene.figures.sentence == "nobody subscribes to the events")
        scene.pass_on(600)
        assert scene.figures.backlog == 30
        assert broker.log.read_text().count("rc16") <= 30  # status and a row at a time
        with Subscriber(broker, name="collector", topics=["maskwatch/+/+/events"]) as collector:
            stream = scene.parts.outbox.stream
            collector.send(IDENTITY.ack, msgspec.json.encode({"stream": stream, "hwm": 0}))  # it says that it is there
            scene.until(lambda: len(collector.payloads(IDENTITY.events)) >= 30)
            collector.send(IDENTITY.ack, msgspec.json.encode({"stream": stream, "hwm": 30}))
            scene.until(lambda: scene.figures.backlog == 0)
        assert scene.figures.sentence == ""
        scene.parts.delivery.close("over")


def test_a_broker_that_forgot_the_status_gets_it_again_also_after_an_orderly_restart(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", extra=["persistence false"]) as broker:
        scene = Scene(broker.url, tmp_path / "outbox", events=0)
        scene.parts.delivery.say(camera="ok", reason="")
        for session in (1, 2, 3):
            scene.until(lambda: scene.figures.trouble is None)
            with Subscriber(broker, name=f"late{session}") as late:
                scene.until(lambda: bool(late.payloads(IDENTITY.status)))
                told = statuses(late.payloads(IDENTITY.status))[-1]
            assert (told.state, told.session, told.camera) == ("online", session, "ok")
            broker.stop()
            scene.until(lambda: scene.figures.trouble is not None)
            broker.start()
            scene.until(lambda: scene.figures.connected_since_ns is not None)


def test_the_will_of_a_connection_that_was_taken_over_is_older_than_the_new_birth(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker) as subscriber:
        first = Scene(broker.url, tmp_path / "outbox", events=0)
        first.until(lambda: len(subscriber.payloads(IDENTITY.status)) == 1)
        first.parts.outbox.close(clean=False)  # the agent was killed; its connection lingers at the broker
        second = Scene(broker.url, tmp_path / "outbox", events=0)
        second.until(lambda: len(subscriber.payloads(IDENTITY.status)) == 3)
        told = [(status.state, status.session) for status in statuses(subscriber.payloads(IDENTITY.status))]
        assert told == [("online", 1), ("offline", 1), ("online", 2)]
        with Subscriber(broker, name="late") as late:
            late.wait_for(lambda: bool(late.payloads(IDENTITY.status)))
            assert statuses(late.payloads(IDENTITY.status))[-1].session == 2
        second.parts.delivery.close("over")


def test_a_command_to_another_device_or_with_an_answer_for_another_is_not_done(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker, mqtt5=True) as operator:
        scene = Scene(broker.url, tmp_path / "outbox", events=0)
        scene.until(lambda: len(operator.payloads(IDENTITY.status)) == 1)
        ping = b'{"command": "ping"}'
        operator.send("maskwatch/lab/cam2/command", ping)
        operator.send("maskwatch/yard/cam1/command", ping)
        operator.send(IDENTITY.command, ping, ResponseTopic="maskwatch/lab/cam2/events", CorrelationData=b"7")
        operator.send(IDENTITY.command, ping, ResponseTopic=IDENTITY.events)
        found = []

        def answered() -> bool:
            found.extend(scene.parts.delivery.step(0.01))
            return len(operator.payloads(IDENTITY.reply)) == 2

        wait_for(answered)
        assert found == []
        assert operator.payloads("maskwatch/lab/cam2/events") == operator.payloads(IDENTITY.events) == []
        assert all(b"nowhere else" in payload for payload in operator.payloads(IDENTITY.reply))
        scene.parts.delivery.close("over")
