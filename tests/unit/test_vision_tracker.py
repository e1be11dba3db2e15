"""The tracker: which face of now is which face of before."""

import math

import pytest

from agent.seams import Box, Face, Track
from agent.vision.assignment import assign
from agent.vision.tracker import SILENT_AFTER_S, TRACKS_MAX, Tracker
from tests.scripted import MS, S, box, face

BOUNDS = Box(0, 0, 640, 480)
STEP = 100 * MS


def tracker() -> Tracker:
    return Tracker(forget_after_s=2.0)


def weak(x: float) -> Face:
    return Face(box=box(x, 100), score=0.3, sure=False)


def ids(tracks: list[Track]) -> list[int]:
    return [track.id for track in tracks]


def test_a_face_is_unconfirmed_until_it_is_found_again() -> None:
    followed = tracker()
    (first,) = followed.update([face(100, 100)], 0, BOUNDS)
    (second,) = followed.update([face(102, 100)], STEP, BOUNDS)
    assert not first.confirmed
    assert second.confirmed
    assert (second.id, second.first_seen_ns, second.last_seen_ns) == (first.id, 0, STEP)


def faint(x: float, y: float = 100, size: float = 40) -> Face:
    return Face(box=box(x, y, size), score=0.5)


def test_what_never_moves_and_is_hardly_like_a_face_is_nobody() -> None:
    followed = tracker()
    for step in range(200):
        tracks = followed.update([faint(300 + step % 2 * 6)], step * STEP, BOUNDS)  # a seventh, to and fro
    assert [track.confirmed for track in tracks] == [False]


def test_what_is_hardly_like_a_face_is_somebody_once_it_has_moved() -> None:
    followed = tracker()
    confirmed = []
    for step in range(60):
        tracks = followed.update([faint(300 + 4 * max(0, step - 30))], step * STEP, BOUNDS)
        confirmed += [track.confirmed for track in tracks]
    assert not any(confirmed[:31])
    assert all(confirmed[45:])


def test_who_stands_still_is_somebody_once_he_is_plainly_a_face() -> None:
    followed = tracker()
    for step in range(10):
        (hardly,) = followed.update([faint(300)], step * STEP, BOUNDS)
    (plain,) = followed.update([Face(box=box(300, 100), score=0.85)], S, BOUNDS)
    (after,) = followed.update([faint(300)], S + STEP, BOUNDS)
    assert [hardly.confirmed, plain.confirmed, after.confirmed] == [False, True, True]


def test_a_face_found_only_once_is_dropped_sooner_than_a_person() -> None:
    followed = tracker()
    followed.update([face(100, 100)], 0, BOUNDS)
    assert followed.update([], 1400 * MS, BOUNDS) != []
    assert followed.update([], 1600 * MS, BOUNDS) == []


def test_a_track_survives_two_missed_detections() -> None:
    followed = tracker()
    followed.update([face(100, 100)], 0, BOUNDS)
    followed.update([face(105, 100)], STEP, BOUNDS)
    (missed,) = followed.update([], 2 * STEP, BOUNDS)
    followed.update([], 3 * STEP, BOUNDS)
    (found,) = followed.update([face(120, 100)], 4 * STEP, BOUNDS)
    assert not missed.seen
    assert (found.id, found.seen) == (missed.id, True)


def test_a_lost_person_is_forgotten_after_the_time_and_not_before() -> None:
    followed = tracker()
    followed.update([face(100, 100)], 0, BOUNDS)
    followed.update([face(100, 100)], STEP, BOUNDS)
    assert len(followed.update([], STEP + 1999 * MS, BOUNDS)) == 1
    assert followed.alive
    assert followed.update([], STEP + 2000 * MS, BOUNDS) == []
    assert not followed.alive


def test_who_comes_back_after_being_forgotten_is_somebody_else() -> None:
    followed = tracker()
    followed.update([face(100, 100)], 0, BOUNDS)
    followed.update([face(100, 100)], STEP, BOUNDS)
    (again,) = followed.update([face(100, 100)], STEP + 2 * S, BOUNDS)
    assert again.id == 2


