"""What holds of decisions at any frame rate and in any order."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decision.people import People
from agent.decision.votes import Votes
from agent.events.types import Event, PersonEnd, PersonNew
from agent.seams import Look, Track
from agent.settings import DecisionSettings
from tests.scripted import S, box, look

probabilities = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.01, 1)).map(
    lambda raw: (raw[0] / sum(raw), raw[1] / sum(raw), raw[2] / sum(raw))
)
looks = st.builds(
    lambda probs, sharpness, face_px, reason: look(probs, sharpness=sharpness, face_px=face_px, reason=reason),
    probabilities,
    st.floats(0, 1000),
    st.floats(8, 200),
    st.sampled_from([None, None, None, "too_small", "blurred", "dark", "undecided"]),
)
phases = st.lists(st.tuples(st.integers(3, 8), probabilities), min_size=1, max_size=3)  # seconds, what is seen


def story(script: list[tuple[int, tuple[float, float, float]]], fps: int) -> list[Event]:
    """Show one person through phases of seconds at a frame rate, every frame a look, then leave."""
    people = People(DecisionSettings(min_looks=1), run_id="0123456789abcdef")
    whole_s = sum(seconds for seconds, _ in script)
    events: list[Event] = []
    for index in range((whole_s + 3) * fps):
        now_ns = index * S // fps
        left_s = now_ns / S
        probs = None
        for seconds, seen in script:
            if left_s < seconds:
                probs = seen
                break
            left_s -= seconds
        if probs is None:
            events += people.observe([], {}, now_ns, width=640, height=480)
            continue
        track = Track(id=1, box=box(100, 100), seen=True, first_seen_ns=0, last_seen_ns=now_ns)
        events += people.observe([track], {1: look(probs)}, now_ns, width=640, height=480)
    return events


@settings(deadline=None)
@given(phases, st.sampled_from([(5, 15), (5, 30), (10, 30)]))
def test_the_mean_after_equal_seconds_does_not_depend_on_the_frame_rate(
    script: list[tuple[int, tuple[float, float, float]]], rates: tuple[int, int]
) -> None:
    means = []
    for fps in rates:
        votes = Votes()
        begin_ns = 0
        for seconds, probs in script:
            for index in range(seconds * fps):
                votes.add(look(probs), begin_ns + index * S // fps)
            begin_ns += seconds * S
        means.append(votes.means())
    assert all(abs(slow - fast) < 0.08 for slow, fast in zip(*means, strict=True))


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([(0.95, 0.03, 0.02), (0.02, 0.96, 0.02), (0.4, 0.35, 0.25)]), st.sampled_from([2, 5, 15, 30]))
def test_the_same_person_gets_the_same_story_at_any_frame_rate(probs: tuple[float, float, float], fps: int) -> None:
    told = [(type(event.data).__name__, getattr(event.data, "label", "")) for event in story([(6, probs)], fps)]
    assert told == [(type(event.data).__name__, getattr(event.data, "label", "")) for event in story([(6, probs)], 10)]


@given(st.lists(looks, min_size=1, max_size=40), st.integers(1, 1000))
def test_means_are_probabilities(seen: list[Look], step_ms: int) -> None:
    votes = Votes()
    for index, one in enumerate(seen):
        votes.add(one, index * step_ms * 1_000_000)
    assert abs(sum(votes.means()) - 1) < 1e-9
    assert all(0 <= mean <= 1 for mean in votes.means())


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.integers(1, 5), looks, max_size=5), min_size=1, max_size=60),
    st.integers(20, 1500),
    st.randoms(use_true_random=False),
)
def test_each_person_has_one_new_and_one_end_whatever_is_seen_in_whatever_order(
    script: list[dict[int, Look]], step_ms: int, chance: random.Random
) -> None:
    told: list[list[Event]] = []
    for shuffled in (False, True):
        people = People(DecisionSettings(), run_id="0123456789abcdef")
        first_ns: dict[int, int] = {}
        events: list[Event] = []
        for index, seen in enumerate(script):
            now_ns = index * step_ms * 1_000_000
            tracks = [
                Track(
                    id=track_id,
                    box=box(50 * track_id, 100),
                    seen=True,
                    first_seen_ns=first_ns.setdefault(track_id, now_ns),
                    last_seen_ns=now_ns,
                )
                for track_id in seen
            ]
            if shuffled:
                chance.shuffle(tracks)
            events += people.observe(tracks, seen, now_ns, width=640, height=480)
        events += people.finish(len(script) * step_ms * 1_000_000, "stop")
        assert people.present == 0
        told.append(events)
    assert told[0] == told[1]
    new = [event.person for event in told[0] if isinstance(event.data, PersonNew)]
    end = [event.person for event in told[0] if isinstance(event.data, PersonEnd)]
    assert len(set(new)) == len(new)
    assert sorted(map(str, new)) == sorted(map(str, end))
    times = [event.at_ns for event in told[0]]
    assert times == sorted(times)
