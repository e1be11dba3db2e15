"""The small parts of delivery: hand-over, back-off, complaints, intake, requests, discovery, presence, credentials."""

import json
import logging
import os
import random
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.backoff import Backoff
from agent.clock import NS_PER_S
from agent.delivery import discovery
from agent.delivery.complaint import Complaint
from agent.delivery.credentials import Credentials
from agent.delivery.handover import HandOver, HandOverFull
from agent.delivery.link import Received, Trouble
from agent.delivery.presence import Presence, Standing
from agent.delivery.reconnect import CONNECT_MAX_S, Reconnect
from agent.delivery.requests import Invalid, Request, answer, parse
from agent.delivery.trouble import Speaker
from agent.errors import ConfigError, NotPermittedError
from agent.events.envelope import MESSAGE_BYTES_MAX
from agent.events.state import Command, Reply, Status
from agent.settings import MqttSettings, ReportSettings
from tests.delivery_parts import IDENTITY, TurnedClock, counted

# --- the hand-over


def test_events_are_taken_in_the_order_in_which_they_were_put() -> None:
    hand_over = HandOver()
    hand_over.put([counted(1), counted(2)])
    hand_over.put([])
    hand_over.put([counted(3)])
    assert len(hand_over) == 3
    assert hand_over.take() == [counted(1), counted(2), counted(3)]
    assert hand_over.take() == []
    hand_over.close()


def test_a_full_hand_over_takes_all_or_nothing_and_says_so() -> None:
    hand_over = HandOver(capacity=3)
    hand_over.put([counted(1), counted(2)])
    with pytest.raises(HandOverFull):
        hand_over.put([counted(3), counted(4)])
    hand_over.put([counted(3)])
    assert len(hand_over.take()) == 3


def test_a_put_ends_the_wait_of_the_taker_and_so_does_a_wake() -> None:
    hand_over = HandOver()
    thread = threading.Thread(target=lambda: hand_over.put([counted(1)]))
    thread.start()
    assert hand_over.take(timeout_s=20) == [counted(1)]
    thread.join()
    hand_over.wake()
    assert hand_over.take(timeout_s=20) == []


# --- back-off and complaints


def test_the_limit_of_the_wait_doubles_up_to_the_longest_and_never_overflows() -> None:
    backoff = Backoff(random.Random(5), shortest_s=0.5, first_s=1.0, longest_s=60.0)
    waits = [backoff.next_ns() / NS_PER_S for _ in range(3000)]
    limits = [min(60.0, 2.0**failure) for failure in range(6)]
    assert all(0.5 <= wait <= limit for wait, limit in zip(waits[:6], limits, strict=True))
    assert max(waits) > 55.0
    assert min(waits[10:]) < 5.0  # full jitter: a fleet does not come back all at once
    backoff.reset()
    assert backoff.next_ns() <= NS_PER_S


def test_what_repeats_is_said_at_once_then_every_thirty_seconds_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = TurnedClock()
    complaint = Complaint(logging.getLogger("agent.test"), "disk.failing", clock)
    with caplog.at_level(logging.INFO, "agent.test"):
        complaint.over()
        for _ in range(70):
            complaint.failing("full")
            clock.turn(1.0)
        complaint.over()
        complaint.over()
    assert [record.getMessage() for record in caplog.records] == [
        "disk.failing why='full' count=1",
        "disk.failing why='full' count=31",
        "disk.failing why='full' count=61",
        "disk.failing.recovered after=70",
    ]


# --- reconnecting


def test_an_attempt_that_ends_in_nothing_is_given_up() -> None:
    clock = TurnedClock()
    reconnect = Reconnect(clock, random.Random(1))
    assert reconnect.is_due
    reconnect.begun()
    assert not reconnect.overdue()
    clock.turn(CONNECT_MAX_S)
    assert reconnect.overdue()


def test_a_wrong_password_is_tried_seldom_and_a_broker_that_restarts_often() -> None:
    clock = TurnedClock()
    tries = {}
    for trouble in (Trouble.CREDENTIALS, Trouble.REFUSED):
        reconnect = Reconnect(clock, random.Random(1))
        end_ns, tries[trouble] = clock.now_ns() + 3600 * NS_PER_S, 0
        while clock.now_ns() < end_ns:
            reconnect.begun()
            reconnect.failed(trouble, "no")
            tries[trouble] += 1
            assert reconnect.due_ns is not None
            clock.turn((reconnect.due_ns - clock.now_ns()) / NS_PER_S)
    assert tries[Trouble.CREDENTIALS] < 45
    assert 60 < tries[Trouble.REFUSED] < 300


