"""People: the story of each person, from first sighting to end."""

import msgspec
import pytest

from agent.decision.people import People
from agent.events.types import Event, PersonEnd, PersonNew, PersonUpdate
from agent.seams import Look, Track
from agent.settings import DecisionSettings
from tests.scripted import MASK, MS, NO_MASK, TORN, S, box, look

STEP = 100 * MS
SETTINGS = DecisionSettings()  # 3 s to decide, 2 s to forget, 4 looks, enter 0.80, leave 0.65


class Stage:
    """People and a clock that goes a tenth of a second a frame."""

    def __init__(self, settings: DecisionSettings = SETTINGS) -> None:
        self.people = People(settings, run_id="abcdef0123456789")
        self.now_ns = 0
        self.events: list[Event] = []
        self.first_ns: dict[int, int] = {}
        self.last_ns: dict[int, int] = {}

    def show(self, looks: dict[int, Look | None], *, confirmed: bool = True) -> list[Event]:
        tracks = []
        for track_id in looks:
            self.last_ns[track_id] = self.now_ns
            tracks.append(
                Track(
                    id=track_id,
                    box=box(100 * track_id, 100),
                    seen=True,
                    first_seen_ns=self.first_ns.setdefault(track_id, self.now_ns),
                    last_seen_ns=self.now_ns,
                    confirmed=confirmed,
                )
            )
        seen = {track_id: one for track_id, one in looks.items() if one is not None}
        events = self.people.observe(tracks, seen, self.now_ns, width=640, height=480)
        self.events += events
        self.now_ns += STEP
        return events

    def show_for(self, seconds: float, looks: dict[int, Look | None]) -> None:
        for _ in range(round(seconds * 1000 * MS / STEP)):
            self.show(looks)

    def told(self) -> list[tuple[str, str]]:
        """Give what was told: kind and label."""
        return [(type(event.data).__name__, getattr(event.data, "label", "")) for event in self.events]


def test_a_person_is_told_once_enough_looks_agree_and_ended_once_gone() -> None:
    stage = Stage()
    stage.show_for(2, {1: look(MASK)})
    assert stage.told() == [("PersonNew", "mask")]
    assert stage.events[0].at_ns == 3 * STEP  # the fourth look
    stage.show_for(2.2, {})
    assert stage.told() == [("PersonNew", "mask"), ("PersonEnd", "mask")]
    assert stage.people.present == 0


def test_new_and_end_say_what_the_contract_promises() -> None:
    stage = Stage()
    stage.show_for(2, {1: look(MASK)})
    stage.show_for(2.2, {})
    new, end = (event.data for event in stage.events)
    assert isinstance(new, PersonNew)
    assert isinstance(end, PersonEnd)
    assert (new.person, new.confidence, new.looks, new.seen_s) == ("abcdef01-1", 0.96, 4, 0.3)
    assert (new.face_px, new.box) == (40.0, (0.125, 0.1667, 0.1875, 0.25))
    assert new.reason is msgspec.UNSET
    assert (end.duration_s, end.seen_s, end.reason, end.looks_by_label.mask) == (1.9, 1.9, "gone", 20)
    assert stage.events[1].at_ns == 19 * STEP + 2 * S


def test_a_person_without_a_decision_is_told_as_unsure_after_the_time() -> None:
    stage = Stage()
    stage.show_for(5, {1: look(TORN, reason="undecided")})
    assert stage.told() == [("PersonNew", "unsure")]
    assert stage.events[0].at_ns == 3 * S
    new = stage.events[0].data
    assert isinstance(new, PersonNew)
    assert new.reason == "undecided"


def test_a_person_too_far_away_is_unsure_because_too_small() -> None:
    stage = Stage()
    stage.show_for(5, {1: look(MASK, reason="too_small", face_px=9.0)})
    new = stage.events[0].data
    assert isinstance(new, PersonNew)
    assert (new.label, new.reason, new.looks) == ("unsure", "too_small", 0)


def test_an_unsure_person_gets_a_label_when_one_is_reached() -> None:
    stage = Stage()
    stage.show_for(4, {1: look(TORN, reason="undecided")})
    stage.show_for(10, {1: look(MASK)})
    assert stage.told() == [("PersonNew", "unsure"), ("PersonUpdate", "mask")]
    update = stage.events[1].data
    assert isinstance(update, PersonUpdate)
    assert update.previous == "unsure"


def test_who_takes_the_mask_off_is_told_once_without_a_word_in_between() -> None:
    stage = Stage()
    stage.show_for(5, {1: look(MASK)})
    stage.show_for(20, {1: look(NO_MASK)})
    assert stage.told() == [("PersonNew", "mask"), ("PersonUpdate", "no_mask")]
    assert stage.events[1].at_ns < 5 * S + 8 * S


def test_one_bad_look_does_not_change_a_label() -> None:
    stage = Stage()
    for _ in range(10):
        stage.show_for(1, {1: look(MASK)})
        stage.show({1: look(NO_MASK)})
    assert stage.told() == [("PersonNew", "mask")]


def test_a_label_that_is_doubted_for_long_becomes_unsure() -> None:
    stage = Stage()
    stage.show_for(3, {1: look(MASK)})
    stage.show_for(15, {1: look(TORN, reason="undecided")})
    assert stage.told() == [("PersonNew", "mask"), ("PersonUpdate", "unsure")]


def test_a_short_doubt_changes_nothing() -> None:
    stage = Stage()
    stage.show_for(3, {1: look(MASK)})
    for _ in range(3):
        stage.show_for(3, {1: look(NO_MASK, sharpness=0.0, face_px=10.0)})
        stage.show_for(9, {1: look(MASK)})
    assert stage.told() == [("PersonNew", "mask")]


