"""What the address bar may ask for."""

from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.fleet.page.filters import BadFilterError, Cursor, Filters, address, parse

MADRID = ZoneInfo("Europe/Madrid")
NAMES = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")


def test_empty_fields_of_a_form_are_no_filters() -> None:
    assert parse([("site", ""), ("label", "mask"), ("q", "")]) == Filters(label="mask")


@pytest.mark.parametrize(
    "pair",
    [
        ("site", "a b"),
        ("device", "x/../y"),
        ("device", "cam1\n"),
        ("label", "masks"),
        ("type", "a b"),
        ("state", "bad"),
        ("page", "0"),
        ("page", "1.5"),
        ("by", "year"),
        ("sort", "password"),
        ("q", "x" * 65),
        ("nothing", "1"),
    ],
)
def test_what_makes_no_sense_is_told_by_its_name(pair: tuple[str, str]) -> None:
    with pytest.raises(BadFilterError, match=pair[0]):
        parse([pair])


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-11-21T10:30+02:00", "0001-01-01", "9999-12-31", "5"])
def test_a_time_that_is_none_is_told(text: str) -> None:
    with pytest.raises(BadFilterError, match="since"):
        parse([("since", text)]).since_ms(MADRID)
    with pytest.raises(BadFilterError, match="until"):
        _ = parse([("until", text)]).until_day


def test_times_are_of_the_zone_and_a_day_is_asked_for_with_its_end() -> None:
    asked = parse([("since", "2026-07-01T10:30"), ("until", "2026-07-01")])

    assert asked.since_ms(MADRID) == 1_782_894_600_000
    assert asked.until_ms(MADRID) == 1_782_943_200_000  # the next midnight in Madrid
    assert parse([("until", "2026-07-01T10:30")]).until_ms(MADRID) == 1_782_894_600_001


@pytest.mark.parametrize("text", ["x", "1.cam1.s", "1.cam1.s.2.3", "1.cam1.S.2", "1.c m.s.2", "9" * 19 + ".c.s.1"])
def test_a_place_in_the_list_that_is_none_is_told(text: str) -> None:
    with pytest.raises(BadFilterError, match="before"):
        _ = parse([("before", text)]).cursor


@given(
    st.builds(
        Cursor,
        st.integers(-(10**17), 10**17),
        NAMES,
        st.from_regex(r"\A[0-9a-z]{1,32}\Z"),
        st.integers(1, 10**12 - 1),
    )
)
def test_a_place_in_the_list_survives_the_address_bar(place: Cursor) -> None:
    asked = parse(parse_qsl(urlsplit(address("/events", Filters(), before=place)).query))

    assert asked.cursor == place


@given(
    st.builds(
        Filters,
        site=st.none() | NAMES,
        label=st.sampled_from([None, "mask", "unsure"]),
        q=st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=64),
        by=st.sampled_from(["hour", "day", "week"]),
        page=st.integers(1, 10_000),
        sort=st.sampled_from(["state", "queue"]),
    )
)
def test_filters_survive_the_address_bar(asked: Filters) -> None:
    assert parse(parse_qsl(urlsplit(address("/", asked)).query, keep_blank_values=True)) == asked


def test_an_address_names_what_is_not_by_default_and_nothing_else() -> None:
    assert address("/devices", Filters(site="lab", page=3), page=1, state="ill") == "/devices?site=lab&state=ill"
    assert address("/", Filters(site="lab"), site=None) == "/"