def test_only_a_connection_that_lives_counts_as_a_success() -> None:
    after_short_s, after_long_s = [], []
    for seed in range(20):
        clock = TurnedClock()
        reconnect = Reconnect(clock, random.Random(seed))
        waits = []
        for lived_s in [1.0] * 12 + [100.0]:
            reconnect.begun()
            reconnect.succeeded()
            assert (reconnect.trouble, reconnect.due_ns) == (None, None)
            clock.turn(lived_s)
            reconnect.failed(Trouble.BROKER_BUSY, "busy")
            assert reconnect.due_ns is not None
            waits.append((reconnect.due_ns - clock.now_ns()) / NS_PER_S)
        after_short_s.append(waits[11])
        after_long_s.append(waits[12])
    assert max(after_short_s) > 40.0
    assert max(after_long_s) <= 10.0


def test_three_short_lives_that_the_broker_ended_are_a_fight_over_the_client_id_unless_it_said_why() -> None:
    clock = TurnedClock()
    reconnect = Reconnect(clock, random.Random(1))
    seen = []
    for trouble in (Trouble.MESSAGE_REFUSED, Trouble.STALLED, *[Trouble.CLOSED] * 3, Trouble.MESSAGE_REFUSED):
        reconnect.begun()
        reconnect.succeeded()
        clock.turn(5.0)
        reconnect.failed(trouble, "why")
        seen.append(reconnect.trouble)
    assert seen[:4] == [Trouble.MESSAGE_REFUSED, Trouble.STALLED, Trouble.CLOSED, Trouble.CLOSED]
    assert seen[4:] == [Trouble.TAKEN_OVER, Trouble.MESSAGE_REFUSED]


# --- requests


def received(payload: object, **changes: Any) -> Received:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Received(topic=IDENTITY.command, payload=body, **changes)


def test_a_valid_command_is_a_request_and_its_answer_carries_its_marks() -> None:
    request = parse(received({"command": "diag", "id": "7"}, correlation=b"\x01"), IDENTITY)
    assert request == Request(command=Command(command="diag", id="7"), reply_topic=IDENTITY.reply, correlation=b"\x01")
    message = answer(request, ok=True, message="fine", result={"a": 1})
    assert (message.topic, message.qos, message.correlation) == (IDENTITY.reply, 1, b"\x01")
    reply = msgspec.json.decode(message.payload, type=Reply)
    assert reply == Reply(command="diag", id="7", ok=True, message="fine", result={"a": 1})


def test_on_mqtt_3_the_payload_says_where_the_answer_goes() -> None:
    request = parse(received({"command": "ping", "reply_to": IDENTITY.reply + "/me"}), IDENTITY)
    assert isinstance(request, Request)
    assert request.reply_topic == IDENTITY.reply + "/me"


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (received(b"not json"), "JSON"),
        (received(b"\xff\xfe"), ""),
        (received({"command": "explode"}), "explode"),
        (received({"command": "ping", "extra": 1}), "extra"),
        (received({"command": "replay", "first": 0}), "first"),
        (received({"command": "ping"}, retained=True), "retain"),
        (received(b" " * 5000), "4096 bytes"),
        (received({"command": "ping"}, response_topic="maskwatch/lab/cam2/reply"), "nowhere else"),
        (received({"command": "ping"}, response_topic=IDENTITY.status), "nowhere else"),
        (received({"command": "ping"}, response_topic=IDENTITY.reply + "s"), "nowhere else"),
        (received({"command": "ping"}, response_topic=IDENTITY.reply + "/#"), "nowhere else"),
        (received({"command": "ping", "reply_to": "homeassistant/status"}), "nowhere else"),
    ],
)
def test_a_bad_command_is_answered_with_what_is_wrong_at_our_own_topic(bad: Received, word: str) -> None:
    found = parse(bad, IDENTITY)
    assert isinstance(found, Invalid)
    assert found.answer.topic == IDENTITY.reply
    reply = msgspec.json.decode(found.answer.payload, type=Reply)
    assert not reply.ok
    assert word in reply.message
    assert len(reply.message) <= 200


def test_an_answer_too_long_for_a_message_says_that_instead() -> None:
    request = Request(command=Command(command="diag"), reply_topic=IDENTITY.reply)
    message = answer(request, ok=True, message="", result={str(number): "x" * 200 for number in range(40)})
    assert len(message.payload) <= MESSAGE_BYTES_MAX
    assert "does not fit" in msgspec.json.decode(message.payload, type=Reply).message


# --- discovery