def test_a_lost_face_is_believed_to_go_on_for_a_moment() -> None:
    followed = tracker()
    for step in range(10):
        followed.update([face(100 + 10 * step, 100)], step * STEP, BOUNDS)
    (soon,) = followed.coast(9 * STEP + 50 * MS)
    (late,) = followed.coast(9 * STEP + 1900 * MS)
    assert 192 < soon.box.centre[0] < 196
    assert 220 < late.box.centre[0] < 240
    assert not late.seen
    (at_once,) = followed.coast(9 * STEP)
    assert at_once.box == box(190, 100)


@pytest.mark.parametrize("fps", [2, 5, 15, 30])
def test_a_person_who_walks_past_stays_one_at_any_frame_rate(fps: int) -> None:
    followed = tracker()
    seen: set[int] = set()
    for index in range(3 * fps):
        x = 20 + 200 * index / fps  # 5 sizes a second
        tracks = followed.update([face(x, 200)], round(index * S / fps), BOUNDS)
        seen |= set(ids(tracks))
    assert seen == {1}


@pytest.mark.parametrize("fps", [5, 15, 30])
def test_two_who_cross_keep_their_identities(fps: int) -> None:
    followed = tracker()
    left_id = right_id = None
    for index in range(4 * fps):
        t = index / fps
        left, right = face(60 + 120 * t, 200), face(580 - 120 * t, 215)
        hidden = abs(left.box.centre[0] - right.box.centre[0]) < 25
        tracks = followed.update([left] if hidden else [left, right], round(t * S), BOUNDS)
        if index == 1:
            left_id, right_id = sorted(ids(tracks), key=lambda one: tracks[one - 1].box.x0)
    (by_x,) = [sorted(tracks, key=lambda track: track.box.x0)]
    assert ids(by_x) == [right_id, left_id]


def test_who_stops_while_hidden_is_found_again_where_he_stopped() -> None:
    followed = tracker()
    for step in range(10):
        followed.update([face(100 + 20 * step, 100)], step * STEP, BOUNDS)
    (again,) = followed.update([face(285, 100)], 9 * STEP + S, BOUNDS)
    assert again.id == 1


def test_who_goes_on_while_hidden_is_found_again_further_on() -> None:
    followed = tracker()
    for step in range(10):
        followed.update([face(100 + 20 * step, 100)], step * STEP, BOUNDS)
    (again,) = followed.update([face(480, 100)], 9 * STEP + S, BOUNDS)
    assert again.id == 1


def walk(followed: Tracker, x: float, speed_px: float, start_ns: int, steps: int = 10) -> list[Track]:
    """Show somebody who makes so many pixels a step."""
    for step in range(steps):
        tracks = followed.update([face(x + speed_px * step, 200)], start_ns + step * STEP, BOUNDS)
    return tracks


def test_who_began_to_walk_while_turned_away_is_found_again_where_that_led_him() -> None:
    followed = tracker()
    walk(followed, 200, 0, 0)
    (first,) = followed.update([], S, BOUNDS)
    tracks = walk(followed, 300, 16, 2 * S)  # 160 px a second now; half of that for 1.1 s is 88
    assert [track.id for track in tracks if track.seen] == [first.id]


def test_who_is_found_elsewhere_and_walks_another_way_is_somebody_else() -> None:
    followed = tracker()
    walk(followed, 200, 0, 0)
    tracks = walk(followed, 300, -16, 2 * S)
    assert [track.id for track in tracks if track.seen] == [2]


def test_who_walks_cannot_turn_round_in_an_instant() -> None:
    followed = tracker()
    walk(followed, 100, 25, 0)
    tracks = followed.update([face(290, 200)], S, BOUNDS)
    assert [track.id for track in tracks if track.seen] == [2]


def test_who_comes_in_over_the_edge_is_not_who_was_lost_in_the_middle() -> None:
    followed = tracker()
    walk(followed, 300, 20, 0)
    tracks = followed.update([face(618, 200)], 9 * STEP + 700 * MS, BOUNDS)
    assert [track.id for track in tracks if track.seen] == [2]


def test_a_large_face_cut_by_the_edge_is_not_the_small_one_that_leaves() -> None:
    followed = tracker()
    for step in range(10):
        followed.update([face(560 + 6 * step, 200, 20)], step * STEP, BOUNDS)
    coming = Face(box=Box(592, 180, 640, 232), score=0.9)
    tracks = followed.update([coming], S, BOUNDS)
    assert [track.id for track in tracks if track.seen] == [2]


