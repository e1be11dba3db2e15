"""How a device is, in one word and the reasons for it."""

import pytest
from msgspec.structs import replace

from tools.fleet.page.health import LEVELS, SILENT_AFTER_MS, Health, State, Status, Telemetry, judge, spell_ms

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
WELL = State(
    device="cam1",
    site="lab",
    online=True,
    camera="ok",
    since_ms=NOW_MS - 7000,
    telemetry=Telemetry(temperature_c=50.0, certificate_days=60.0, disk_free_mb=5000.0, backlog=0),
    telemetry_ms=NOW_MS - 7000,
    every_ms=60_000,
)


def told(**fields: object) -> State:
    return replace(WELL, telemetry=replace(WELL.telemetry, **fields))


def test_a_device_of_which_nothing_bad_is_known_is_well() -> None:
    assert judge(WELL, NOW_MS) == Health("well", ())


@pytest.mark.parametrize(
    ("state", "level", "why"),
    [
        (replace(WELL, online=False, reason="connection lost"), "offline", "connection lost"),
        (replace(WELL, online=False), "offline", "no reason told"),
        (replace(WELL, camera="blind", reason="covered"), "blind", "covered"),
        (replace(WELL, camera="blind"), "blind", "it sees nothing"),
        (replace(WELL, camera="lost"), "blind", "no camera"),
        (replace(WELL, camera="", telemetry=Telemetry(camera="blind")), "blind", "it sees nothing"),
        (replace(WELL, reason="the disk is slow"), "ill", "the disk is slow"),
        (told(temperature_c=80.0), "ill", "hot: 80 °C"),
        (told(throttled=True), "ill", "slowed down by heat or low voltage"),
        (told(certificate_days=6.2), "ill", "its certificate expires in 6 days"),
        (told(certificate_days=-0.1), "ill", "its certificate has expired"),
        (told(disk_free_mb=12.0), "ill", "its disk is nearly full: 12 MB free"),
        (told(backlog=1000), "ill", "1000 events wait to be sent"),
        (replace(WELL, status=Status(insecure=True)), "ill", "it does not verify the broker's certificate"),
        (replace(WELL, telemetry_ms=NOW_MS - SILENT_AFTER_MS - 1, since_ms=0), "silent", "nothing heard for 3 min"),
        (State(device="cam1", site="lab"), "unknown", "never heard of itself"),
        (State(device="cam1", site="lab", event_ms=NOW_MS), "unknown", "its status has not been heard"),
    ],
)
def test_what_is_wrong_is_named(state: State, level: str, why: str) -> None:
    found = judge(state, NOW_MS)

    assert (found.level, found.whys[0]) == (level, why)


@pytest.mark.parametrize(
    "state",
    [
        told(temperature_c=79.9),
        told(certificate_days=14.1),
        told(disk_free_mb=100.0),
        told(backlog=999),
        told(throttled=False),
        replace(WELL, telemetry=Telemetry()),
        replace(WELL, telemetry_ms=NOW_MS - SILENT_AFTER_MS, since_ms=0),
        replace(WELL, telemetry_ms=NOW_MS - 3 * 3_600_000, every_ms=3_600_000, since_ms=0),
        replace(WELL, telemetry_ms=NOW_MS - DAY_MS, since_ms=0, event_ms=NOW_MS - 1000),
        replace(WELL, telemetry_ms=None, every_ms=None, telemetry=Telemetry(), since_ms=NOW_MS - DAY_MS),
    ],
)
def test_what_is_not_quite_wrong_is_well(state: State) -> None:
    assert judge(state, NOW_MS).level == "well"


def test_the_worst_comes_first_and_the_rest_is_said_too() -> None:
    state = replace(told(temperature_c=90.0, backlog=5000), online=False, reason="power")

    assert judge(state, NOW_MS) == Health("offline", ("power", "hot: 90 °C", "5000 events wait to be sent"))


def test_a_certificate_grows_older_while_its_device_is_away() -> None:
    state = replace(told(certificate_days=10.0), telemetry_ms=NOW_MS - 11 * DAY_MS, online=False, reason="power")

    assert state.certificate_days(NOW_MS) == -1
    assert "its certificate has expired" in judge(state, NOW_MS).whys


def test_a_status_that_the_broker_kept_is_no_word_of_a_device_that_is_off() -> None:
    assert replace(WELL, online=False, telemetry_ms=5, since_ms=NOW_MS).heard_ms == 5


def test_every_level_has_its_place() -> None:
    assert LEVELS[0] == "offline"
    assert LEVELS[-1] == "well"


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [(0, "0 s"), (-5, "0 s"), (119_999, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"), (172_800_000, "2 d")],
)
def test_a_span_is_written_in_its_largest_unit(span_ms: int, text: str) -> None:
    assert spell_ms(span_ms) == text
