"""What the collector makes of a message: an event, a device that came online, or none of ours."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.collector_parts import BOOT, WALL_MS, event, gap, payload, topic
from tools.fleet.collector.messages import Birth, Event, Rejected, read, same


def altered(**changes: object) -> bytes:
    """Give an event's message with fields changed, or left out where the value is None."""
    envelope = msgspec.json.decode(payload(1)) | changes
    return msgspec.json.encode({name: value for name, value in envelope.items() if value is not None})


def test_an_event_of_the_agent_is_read_in_full() -> None:
    message = payload(17, mono_ms=4_200)

    assert read("maskwatch/lab/cam1/events", message) == Event(
        device="cam1",
        stream="5eed",
        sequence=17,
        site="lab",
        type="maskwatch.counts.v1",
        subject=None,
        boot=BOOT,
        mono_ms=4_200,
        time_ms=WALL_MS + 4_200,
        recorded_ms=WALL_MS + 4_200,
        payload=message.decode(),
        gap=None,
    )


def test_an_event_without_a_trusted_clock_has_no_time() -> None:
    assert event(1, wall_ms=None).time_ms is None


def test_an_event_of_a_type_that_only_a_later_release_knows_is_an_event_all_the_same() -> None:
    found = read(topic(), altered(type="maskwatch.thing.v9", data=[1, {"two": 3}], novelty=True))

    assert isinstance(found, Event)
    assert found.type == "maskwatch.thing.v9"


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "empty"),
        (b"{", "truncated"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[]", "not an object"),
        (b'{"specversion":"1.0"}', "half an envelope"),
        (altered(sequence="000000000000"), "sequences begin with 1"),
        (altered(sequence="1"), "not twelve digits"),
        (altered(sequence="9999999999999"), "thirteen digits"),
        (altered(sequence=7), "a number"),
        (altered(stream="Not A Stream"), "a stream's name"),
        (altered(stream=None), "no stream"),
        (altered(source="/maskwatch/lab/cam2"), "somebody else's source"),
        (altered(source="/maskwatch/elsewhere/cam1"), "another site's source"),
        (altered(monoms="99999999999999999999"), "more than an integer of the database"),
        (altered(type="maskwatch.\0"), "a NUL, which PostgreSQL does not store"),
        (altered(subject="\0"), "a NUL, which PostgreSQL does not store"),
        (altered(time="2026-13-41T00:00:00.000Z"), "no day"),
        (altered(time="2026-11-21T00:00:00.000"), "no zone"),
        (altered(data="x" * 4096), "too large"),
        (payload(1)[:-1] + b',"more":"\xff"}', "no UTF-8 in a field that nobody reads"),
        (payload(1)[:-1] + b',"more":"\0"}', "a NUL in a field that nobody reads"),
        (payload(1, data={"x": "y"}).replace(b'"y"', b'"\0"'), "a NUL in the data"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_event_of_ours_is_rejected_with_a_reason(message: bytes, why: str) -> None:
    found = read(topic(), message)

    assert isinstance(found, Rejected), why
    assert found.why
    assert found.payload == message[:4096]


@pytest.mark.parametrize(
    "name", ["maskwatch/lab/events", "maskwatch/lab/c\0m/events", "maskwatch/l b/cam1/events", "x"]
)
def test_a_topic_that_is_none_of_ours_is_rejected_and_can_be_stored(name: str) -> None:
    found = read(name, payload(1))

    assert isinstance(found, Rejected)
    assert "\0" not in found.topic


@given(st.binary(max_size=300), st.text(max_size=60))
def test_whatever_arrives_is_judged_and_never_raises(message: bytes, name: str) -> None:
    for at in (name, topic(), topic(kind="status")):
        found = read(at, message)
        if isinstance(found, Rejected):
            assert "\0" not in found.topic + found.why


def test_a_gap_names_what_will_not_come() -> None:
    assert gap(9, 3, 8).gap == (3, 8)


@pytest.mark.parametrize(
    "data",
    [
        {"first": 3, "last": 9},
        {"first": 3, "last": 99},
        {"first": 8, "last": 3},
        {"first": 0, "last": 3},
        {},
        [],
        "gap",
    ],
)
def test_a_gap_that_names_itself_or_the_future_or_nonsense_is_stored_and_not_believed(data: object) -> None:
    found = event(9, kind="maskwatch.gap.v1", data=data)

    assert found.gap is None


def test_an_event_that_is_sent_again_as_history_is_the_same_event() -> None:
    assert same(payload(1).decode(), payload(1, historical=True).decode())


@pytest.mark.parametrize("changes", [{"data": {"number": 2}}, {"type": "maskwatch.gap.v1"}, {"monoms": "3"}])
def test_an_event_that_tells_something_else_is_another(changes: dict[str, object]) -> None:
    assert not same(payload(1).decode(), altered(**changes).decode())


def test_a_device_that_comes_online_is_a_birth() -> None:
    status = b'{"state":"online","session":3,"version":"1","stream":"5eed","acknowledged":1000}'

    assert read(topic(kind="status"), status) == Birth(device="cam1", site="lab", stream="5eed", acknowledged=1000)


def test_a_status_that_does_not_name_its_stream_is_a_birth_of_none() -> None:
    found = read(topic(kind="status"), b'{"state":"online","session":3,"version":"1"}')

    assert found == Birth(device="cam1", site="lab", stream=None, acknowledged=0)


@pytest.mark.parametrize("status", [b"", b'{"state":"offline","session":3,"version":"1"}'])
def test_a_device_that_goes_offline_says_nothing_to_a_collector(status: bytes) -> None:
    assert read(topic(kind="status"), status) is None