def test_who_leaves_undecided_after_looks_enough_is_told_and_ended() -> None:
    stage = Stage()
    stage.show_for(1, {1: look(TORN, reason="undecided")})
    stage.show_for(2.2, {})
    assert stage.told() == [("PersonNew", "unsure"), ("PersonEnd", "unsure")]


def test_who_leaves_after_too_few_looks_is_a_glimpse() -> None:
    stage = Stage()
    stage.show_for(0.3, {1: look(MASK)})
    stage.show_for(2.2, {})
    assert stage.told() == []
    assert stage.people.glimpses == 1


def test_what_was_found_only_once_is_nobody() -> None:
    stage = Stage()
    stage.show({1: look(MASK)}, confirmed=False)
    stage.show_for(2.5, {})
    assert (stage.told(), stage.people.glimpses, stage.people.views()) == ([], 0, {})


def test_the_look_before_confirmation_counts() -> None:
    stage = Stage()
    stage.show({1: look(MASK)}, confirmed=False)
    stage.show_for(0.3, {1: look(MASK)})
    assert stage.told() == [("PersonNew", "mask")]


def test_what_is_decided_before_confirmation_is_told_with_it() -> None:
    stage = Stage()
    for _ in range(10):
        stage.show({1: look(MASK)}, confirmed=False)
    assert stage.told() == []
    assert stage.people.decided(1)  # so there is no hurry with the next look
    assert stage.people.views()[1].decision is None
    stage.show({1: None})
    assert stage.told() == [("PersonNew", "mask")]


def test_several_persons_have_their_own_stories_in_the_order_of_their_tracks() -> None:
    stage = Stage()
    stage.show_for(1, {2: look(NO_MASK), 1: look(MASK)})
    persons = [event.person for event in stage.events]
    assert persons == ["abcdef01-1", "abcdef01-2"]
    assert stage.told() == [("PersonNew", "mask"), ("PersonNew", "no_mask")]
    assert stage.people.present == 2


def test_a_stop_ends_everybody_at_once() -> None:
    stage = Stage()
    stage.show_for(1, {1: look(MASK), 2: look(TORN, reason="undecided"), 3: None})
    events = stage.people.finish(stage.now_ns, "stop")
    kinds = [(type(event.data).__name__, event.person, getattr(event.data, "reason", None)) for event in events]
    assert kinds == [
        ("PersonEnd", "abcdef01-1", "stop"),
        ("PersonNew", "abcdef01-2", "undecided"),
        ("PersonEnd", "abcdef01-2", "stop"),
    ]
    assert (stage.people.present, stage.people.glimpses) == (0, 1)


def test_a_track_that_outlives_its_story_begins_no_new_one() -> None:
    stage = Stage()
    stage.show_for(1, {1: look(MASK)})
    stale = Track(id=1, box=box(100, 100), seen=False, first_seen_ns=0, last_seen_ns=900 * MS)
    told = stage.people.observe([stale], {}, 3 * S, width=640, height=480)
    again = stage.people.observe([stale], {}, 3 * S + STEP, width=640, height=480)
    assert [type(event.data) for event in told] == [PersonEnd]
    assert (again, stage.people.present) == ([], 0)


def test_views_tell_what_is_known_of_whom() -> None:
    stage = Stage()
    stage.show_for(1, {1: look(MASK), 2: None})
    views = stage.people.views()
    assert (views[1].person, views[1].decision.label if views[1].decision else None) == ("abcdef01-1", "mask")
    assert (views[2].person, views[2].decision) == (None, None)
    assert stage.people.decided(1)
    assert not stage.people.decided(2)
    assert not stage.people.decided(99)
    assert (stage.people.looked_ns(1), stage.people.looked_ns(2), stage.people.looked_ns(99)) == (9 * STEP, None, None)


@pytest.mark.parametrize("min_looks", [1, 4, 12])
def test_no_label_before_the_looks_it_needs(min_looks: int) -> None:
    stage = Stage(DecisionSettings(min_looks=min_looks))
    stage.show_for(2, {1: look(MASK)})
    new = stage.events[0].data
    assert isinstance(new, PersonNew)
    assert new.looks == min_looks


def test_a_label_that_still_holds_is_kept_even_where_another_one_could_enter() -> None:
    stage = Stage(DecisionSettings(enter=0.4, leave=0.3))
    stage.show_for(3, {1: look((0.6, 0.4, 0.0))})
    stage.show_for(8, {1: look((0.45, 0.55, 0.0))})
    assert stage.told() == [("PersonNew", "mask")]


def test_a_label_that_the_looks_no_longer_favour_when_the_person_leaves_becomes_unsure_before_the_end() -> None:
    stage = Stage()
    stage.show_for(2, {1: look(NO_MASK)})
    stage.show_for(3.5, {1: look((0.70, 0.28, 0.02))})  # not for long enough to change it while the person is there
    assert stage.told() == [("PersonNew", "no_mask")]

    stage.show_for(2.2, {})

    assert stage.told() == [("PersonNew", "no_mask"), ("PersonUpdate", "unsure"), ("PersonEnd", "unsure")]
    update = stage.events[1].data
    assert isinstance(update, PersonUpdate)
    assert (update.previous, update.reason) == ("no_mask", "undecided")


def test_a_label_in_doubt_but_still_the_likeliest_when_the_person_leaves_stays() -> None:
    stage = Stage()
    stage.show_for(2, {1: look(NO_MASK)})
    stage.show_for(2.5, {1: look(TORN)})

    stage.show_for(2.2, {})

    assert stage.told() == [("PersonNew", "no_mask"), ("PersonEnd", "no_mask")]