def test_who_has_walked_out_does_not_come_back_as_the_next_who_walks_in() -> None:
    followed = tracker()
    for step in range(10):
        followed.update([face(440 + 20 * step, 100)], step * STEP, BOUNDS)
    tracks = followed.update([face(615, 100)], 9 * STEP + S, BOUNDS)
    assert [track.id for track in tracks if track.seen] == [2]


def test_a_face_of_another_size_is_somebody_else() -> None:
    followed = tracker()
    followed.update([face(100, 100, 20)], 0, BOUNDS)
    followed.update([face(100, 100, 20)], STEP, BOUNDS)
    tracks = followed.update([face(100, 100, 60)], 2 * STEP, BOUNDS)
    assert [track.id for track in tracks if track.seen] == [2]


def test_a_jump_across_the_frame_is_somebody_else() -> None:
    followed = tracker()
    followed.update([face(100, 100)], 0, BOUNDS)
    followed.update([face(100, 100)], STEP, BOUNDS)
    tracks = followed.update([face(500, 300)], 2 * STEP, BOUNDS)
    assert [(track.id, track.seen) for track in tracks] == [(1, False), (2, True)]


def test_the_number_of_tracks_is_bounded_and_the_surest_faces_come_first() -> None:
    followed = tracker()
    faces = [Face(box=box(60 * index, 100), score=0.5 + index / 100) for index in range(TRACKS_MAX + 8)]
    tracks = followed.update(faces, 0, BOUNDS)
    assert len(tracks) == TRACKS_MAX
    assert min(track.box.centre[0] for track in tracks) == 8 * 60
    assert len(followed.update([*faces, face(5, 400, 200)], STEP, BOUNDS)) == TRACKS_MAX


def test_a_face_found_twice_in_one_frame_is_one_track() -> None:
    followed = tracker()
    twice = [Face(box=box(100, 100, 24), score=0.6), Face(box=box(102, 103, 34), score=0.5)]
    (first,) = followed.update(twice, 0, BOUNDS)
    assert first.box.width == 24
    (again,) = followed.update([twice[1]], STEP, BOUNDS)
    assert again.id == first.id


def test_an_unsure_face_begins_nobody() -> None:
    assert tracker().update([weak(100)], 0, BOUNDS) == []


def test_unsure_faces_keep_a_person_who_was_sure_for_a_while_and_no_longer() -> None:
    followed = tracker()
    followed.update([face(100, 100)], 0, BOUNDS)
    followed.update([face(100, 100)], STEP, BOUNDS)
    (kept,) = followed.update([weak(104)], 2 * STEP, BOUNDS)
    assert (kept.id, kept.seen, kept.last_seen_ns, kept.box.centre[0]) == (1, False, 2 * STEP, 104)
    for step in range(3, 60):
        tracks = followed.update([weak(104)], step * STEP, BOUNDS)
    assert tracks == []


def test_an_unsure_face_far_off_or_long_after_is_not_taken_for_the_person() -> None:
    followed = tracker()
    followed.update([face(100, 100)], 0, BOUNDS)
    followed.update([face(100, 100)], STEP, BOUNDS)
    (far,) = followed.update([weak(130)], 2 * STEP, BOUNDS)
    (late,) = followed.update([weak(100)], STEP + 600 * MS, BOUNDS)
    assert far.last_seen_ns == late.last_seen_ns == STEP


def test_an_empty_box_is_no_face() -> None:
    followed = tracker()
    assert followed.update([face(100, 100, 0)], 0, BOUNDS) == []


def test_two_trackers_count_for_themselves() -> None:
    first, second = tracker(), tracker()
    assert ids(first.update([face(1, 1), face(300, 1)], 0, BOUNDS)) == [1, 2]
    assert ids(second.update([face(1, 1)], 0, BOUNDS)) == [1]


def test_after_a_reset_nobody_is_there_and_ids_go_on() -> None:
    followed = tracker()
    followed.update([face(100, 100)], 0, BOUNDS)
    followed.reset()
    assert not followed.alive
    assert ids(followed.update([face(100, 100)], STEP, BOUNDS)) == [2]


def still_for(followed: Tracker, seconds: float, *, step_ns: int = STEP, start_ns: int = 0) -> int:
    """Show a poster with a detector's jitter; give the time after."""
    for index in range(round(seconds * S / step_ns)):
        wobble = math.sin(index * 2.4)
        followed.update([face(300 + wobble, 200 + 1.5 * wobble)], start_ns + index * step_ns, BOUNDS)
    return start_ns + round(seconds * S)


