"""What events say in words."""

from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events.types import TYPES
from tools.fleet.page.words import BLIND_WHYS, GAP_WHYS, clean, clock, named, sentence

PERSON = {"person": "1-1", "confidence": 0.93, "looks": 7, "seen_s": 4.0, "face_px": 60.0, "box": [0, 0, 1, 1]}
AGENT = {"version": "1.2", "classifier_sha256": "", "detector_sha256": "", "config_digest": "", "reason": ""}
SAID: dict[str, tuple[dict[str, Any], str]] = {
    "person.new": (PERSON | {"label": "no_mask"}, "A person: no mask (93% after 7 looks)"),
    "person.update": (PERSON | {"label": "mask", "previous": "unsure"}, "A person: mask, not unsure (93%)"),
    "person.end": (
        PERSON | {"label": "incorrect", "duration_s": 6.1, "looks_by_label": {}, "reason": "gone"},
        "A person has gone: worn wrongly, seen for 6 s",
    ),
    "counts": (
        {"span_s": 60, "ended": {"mask": 2, "no_mask": 1}, "present": 0, "frames": 9, "watched_s": 50, "blind_s": 10},
        "In 60 s: 1 no mask, 2 mask; watched for 50 s, blind for 10 s",
    ),
    "agent.start": (AGENT | {"previous_stop": "unclean"}, "Started after it had died, version 1.2"),
    "agent.stop": (AGENT | {"previous_stop": "clean", "reason": "renewed"}, "Stopped, version 1.2 (renewed)"),
    "camera.blind": (
        {"reason": "covered", "since_s": 30},
        "The camera is blind: it is covered, for 30 s already",
    ),
    "camera.back": ({"reason": "black", "blind_s": 90}, "The camera sees again, blind for 90 s (the picture is black)"),
    "gap": (
        {"first": 102, "last": 180, "by_type": {}, "why": "quota"},
        "79 events, 102 to 180, given up: there was no room for them in the device's outbox",
    ),
    "outbox.reset": (
        {"old_stream": "a", "saved": 12, "last_sequence": 40, "why": "it is damaged"},
        "The outbox was set aside and a new stream begun: it is damaged; 12 events saved from it, "
        "the last that was seen in it is number 40",
    ),
}


def message(data: object) -> str:
    return msgspec.json.encode({"data": data}).decode()


@pytest.mark.parametrize("kind", SAID)
def test_every_event_has_a_sentence(kind: str) -> None:
    data, said = SAID[kind]

    assert sentence(f"maskwatch.{kind}.v1", message(data)) == said


def test_no_type_of_the_contract_is_left_without_one() -> None:
    assert {f"maskwatch.{kind}.v1" for kind in SAID} == set(TYPES)


def test_every_reason_of_the_contract_has_its_words() -> None:
    def reasons(kind: str, field: str) -> set[str]:
        (about,) = [one for one in msgspec.structs.fields(TYPES[f"maskwatch.{kind}.v1"]) if one.name == field]
        given: Any = msgspec.inspect.type_info(about.type)
        return set(getattr(given, "type", given).values)

    assert reasons("gap", "why") == set(GAP_WHYS)
    assert reasons("camera.blind", "reason") == reasons("camera.back", "reason") == set(BLIND_WHYS)


@pytest.mark.parametrize("payload", [message({"label": "mask"}), message(None), "{}", "no json", '{"data":"\\ud800"}'])
def test_what_this_release_cannot_read_is_named_by_its_type(payload: str) -> None:
    assert sentence("maskwatch.person.new.v1", payload) == "person.new.v1"
    assert sentence("maskwatch.thing.v9", payload) == "thing.v9"


def test_one_event_is_not_a_run() -> None:
    assert named(7, 7) == "Event 7"


@given(st.text())
def test_nothing_invisible_is_left_and_nothing_else_changes(text: str) -> None:
    found = clean(text)

    assert len(found) == len(text)
    assert all(one.isprintable() or one.isspace() for one in found)
    assert all(a == b or b == "�" for a, b in zip(text, found, strict=True))


def test_a_text_that_would_turn_the_direction_of_the_page_does_not() -> None:
    assert clean("cam\u202e1\x00 °C é 中") == "cam�1� °C é 中"


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_number_of_milliseconds_can_be_written(at_ms: int) -> None:
    assert clock(at_ms, ZoneInfo("Pacific/Auckland"))


def test_a_time_is_of_the_zone() -> None:
    assert clock(1_800_000_000_000, ZoneInfo("Europe/Madrid")) == "2027-01-15 09:00:00"
    assert clock(1_800_000_000_000, ZoneInfo("UTC"), seconds=False) == "2027-01-15 08:00"
