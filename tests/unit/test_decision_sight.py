"""Sight: when a camera counts as blind, and how many seconds that makes."""

from agent.decision.sight import Sight
from agent.events.types import BlindReason, CameraBack, CameraBlind, Event
from tests.scripted import S


def watch(sight: Sight, script: list[tuple[float, BlindReason | None]]) -> list[Event]:
    return [event for at_s, wrong in script for event in sight.observe(wrong, round(at_s * S))]


def test_a_short_darkness_is_no_blindness_and_counts_as_watched() -> None:
    sight = Sight(blind_after_s=10)
    assert watch(sight, [(0, None), (1, "black"), (9, "black"), (10, None)]) == []
    assert sight.blind is None
    spent = sight.take_spent()
    assert (spent.watched_ns, spent.blind_ns) == (10 * S, 0)


def test_a_long_darkness_is_told_with_its_beginning_and_its_end() -> None:
    sight = Sight(blind_after_s=10)
    events = watch(sight, [(0, None), (5, None), (6, "black"), (15, "black"), (20, "black")])
    assert [(event.at_ns, event.data) for event in events] == [(15 * S, CameraBlind(reason="black", since_s=10.0))]
    assert sight.blind == "black"
    events = watch(sight, [(25, None)])
    assert [event.data for event in events] == [CameraBack(reason="black", blind_s=20.0)]
    spent = sight.take_spent()
    assert (spent.watched_ns, spent.blind_ns) == (5 * S, 20 * S)
    assert sight.blind is None


def test_a_changing_reason_is_one_blindness() -> None:
    sight = Sight(blind_after_s=10)
    events = watch(sight, [(0, None), (1, "flat"), (8, "black"), (11, "no_frames"), (12, None)])
    assert [event.data for event in events] == [
        CameraBlind(reason="no_frames", since_s=11.0),
        CameraBack(reason="no_frames", blind_s=12.0),
    ]


def test_a_camera_that_never_gave_a_frame_is_blind_from_the_first_wait() -> None:
    sight = Sight(blind_after_s=10)
    events = watch(sight, [(0, "no_frames"), (5, "no_frames"), (10, "no_frames")])
    assert [event.data for event in events] == [CameraBlind(reason="no_frames", since_s=10.0)]


def test_doubtful_seconds_wait_until_they_are_known() -> None:
    sight = Sight(blind_after_s=10)
    watch(sight, [(0, None), (2, None), (6, "black")])
    assert sight.take_spent().watched_ns == 2 * S
    watch(sight, [(12, "black")])
    assert sight.take_spent().blind_ns == 10 * S


def test_at_the_end_doubtful_seconds_were_watched() -> None:
    sight = Sight(blind_after_s=10)
    sight.settle()
    watch(sight, [(0, None), (2, None), (6, "black")])
    sight.settle()
    assert sight.take_spent().watched_ns == 6 * S


def test_a_suspended_machine_has_watched_nothing_meanwhile() -> None:
    sight = Sight(blind_after_s=10)
    assert watch(sight, [(0, None), (5, None), (3605, None), (3606, None)]) == []
    spent = sight.take_spent()
    assert (spent.watched_ns, spent.blind_ns) == (6 * S, 3600 * S)


def test_time_that_goes_backwards_takes_nothing_away() -> None:
    sight = Sight(blind_after_s=10)
    watch(sight, [(5, None), (3, None), (6, None)])
    assert sight.take_spent().watched_ns == 1 * S