def test_a_face_that_never_moves_is_silenced_after_its_time() -> None:
    followed = tracker()
    now_ns = still_for(followed, SILENT_AFTER_S - 1)
    assert (followed.still_faces, followed.alive) == (0, True)
    now_ns = still_for(followed, 2, start_ns=now_ns)
    assert (followed.still_faces, followed.alive) == (1, False)
    (track,) = followed.coast(now_ns)
    assert track.still_s >= SILENT_AFTER_S


def test_a_person_who_sways_is_not_silenced() -> None:
    followed = tracker()
    for index in range(600):
        x = 300 + 8 * math.sin(index * STEP / S * 0.7)  # a fifth of the face, every nine seconds
        followed.update([face(x, 200)], index * STEP, BOUNDS)
    assert followed.still_faces == 0


def test_two_looks_at_one_face_in_one_frame_feed_one_track() -> None:
    followed = tracker()
    for step in range(5):
        both = [Face(box=box(100, 100, 76), score=0.8), Face(box=box(101, 103, 78), score=0.79)]
        tracks = followed.update([*both, Face(box=box(100, 110, 130), score=0.35, sure=False)], step * STEP, BOUNDS)
    assert ids(tracks) == [1]


def test_a_face_that_comes_in_over_the_edge_grows_faster_than_one_in_view() -> None:
    followed = tracker()
    for step, size in enumerate((41, 58, 76)):
        edge = Face(box=Box(640 - size, 150, 640, 150 + size), score=0.8)
        tracks = followed.update([edge], step * 200 * MS, BOUNDS)
    assert ids(tracks) == [1]


def test_a_silenced_face_outlives_somebody_who_stands_in_front_of_it() -> None:
    followed = tracker()
    now_ns = still_for(followed, SILENT_AFTER_S + 2)
    followed.update([], now_ns + 60 * S, BOUNDS)
    (track,) = followed.update([face(300, 200)], now_ns + 61 * S, BOUNDS)
    assert (track.id, followed.still_faces) == (1, 1)
    assert followed.update([], now_ns + 700 * S, BOUNDS) == []


def test_a_silenced_face_that_moves_is_somebody_again() -> None:
    followed = tracker()
    now_ns = still_for(followed, SILENT_AFTER_S + 2)
    for index in range(20):
        followed.update([face(300 + 4 * index, 200)], now_ns + index * STEP, BOUNDS)
    assert (followed.still_faces, followed.alive) == (0, True)
    (track,) = followed.coast(now_ns)
    assert track.first_seen_ns > SILENT_AFTER_S * S


def test_a_poster_that_is_found_only_now_and_then_is_silenced_too() -> None:
    followed = tracker()
    now_ns = 0
    for _ in range(8):
        now_ns = still_for(followed, 5, start_ns=now_ns) + 10 * S
        followed.update([], now_ns, BOUNDS)
    assert followed.still_faces == 1
    assert not followed.alive


def test_the_place_where_somebody_walked_off_is_nobodys() -> None:
    followed = tracker()
    now_ns = still_for(followed, 25)
    for index in range(10):
        followed.update([face(300 + 8 * index, 200)], now_ns + index * STEP, BOUNDS)
    now_ns += 10 * S
    followed.update([], now_ns, BOUNDS)
    still_for(followed, 8, start_ns=now_ns)
    assert followed.still_faces == 0


def test_who_appears_beside_a_poster_is_not_the_poster() -> None:
    followed = tracker()
    now_ns = still_for(followed, SILENT_AFTER_S + 2)
    tracks = followed.update([face(325, 200)], now_ns, BOUNDS)
    assert [track.id for track in tracks if track.seen] == [2]


def test_faces_are_matched_at_the_least_total_cost() -> None:
    assert assign([{0: 1.0, 1: 2.0}, {0: 1.5}]) == [1, 0]


def test_as_many_as_possible_are_matched_before_cheaply() -> None:
    assert assign([{0: 0.0, 1: 100.0}, {0: 0.1}]) == [1, 0]


def test_rows_without_a_column_stay_alone() -> None:
    assert assign([{}, {2: 1.0}, {}]) == [None, 2, None]
    assert assign([]) == []
    assert assign([{0: 1.0}, {0: 0.5}]) == [None, 0]