def test_home_assistants_document_fits_a_message_and_names_topics_that_exist() -> None:
    message = discovery.document(IDENTITY, wanted=True)
    assert (message.topic, message.qos, message.retain) == ("homeassistant/device/cam1/config", 1, True)
    assert len(message.payload) <= MESSAGE_BYTES_MAX
    document = json.loads(message.payload)
    assert set(document) == {"dev", "o", "cmps"}
    components = document["cmps"].values()
    assert len({component["uniq_id"] for component in components}) == len(components) == 9
    topics = {component["stat_t"] for component in components}
    assert topics == {IDENTITY.events, IDENTITY.telemetry, IDENTITY.status}
    assert all(component["p"] in ("sensor", "binary_sensor") for component in components)
    assert discovery.document(IDENTITY, wanted=False).payload == b""


# --- presence


STANDING = Standing(stream="5eed", acknowledged=40, backlog=5)


def presence(clock: TurnedClock, **changes: Any) -> Presence:
    made: dict[str, Any] = {"report": ReportSettings(), "insecure": False, "telemetry": lambda: None}
    return Presence(IDENTITY, clock=clock, **(made | changes))


def due(made: Presence, *, trouble: str = "", room: int = 20) -> list[str]:
    return [message.topic for message in made.due(session=3, standing=STANDING, trouble=trouble, room=room)]


def test_status_and_discovery_come_first_and_one_by_one_when_there_is_room_for_one() -> None:
    made = presence(TurnedClock())
    made.connected()
    assert due(made, room=1)[0] == IDENTITY.status
    assert not made.introduce(all_answered=False)
    assert due(made, room=0) == []
    assert due(made, room=1) == [IDENTITY.discovery]
    assert due(made, room=1) == []
    assert made.introduce(all_answered=True)
    assert made.introduce(all_answered=False)


def test_a_fluttering_state_is_told_once_a_second_and_then_as_it_is() -> None:
    clock = TurnedClock()
    made = presence(clock)
    made.connected()
    due(made)
    told = []
    for step in range(30):
        clock.turn(0.1)
        made.say(camera="blind" if step % 2 else "ok", reason=None)
        told += due(made)
    assert 2 <= len(told) <= 3
    made.say(camera="lost", reason="")
    assert due(made) == []
    assert made.due_ns(room=1) <= clock.now_ns() + NS_PER_S
    assert made.due_ns(room=0) > clock.now_ns() + NS_PER_S  # nothing can be done: no hurry
    clock.turn(1.0)
    (message,) = made.due(session=3, standing=STANDING, trouble="", room=20)
    assert msgspec.json.decode(message.payload, type=Status).camera == "lost"


def test_delivery_s_own_trouble_is_the_reason_where_nobody_gives_one() -> None:
    made = presence(TurnedClock(), insecure=True)
    made.connected()
    (message, _) = made.due(session=3, standing=STANDING, trouble="the disk is full", room=20)
    status = msgspec.json.decode(message.payload, type=Status)
    assert (status.reason, status.backlog, status.session, status.insecure) == ("the disk is full", 5, 3, True)
    assert (status.stream, status.acknowledged) == ("5eed", 40)  # from there on a collector may expect events


def test_the_will_has_no_time_and_no_backlog_and_the_goodbye_has_both() -> None:
    made = presence(TurnedClock())
    will = msgspec.json.decode(made.will(9).payload, type=Status)
    assert (will.state, will.session) == ("offline", 9)
    assert {will.time, will.backlog, will.stream, will.acknowledged} == {msgspec.UNSET}
    goodbye = msgspec.json.decode(made.goodbye(9, reason="stop", standing=STANDING).payload, type=Status)
    assert (goodbye.state, goodbye.reason, goodbye.backlog) == ("offline", "stop", 5)
    assert goodbye.time is not msgspec.UNSET


def test_telemetry_comes_at_the_start_and_then_every_so_often() -> None:
    clock = TurnedClock()
    asked: list[int] = []

    def telemetry() -> None:
        asked.append(clock.now_ns())

    made = presence(clock, telemetry=telemetry, report=ReportSettings(telemetry_every_s=10.0))
    made.connected()
    for _ in range(25):
        due(made)
        clock.turn(1.0)
    assert len(asked) == 3


def test_a_refused_topic_is_left_alone_for_an_hour() -> None:
    clock = TurnedClock()
    made = presence(clock)
    made.connected()
    assert IDENTITY.discovery in due(made)
    made.refused(IDENTITY.discovery)
    made.home_assistant_started()
    assert IDENTITY.discovery not in due(made)
    clock.turn(3601.0)
    made.home_assistant_started()
    assert IDENTITY.discovery in due(made)


