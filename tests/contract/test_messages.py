"""What goes over the wire: every value of the types, against the committed schema, and back."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.events.envelope import MESSAGE_BYTES_MAX, Stored, decode, encode, is_historical, schema_name
from agent.events.schema import STATES, event_schemas, state_schemas
from agent.events.types import TYPES
from tests.values import values_of
from tools.contract.__main__ import FOLDER, documents

VALIDATORS = {
    name: jsonschema.Draft202012Validator(schema) for name, schema in (event_schemas() | state_schemas()).items()
}


def stored(data: Any, **changes: Any) -> Stored:
    return msgspec.structs.replace(
        Stored(
            stream="f" * 32,
            sequence=999_999_999_999,
            type=data.TYPE,
            person=getattr(data, "person", None),
            boot_id="0" * 32,
            at_ns=2**63 - 1,
            at_wall_ns=1_800_000_000_123_456_789,
            recorded_wall_ns=1_800_000_000_999_999_999,
            data=msgspec.json.encode(data),
        ),
        **changes,
    )


SOURCE = "/maskwatch/" + "s" * 64 + "/" + "d" * 64


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=40, deadline=None)
@given(chance=st.data())
def test_every_event_of_a_type_fits_its_schema_its_size_and_comes_back_the_same(
    name: str, chance: st.DataObject
) -> None:
    data = chance.draw(values_of(TYPES[name]))

    message = encode(stored(data), source=SOURCE, historical=True)

    VALIDATORS[name].validate(json.loads(message))
    assert len(message) <= MESSAGE_BYTES_MAX
    assert decode(message).data == data


@pytest.mark.parametrize("name", STATES)
@settings(max_examples=40, deadline=None)
@given(chance=st.data())
def test_every_other_message_fits_its_schema_and_comes_back_the_same(name: str, chance: st.DataObject) -> None:
    value = chance.draw(values_of(STATES[name]))

    message = msgspec.json.encode(value)

    VALIDATORS[name].validate(json.loads(message))
    assert msgspec.json.decode(message, type=STATES[name]) == value


@pytest.mark.parametrize("name", VALIDATORS)
def test_no_string_is_without_a_maximum_so_no_picture_fits_anywhere(name: str) -> None:
    strings = list(_strings(VALIDATORS[name].schema))

    assert strings, "a message without any string would make this test empty"
    assert all(node.get("maxLength", math.inf) <= 3000 for node in strings)
    if name in TYPES:
        assert sum(node["maxLength"] for node in strings) <= 1500, "an event has no room for even a thumbnail"


def test_a_message_of_an_unknown_type_is_refused_by_name() -> None:
    message = encode(stored(next(_examples("maskwatch.counts.v1"))), source=SOURCE, historical=False)

    with pytest.raises(msgspec.ValidationError) as refusal:
        decode(message.replace(b"maskwatch.counts.v1", b"maskwatch.counts.v9"))

    assert "maskwatch.counts.v9" in str(refusal.value)


def test_a_field_that_the_contract_does_not_know_is_refused() -> None:
    message = json.loads(encode(stored(next(_examples("maskwatch.gap.v1"))), source=SOURCE, historical=False))
    message["data"]["picture"] = "iVBORw0KGgo"

    with pytest.raises(msgspec.ValidationError):
        decode(json.dumps(message).encode())
    with pytest.raises(jsonschema.ValidationError):
        VALIDATORS["maskwatch.gap.v1"].validate(message)


def test_without_a_trusted_clock_no_wall_time_is_given() -> None:
    data = next(_examples("maskwatch.counts.v1"))

    message = json.loads(encode(stored(data, at_wall_ns=None, recorded_wall_ns=None), source=SOURCE, historical=False))

    assert "time" not in message
    assert "recordedtime" not in message
    assert message["timeok"] is False
    assert message["monoms"] == str((2**63 - 1) // 1_000_000)


def test_time_is_written_as_cloudevents_asks_and_sequence_sorts_as_text() -> None:
    data = next(_examples("maskwatch.counts.v1"))
    messages = [
        json.loads(encode(stored(data, sequence=n), source=SOURCE, historical=False)) for n in (1, 9, 10, 123_456)
    ]

    assert messages[0]["time"] == "2027-01-15T08:00:00.123Z"
    assert [m["sequence"] for m in messages] == sorted(m["sequence"] for m in messages)
    assert messages[0]["id"] == "f" * 32 + ".1"


def test_the_committed_documents_are_the_generated_ones() -> None:
    generated = dict(documents())

    committed = {
        str(p.relative_to(FOLDER)): p.read_text("utf-8") for p in FOLDER.rglob("*") if p.suffix != ".md" and p.is_file()
    }

    assert committed == generated, "run `python -m tools.contract` and commit what it writes"


def test_asyncapi_names_a_message_for_each_type_and_every_reference_resolves() -> None:
    text = (FOLDER / "asyncapi.yaml").read_text("utf-8")

    for name in (*TYPES, *STATES):
        file = Path(f"schema/{name.removeprefix('maskwatch.')}.json")
        assert f"./{file}" in text
        assert (FOLDER / file).is_file()


@pytest.mark.parametrize(
    ("boot_id", "happened_wall_s", "now_s", "now_wall_s", "historical"),
    [
        ("this", None, 160, None, False),  # a minute ago to the second
        ("this", None, 161, None, True),
        ("this", 0, 110, 10**6, False),  # the wall clock has jumped: within one boot nobody asks it
        ("before", 1000, 5, 1060, False),
        ("before", 1000, 5, 1061, True),
        ("before", None, 5, 1001, True),  # nobody can tell for how long the board was off
        ("before", 1000, 5, None, True),
    ],
)
def test_an_event_is_history_when_it_is_a_minute_late_or_nobody_can_tell(
    boot_id: str, happened_wall_s: int | None, now_s: int, now_wall_s: int | None, historical: bool
) -> None:
    event = stored(
        next(_examples("maskwatch.counts.v1")),
        boot_id=boot_id,
        at_ns=100 * NS_PER_S,
        at_wall_ns=None if happened_wall_s is None else happened_wall_s * NS_PER_S,
    )

    wall_ns = None if now_wall_s is None else now_wall_s * NS_PER_S
    assert is_historical(event, boot_id="this", now_ns=now_s * NS_PER_S, wall_ns=wall_ns) is historical


def test_schema_names_are_urns_with_the_version_apart() -> None:
    assert schema_name("maskwatch.person.new.v1") == "urn:maskwatch:schema:person.new:v1"


def _strings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") == "string":
            yield node
        for child in node.values():
            yield from _strings(child)
    elif isinstance(node, list):
        for child in node:
            yield from _strings(child)


def _examples(name: str) -> Iterator[Any]:
    from agent.events.types import Counts, Gap, LabelCounts

    yield {
        "maskwatch.counts.v1": Counts(
            span_s=60.0, ended=LabelCounts(mask=2), present=1, frames=900, watched_s=60.0, blind_s=0.0
        ),
        "maskwatch.gap.v1": Gap(first=3, last=9, by_type={"maskwatch.counts.v1": 7}, why="quota"),
    }[name]
