"""Delivery end to end: events handed over, a real SQLite, a real mosquitto, a subscriber."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.cli.broker import EmbeddedBroker
from agent.clock import Clock, SystemClock
from agent.delivery.link import Trouble
from agent.delivery.mqtt import MqttLink
from agent.delivery.requests import Request
from agent.events.envelope import CONTENT_TYPE, Envelope, decode
from agent.events.state import Reply, Status
from agent.events.types import EventData
from agent.settings import MqttSettings, ReportSettings
from tests.delivery_parts import IDENTITY, Parts, TurnedClock, counted, make_parts
from tests.real import Mosquitto, Pki, Subscriber, spawn


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def parts_for(broker: Mosquitto, directory: Path, clock: Clock, *, report: Any = None, **changes: Any) -> Parts:
    settings = msgspec.convert({"url": broker.url, **changes}, MqttSettings)
    link = MqttLink(settings, client_id="cam1", spawn=spawn, environ={})
    return make_parts(directory, link, clock, mqtt=settings, report=report)


def events(subscriber: Subscriber) -> list[Envelope[EventData]]:
    """Give the events in the order of their first arrival, doubled ones once."""
    seen: dict[str, Envelope[EventData]] = {}
    for payload in subscriber.payloads(IDENTITY.events):
        event = decode(payload)
        seen.setdefault(event.id, event)
    return list(seen.values())


def numbers(subscriber: Subscriber) -> list[int]:
    return [event.data.frames for event in events(subscriber)]  # type: ignore[union-attr]


def statuses(subscriber: Subscriber) -> list[Status]:
    return [msgspec.json.decode(payload, type=Status) for payload in subscriber.payloads(IDENTITY.status)]


def is_up(parts: Parts) -> bool:
    return parts.delivery.figures.connected_since_ns is not None


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_events_arrive_in_order_once_and_the_outbox_is_empty(broker: Mosquitto, tmp_path: Path, protocol: str) -> None:
    parts = parts_for(broker, tmp_path / "outbox", SystemClock(), protocol=protocol)
    with Subscriber(broker, mqtt5=True) as subscriber:
        parts.hand_over.put([counted(number) for number in range(200)])
        parts.step_until(lambda: parts.delivery.figures.acknowledged == 200)
        parts.delivery.close("test over")
        subscriber.wait_for(lambda: len(numbers(subscriber)) == 200 and len(statuses(subscriber)) == 2)
    assert len(subscriber.payloads(IDENTITY.events)) == 200
    assert numbers(subscriber) == list(range(200))
    first, last = statuses(subscriber)
    assert (first.state, first.session) == ("online", 1)
    assert (last.state, last.session, last.reason) == ("offline", 1, "test over")
    content_types = {
        getattr(message.properties, "ContentType", None)
        for message in subscriber.messages
        if message.topic == IDENTITY.events
    }
    assert content_types == ({None} if protocol == "3.1.1" else {CONTENT_TYPE})


def test_a_broker_that_never_answers_an_mqtt_5_connect_with_a_will_gets_the_events_in_3_1_1(tmp_path: Path) -> None:
    clock = TurnedClock()
    with EmbeddedBroker() as amqtt:
        settings = MqttSettings(url=amqtt.url)
        parts = make_parts(tmp_path, MqttLink(settings, client_id="cam1", spawn=spawn, environ={}), clock)
        parts.hand_over.put([counted(number, clock.now_ns()) for number in range(50)])

        def delivered() -> bool:
            clock.turn(0.2)
            return parts.delivery.figures.acknowledged == 50

        parts.step_until(delivered)
        assert parts.delivery.figures.session == 1
        parts.delivery.close("over")


def test_over_tls_events_and_long_commands_pass_as_well(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    with Mosquitto(tmp_path / "broker", certificate=pki.issue("server")) as broker:
        parts = parts_for(broker, tmp_path / "outbox", SystemClock(), ca_file=str(pki.ca))
        with Subscriber(broker, ca=pki.ca) as subscriber:
            parts.hand_over.put([counted(number) for number in range(300)])
            parts.step_until(lambda: parts.delivery.figures.acknowledged == 300)
            command = msgspec.json.encode({"command": "renew", "certificate": "x" * 2900})
            for _ in range(20):  # more than one TLS record's worth at once
                subscriber.send(IDENTITY.command, command)
            found: list[Request] = []
            for _ in range(500):
                found += parts.delivery.step(0.01)
                if len(found) == 20:
                    break
            parts.delivery.close("over")
        assert len(found) == 20
        assert numbers(subscriber) == list(range(300))


def test_a_broker_that_is_away_costs_nothing_but_time(broker: Mosquitto, tmp_path: Path) -> None:
    clock = TurnedClock()
    parts = parts_for(broker, tmp_path / "outbox", clock)
    with Subscriber(broker) as subscriber:
        parts.hand_over.put([counted(0, clock.now_ns())])
        parts.step_until(lambda: parts.delivery.figures.acknowledged == 1)
        broker.stop()
        parts.step_until(lambda: not is_up(parts))
        for number in range(1, 100):
            parts.hand_over.put([counted(number, clock.now_ns())])
            clock.turn(1.0)
            parts.delivery.step(0)
        assert parts.delivery.figures.trouble is Trouble.REFUSED
        assert "nobody listens there" in parts.delivery.figures.sentence
        assert parts.delivery.figures.backlog == 99
        broker.start()

        def all_there() -> bool:
            clock.turn(0.1)
            return parts.delivery.figures.backlog == 0

        parts.step_until(all_there)
        subscriber.wait_for(lambda: len(numbers(subscriber)) == 100)
        arrived = events(subscriber)
        parts.delivery.close("test over")
    assert numbers(subscriber) == list(range(100))
    assert [int(event.sequence) for event in arrived] == list(range(1, 101))
    assert not arrived[0].historical
    assert arrived[1].historical  # it is 99 s old when it is sent at last
    assert not arrived[-1].historical
    assert all(event.time is not msgspec.UNSET for event in arrived)


def test_a_killed_agent_is_declared_offline_with_the_number_of_its_session(broker: Mosquitto, tmp_path: Path) -> None:
    parts = parts_for(broker, tmp_path / "outbox", SystemClock())
    with Subscriber(broker) as subscriber:
        parts.step_until(lambda: is_up(parts))
        parts.step_until(lambda: len(statuses(subscriber)) == 1)
        parts.link.drop()
        subscriber.wait_for(lambda: len(statuses(subscriber)) == 2)
    will = statuses(subscriber)[1]
    assert (will.state, will.session, will.reason) == ("offline", 1, "connection lost")


def test_a_status_forgotten_by_the_broker_is_told_again_with_the_next_session(
    broker: Mosquitto, tmp_path: Path
) -> None:
    clock = TurnedClock()
    parts = parts_for(broker, tmp_path / "outbox", clock)
    parts.delivery.say(camera="ok")
    parts.step_until(lambda: is_up(parts))
    broker.kill()  # it has written nothing yet
    parts.step_until(lambda: not is_up(parts))
    broker.start()

    def back() -> bool:
        clock.turn(0.1)
        return is_up(parts)

    parts.step_until(back)
    with Subscriber(broker) as late:
        parts.step_until(lambda: len(statuses(late)) == 1)
    (told,) = statuses(late)
    assert (told.state, told.session, told.camera) == ("online", 2, "ok")


def test_a_status_is_told_when_it_changes_and_only_then(broker: Mosquitto, tmp_path: Path) -> None:
    clock = TurnedClock()
    parts = parts_for(broker, tmp_path / "outbox", clock)
    with Subscriber(broker) as subscriber:
        parts.step_until(lambda: len(statuses(subscriber)) == 1)
        for camera in ("starting", "starting", "blind"):
            parts.delivery.say(camera=camera, reason="it is dark" if camera == "blind" else None)
            for _ in range(5):
                clock.turn(1.0)
                parts.delivery.step(0.01)
        subscriber.wait_for(lambda: len(statuses(subscriber)) == 3)
    assert [status.camera for status in statuses(subscriber)[1:]] == ["starting", "blind"]
    assert statuses(subscriber)[2].reason == "it is dark"


def test_a_frozen_broker_gets_a_new_connection_and_everything_again(broker: Mosquitto, tmp_path: Path) -> None:
    clock = TurnedClock()
    parts = parts_for(broker, tmp_path / "outbox", clock)
    with Subscriber(broker) as subscriber:
        parts.hand_over.put([counted(0, clock.now_ns())])
        parts.step_until(lambda: parts.delivery.figures.acknowledged == 1)
        broker.freeze()
        parts.hand_over.put([counted(number, clock.now_ns()) for number in range(1, 40)])
        clock.turn(0.1)
        for _ in range(20):
            parts.delivery.step(0.01)
        assert parts.delivery.figures.backlog == 39
        clock.turn(11.0)
        parts.step_until(lambda: not is_up(parts))
        assert parts.delivery.figures.trouble is Trouble.STALLED
        broker.thaw()

        def delivered() -> bool:
            clock.turn(0.1)
            return parts.delivery.figures.backlog == 0

        parts.step_until(delivered)
        subscriber.wait_for(lambda: len(numbers(subscriber)) == 40)
        parts.delivery.close("over")
    assert numbers(subscriber) == list(range(40))


def test_an_access_list_that_refuses_keeps_every_event_and_is_named(tmp_path: Path) -> None:
    acl = ["topic readwrite maskwatch/lab/cam1/status", "topic read maskwatch/#"]
    clock = TurnedClock()
    with Mosquitto(tmp_path / "broker", acl=acl) as broker:
        parts = parts_for(broker, tmp_path / "outbox", clock, report=ReportSettings(discovery=False))
        parts.hand_over.put([counted(number, clock.now_ns()) for number in range(5)])

        def denied() -> int:
            return broker.log.read_text().count("/events")

        def turned(condition: Callable[[], bool]) -> Callable[[], bool]:
            def check() -> bool:
                clock.turn(0.1)
                return condition()

            return check

        parts.step_until(turned(lambda: denied() > 0))
        parts.step_until(lambda: "does not let this device publish events" in parts.delivery.figures.sentence)
        before = denied()
        for _ in range(100):
            parts.delivery.step(0)
        assert denied() == before  # no hot loop
        assert parts.delivery.figures.backlog == 5
        (tmp_path / "broker" / "acl").write_text("topic readwrite maskwatch/#\ntopic readwrite homeassistant/#\n")
        broker.stop()
        broker.start()
        parts.step_until(turned(lambda: parts.delivery.figures.acknowledged == 5))
        assert parts.delivery.figures.sentence == "nobody subscribes to the events"
        parts.delivery.close("over")


def test_a_refused_discovery_does_not_keep_the_events_from_getting_through(tmp_path: Path) -> None:
    clock = TurnedClock()
    with Mosquitto(tmp_path / "broker", acl=["topic readwrite maskwatch/#"]) as broker:
        parts = parts_for(broker, tmp_path / "outbox", clock)
        parts.hand_over.put([counted(number, clock.now_ns()) for number in range(5)])

        def delivered() -> bool:
            clock.turn(0.1)
            return parts.delivery.figures.acknowledged == 5

        parts.step_until(delivered)
        parts.step_until(lambda: is_up(parts))
        parts.delivery.close("over")
    assert parts.delivery.figures.backlog == 0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_fight_over_the_client_id_shows_by_short_lives(broker: Mosquitto, tmp_path: Path, protocol: str) -> None:
    clock = TurnedClock()
    parts = parts_for(broker, tmp_path / "outbox", clock, protocol=protocol)

    def up() -> bool:
        clock.turn(0.1)
        return is_up(parts)

    for _ in range(3):
        parts.step_until(up)
        with Subscriber(broker, name="cam1"):
            parts.step_until(lambda: not is_up(parts))
    assert parts.delivery.figures.trouble is Trouble.TAKEN_OVER
    assert "does another client use this device's id?" in parts.delivery.figures.sentence


def test_a_command_is_handed_out_and_its_answer_goes_where_it_was_asked_for(broker: Mosquitto, tmp_path: Path) -> None:
    parts = parts_for(broker, tmp_path / "outbox", SystemClock())
    with Subscriber(broker, mqtt5=True) as subscriber:
        parts.step_until(lambda: is_up(parts))
        answers_to = IDENTITY.reply + "/desk"
        asked = b'{"command": "ping", "id": "a1"}'
        subscriber.send(IDENTITY.command, asked, ResponseTopic=answers_to, CorrelationData=b"\x00\x01")
        found = []
        for _ in range(500):
            found += parts.delivery.step(0.01)
            if found:
                break
        (request,) = found
        assert (request.command.command, request.command.id) == ("ping", "a1")
        parts.delivery.reply(request, ok=True, message="here")
        parts.step_until(lambda: bool(subscriber.payloads(answers_to)))
        parts.delivery.close("over")
    (payload,) = subscriber.payloads(answers_to)
    assert msgspec.json.decode(payload, type=Reply) == Reply(command="ping", id="a1", ok=True, message="here")
    (message,) = (message for message in subscriber.messages if message.topic == answers_to)
    assert message.properties.CorrelationData == b"\x00\x01"


def test_an_invalid_command_is_answered_and_not_handed_out(broker: Mosquitto, tmp_path: Path) -> None:
    parts = parts_for(broker, tmp_path / "outbox", SystemClock(), protocol="3.1.1")
    with Subscriber(broker) as subscriber:
        parts.step_until(lambda: is_up(parts))
        subscriber.send(IDENTITY.command, b'{"command": "format-disk"}')
        found = []
        for _ in range(500):
            found += parts.delivery.step(0.01)
            if subscriber.payloads(IDENTITY.reply):
                break
        parts.delivery.close("over")
    assert found == []
    (reply,) = (msgspec.json.decode(payload, type=Reply) for payload in subscriber.payloads(IDENTITY.reply))
    assert not reply.ok
    assert "format-disk" in reply.message


def test_home_assistant_gets_its_document_at_the_start_and_when_it_asks(broker: Mosquitto, tmp_path: Path) -> None:
    parts = parts_for(broker, tmp_path / "outbox", SystemClock())
    with Subscriber(broker) as subscriber:
        parts.step_until(lambda: len(subscriber.payloads(IDENTITY.discovery)) == 1)
        subscriber.send("homeassistant/status", b"online")
        parts.step_until(lambda: len(subscriber.payloads(IDENTITY.discovery)) == 2)
        parts.delivery.close("over")
    with Subscriber(broker, name="late") as late:
        late.wait_for(lambda: bool(late.payloads(IDENTITY.discovery)))
        quiet = parts_for(broker, tmp_path / "outbox2", SystemClock(), report=ReportSettings(discovery=False))
        quiet.step_until(lambda: late.payloads(IDENTITY.discovery)[-1] == b"")
        quiet.delivery.close("over")
    with Subscriber(broker, name="later") as later:
        later.wait_for(lambda: bool(later.payloads(IDENTITY.status)))
        assert later.payloads(IDENTITY.discovery) == []


def test_with_a_collector_an_event_stays_until_the_collector_has_stored_it(broker: Mosquitto, tmp_path: Path) -> None:
    clock = TurnedClock()
    parts = parts_for(broker, tmp_path / "outbox", clock, ack_mode="collector")
    with Subscriber(broker) as collector:
        parts.hand_over.put([counted(number, clock.now_ns()) for number in range(30)])
        parts.step_until(lambda: len(numbers(collector)) == 20)  # no more before its first word
        assert parts.delivery.figures.backlog == 30
        collector.send(IDENTITY.ack, b"nonsense")
        collector.send(IDENTITY.ack, msgspec.json.encode({"stream": parts.outbox.stream, "hwm": 20}))
        parts.step_until(lambda: len(numbers(collector)) == 30)
        assert parts.delivery.figures.acknowledged == 20
        parts.step_until(lambda: not parts.delivery._unanswered)  # or the broker would seem to have stalled
        clock.turn(31.0)  # the rest is lost somewhere: it comes again
        parts.step_until(lambda: len(collector.payloads(IDENTITY.events)) == 40)
        assert parts.delivery.figures.backlog == 10
        collector.send(IDENTITY.ack, msgspec.json.encode({"stream": parts.outbox.stream, "hwm": 30}))
        parts.step_until(lambda: parts.delivery.figures.backlog == 0)
        parts.delivery.close("over")


def test_delivery_survives_a_broker_that_comes_and_goes_at_random(broker: Mosquitto, tmp_path: Path) -> None:
    rng = random.Random(20261)
    clock = TurnedClock()
    parts = parts_for(broker, tmp_path / "outbox", clock)
    down = False
    with Subscriber(broker) as subscriber:
        for number in range(300):
            parts.hand_over.put([counted(number, clock.now_ns())])
            clock.turn(0.2)
            parts.delivery.step(0.001)
            if rng.random() < 0.03:
                broker.start() if down else broker.stop()
                down = not down
        if down:
            broker.start()

        def delivered() -> bool:
            clock.turn(0.1)
            return parts.delivery.figures.backlog == 0

        parts.step_until(delivered)
        subscriber.wait_for(lambda: len(numbers(subscriber)) == 300)
        parts.delivery.close("over")
    assert numbers(subscriber) == list(range(300))