def test_too_many_answers_push_out_the_oldest() -> None:
    made = presence(TurnedClock())
    request = Request(command=Command(command="ping"), reply_topic=IDENTITY.reply)
    for number in range(100):
        made.answer(answer(request, ok=True, message=str(number), result={}))
    messages = made.due(session=1, standing=STANDING, trouble="", room=1000)
    replies = [msgspec.json.decode(m.payload, type=Reply).message for m in messages if m.topic == IDENTITY.reply]
    assert replies == [str(number) for number in range(36, 100)]


# --- credentials


def credentials(environ: dict[str, str] | None = None, **files: object) -> Credentials:
    settings = {"url": "mqtts://broker", **{key: str(value) for key, value in files.items()}}
    return Credentials(msgspec.convert(settings, MqttSettings), environ or {})


def test_without_files_there_is_no_password_and_plain_has_no_tls() -> None:
    assert credentials().password() is None
    assert Credentials(MqttSettings(), {}).tls() is None
    context = credentials().tls()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.write_text(""), "its first line is empty"),
        (lambda path: path.write_text("\nsecret"), "its first line is empty"),
        (lambda path: path.write_bytes(b"\xff\xff\n"), "not what it should be"),
        (lambda path: path.mkdir(), "not what it should be"),
        (lambda path: None, "no such file; correct mqtt.password_file"),
    ],
)
def test_a_bad_password_file_is_one_line_and_78(tmp_path: Path, make: Callable[[Path], object], what: str) -> None:
    path = tmp_path / "password"
    make(path)
    with pytest.raises(ConfigError) as raised:
        credentials(password_file=path).password()
    assert what in str(raised.value)
    assert raised.value.exit_code == 78


@pytest.mark.parametrize("setting", ["ca_file", "cert_file", "key_file"])
def test_a_missing_or_wrong_tls_file_is_named_and_78(tmp_path: Path, setting: str) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    files = {"cert_file": garbage, "key_file": garbage} if setting != "ca_file" else {}
    for path in (tmp_path / "absent.pem", garbage):
        with pytest.raises(ConfigError) as raised:
            credentials(**(files | {setting: path})).tls()
        assert raised.value.exit_code == 78
        assert "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match=setting):
        credentials(**(files | {setting: tmp_path / "absent.pem"})).tls()


def test_an_unreadable_file_is_77(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "password"
    path.write_text("secret")
    path.chmod(0)
    if os.geteuid() == 0:  # whom nothing is forbidden

        def refuse(*_: object, **__: object) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(NotPermittedError) as raised:
        credentials(password_file=path).password()
    assert raised.value.exit_code == 77


# --- the words for what is wrong


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (socket.gaierror(-2, "Name or service not known"), Trouble.DNS),
        (UnicodeError("label too long"), Trouble.DNS),
        (TimeoutError(), Trouble.TIMEOUT),
        (ConnectionRefusedError(111, "refused"), Trouble.REFUSED),
        (ConnectionResetError(104, "reset"), Trouble.CLOSED),
        (OSError(113, "No route to host"), Trouble.UNREACHABLE),
        (OSError(5, "odd {braces}"), Trouble.UNREACHABLE),
        (ssl.SSLEOFError(8, "EOF"), Trouble.CLOSED),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), Trouble.TLS_OTHER),
    ],
)
def test_each_failure_has_a_word_and_a_sentence_with_the_address(error: Exception, trouble: Trouble) -> None:
    speaker = Speaker(MqttSettings(url="mqtts://broker:99"), client_id="cam1")
    found = speaker.of_error(error)
    assert found.trouble is trouble
    assert found.sentence.startswith("broker:99: ")
    assert "\n" not in found.sentence


@pytest.mark.parametrize(
    ("code", "trouble"),
    [(134, Trouble.CREDENTIALS), (133, Trouble.CLIENT_ID), (136, Trouble.BROKER_BUSY), (149, Trouble.CLOSED)],
)
def test_each_refusal_of_a_connection_has_a_word(code: int, trouble: Trouble) -> None:
    speaker = Speaker(MqttSettings(), client_id="cam1")
    assert speaker.of_connack(code, "Packet too large").trouble is trouble


@pytest.mark.parametrize(
    ("code", "trouble"),
    [(139, Trouble.BROKER_BUSY), (141, Trouble.TIMEOUT), (128, Trouble.CLOSED), (147, Trouble.CLOSED)],
)
def test_each_end_of_a_connection_has_a_word(code: int, trouble: Trouble) -> None:
    speaker = Speaker(MqttSettings(), client_id="cam1")
    assert speaker.of_disconnect(code, "Receive maximum exceeded").trouble is trouble
