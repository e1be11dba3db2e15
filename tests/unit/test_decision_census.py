"""The census: when counts are told, and what is in them."""

from agent.decision.census import Census
from agent.decision.sight import Sight
from agent.events.types import CameraBlind, Counts, Event, LabelCounts, PersonEnd
from agent.seams import Verdict
from agent.settings import ReportSettings
from tests.scripted import S


def ended(label: Verdict) -> Event:
    end = PersonEnd(
        person="a-1",
        label=label,
        confidence=0.9,
        looks=5,
        seen_s=1.0,
        face_px=30.0,
        box=(0.0, 0.0, 0.1, 0.1),
        duration_s=1.0,
        looks_by_label=LabelCounts(),
        reason="gone",
    )
    return Event(at_ns=0, data=end)


class Day:
    """A census with its sight, told one frame a second."""

    def __init__(self) -> None:
        self.sight = Sight(blind_after_s=10)
        self.census = Census(ReportSettings(), self.sight)
        self.now_s = 0
        self.told: list[tuple[int, Counts]] = []

    def second(self, events: list[Event] | None = None, *, present: int = 0, frames: int = 1) -> None:
        told = events or []
        told = told + self.sight.observe(None if frames else "no_frames", self.now_s * S)
        for event in self.census.observe(told, present, self.now_s * S, frames=frames):
            assert isinstance(event.data, Counts)
            self.told.append((event.at_ns // S, event.data))
        self.now_s += 1


def test_an_idle_scene_is_counted_once_an_hour() -> None:
    day = Day()
    for _ in range(7300):
        day.second()
    assert [at for at, _ in day.told] == [3600, 7200]
    first, second = (counts for _, counts in day.told)
    assert (first.span_s, first.frames, first.watched_s, first.blind_s) == (3600.0, 3601, 3600.0, 0.0)
    assert (second.span_s, second.frames) == (3600.0, 3600)


def test_while_somebody_is_there_counts_come_every_minute() -> None:
    day = Day()
    for second in range(200):
        day.second(present=1 if 30 < second < 130 else 0)
    assert [(at, counts.present) for at, counts in day.told] == [(60, 1), (120, 1), (180, 0)]


def test_after_an_idle_time_the_counts_cover_all_of_it() -> None:
    day = Day()
    for second in range(700):
        day.second(present=1 if second == 650 else 0)
    assert [(at, counts.span_s) for at, counts in day.told] == [(660, 660.0)]


def test_persons_are_counted_by_the_label_they_ended_with() -> None:
    day = Day()
    for label in ("mask", "mask", "no_mask", "unsure", "incorrect"):
        day.second([ended(label)])
    for _ in range(100):
        day.second()
    ((_, counts),) = day.told
    assert counts.ended == LabelCounts(mask=2, no_mask=1, incorrect=1, unsure=1)


def test_a_blind_camera_is_not_an_empty_scene() -> None:
    day = Day()
    for _ in range(10):
        day.second()
    for _ in range(60):
        day.second(frames=0)
    (_, counts) = day.told[0]
    assert (counts.frames, counts.watched_s, counts.blind_s) == (10, 9.0, 51.0)


def test_blindness_is_a_change_worth_counting() -> None:
    day = Day()
    day.second([Event(at_ns=0, data=CameraBlind(reason="black", since_s=10.0))])
    for _ in range(70):
        day.second()
    assert [at for at, _ in day.told] == [60]


def test_at_the_end_the_rest_is_told() -> None:
    day = Day()
    for _ in range(10):
        day.second()
    (event,) = day.census.finish(9 * S)
    assert isinstance(event.data, Counts)
    assert (event.data.span_s, event.data.frames, event.data.watched_s, event.data.present) == (9.0, 10, 9.0, 0)


def test_a_census_that_never_began_tells_nothing() -> None:
    assert Census(ReportSettings(), Sight(blind_after_s=10)).finish(5 * S) == []
