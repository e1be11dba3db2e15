"""The real clips' bookkeeping: the truth that was marked, what counts as told, and what a gate changes."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.errors import InputError
from agent.seams import Box, End, Face, Frame, Look, Pixels, Verdict
from agent.settings import Settings
from tools.bench.clips import __main__ as command
from tools.bench.clips.findings import Told, differences, examine, tales
from tools.bench.clips.page import BEGIN, END, Report, aims, opened, tables, write_page
from tools.bench.clips.truth import AIM_PX, Clip, Person, Point, load_truth, presences, timeline
from tools.bench.clips.watch import OPEN, SHIPPED, Gates, Watched, watch
from tools.bench.street.plan import BASE_FPS
from tools.bench.street.watch import Sighting, Story

DOCS = Path(__file__).parents[2] / "docs"


def walker(
    who: str = "anna", *, x: float = 100.0, until_s: float = 6.0, hidden: tuple[float, float] | None = None
) -> Person:
    points = [Point(0.0, x, 100.0, 40.0, 1.0), Point(until_s, x + 60.0, 100.0, 40.0, 1.0)]
    if hidden:
        part = [x + 60.0 * at_s / until_s for at_s in hidden]
        points[1:1] = [Point(hidden[0], part[0], 100.0, 40.0, 0.0), Point(hidden[1], part[1], 100.0, 40.0, 1.0)]
    return Person(who=who, label="mask", path=points)


def story(person: Person, begin_s: float, end_s: float, *, name: str | None = "p1", label: Verdict = "mask") -> Story:
    """Tell of somebody's true boxes from one second to another."""
    sightings = []
    for frame in range(round(begin_s * BASE_FPS), round(end_s * BASE_FPS), 2):
        point = person.at(frame / BASE_FPS)
        assert point is not None
        half = point.size_px / 2
        box = Box(point.x - half, point.y - half, point.x + half, point.y + half)
        sightings.append(Sighting(frame=frame, box=box, looked=True))
    return Story(track=1, person=name, label=label if name else None, sightings=sightings)


def watched(*stories: Story, told: tuple[int, int] = (1, 1)) -> Watched:
    names = [one.person for one in stories if one.person is not None]
    return Watched(
        stories=list(stories),
        frames=list(range(0, 6 * BASE_FPS, 2)),
        detections=10,
        new_s={name: 1.0 + number for number, name in enumerate(names)},
        end_s=dict.fromkeys(names, 5.0),
        told=dict.fromkeys(names, told),
    )


def test_the_marked_truth_has_the_persons_that_were_counted_in_each_clip() -> None:
    counted = {
        name: sum((one.size_px or 0) >= AIM_PX for one in presences(clip, timeline(clip)))
        for name, clip in load_truth().items()
    }
    assert counted == {
        "station": 5,
        "arcade": 2,
        "parking": 1,
        "hallway_walk": 2,
        "hallway_pause": 3,
        "one_by_one": 0,
        "handwash": 5,
    }


def test_the_marked_truth_stays_within_its_clips() -> None:
    for name, clip in load_truth().items():
        for person in clip.person:
            where = f"{name}, {person.who}"
            assert 0 <= person.path[0].at_s < person.path[-1].at_s <= clip.seconds, where
            assert all(0 <= point.shown <= 1 and 8 <= point.size_px <= 100 for point in person.path), where
            steps = zip(person.path, person.path[1:], strict=False)
            assert all(one.at_s < other.at_s for one, other in steps), where
        assert len({person.who for person in clip.person}) == len(clip.person), name


def test_a_path_goes_straight_between_its_points_and_nowhere_beyond_them() -> None:
    person = walker(until_s=6.0, hidden=(2.0, 3.0))
    assert person.at(1.5) == Point(1.5, 115.0, 100.0, 40.0, 1.0)
    hidden = person.at(2.5)
    assert hidden is not None
    assert hidden.shown == 0
    assert person.at(-0.1) is None
    assert person.at(6.1) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\nseconds = 1.0\n[[a.person]]\nwho = 'x'\nlabel = 'mask'\npath = [[0.0, 1, 1, 9, 1]]", "two points"),
        ("[a]\nseconds = 1.0\n[[a.person]]\nwho = 'x'\npath = [[0.0, 1, 1, 9, 1], [1.0, 1, 1, 9, 1]]", "has a label"),
        ("[a]\nseconds = 'long'", "seconds"),
        ("[a", "end of a table"),
    ],
)
def test_a_broken_truth_is_refused_in_one_line_that_names_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "truth.toml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_truth(path)
    assert str(path) in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_who_is_told_in_one_story_is_told_once_and_its_label_is_held_against_the_truth() -> None:
    anna = walker()
    clip = Clip(seconds=6.0, person=[anna])
    right = examine(clip, watched(story(anna, 0.5, 5.5))).persons[0]
    assert (right.counts, right.once, right.said, right.why) == (True, True, "mask", "")
    assert right.clear_s == pytest.approx(6.0, abs=0.1)
    wrong = examine(clip, watched(story(anna, 0.5, 5.5, label="no_mask"))).persons[0]
    assert (wrong.once, wrong.said, wrong.label) == (True, "no_mask", "mask")


def test_one_story_with_two_ends_is_not_told_once() -> None:
    anna = walker()
    assert not examine(Clip(seconds=6.0, person=[anna]), watched(story(anna, 0.5, 5.5), told=(1, 2))).persons[0].once


def test_who_is_told_twice_is_counted_so_with_the_seconds_between_whether_hidden_or_not() -> None:
    hidden = walker(hidden=(2.0, 4.0))
    told = watched(story(hidden, 0.0, 2.0), story(hidden, 4.0, 6.0, name="p2"))
    (one,) = examine(Clip(seconds=6.0, person=[hidden]), told).persons
    assert (one.once, one.times, len(one.told)) == (False, 2, 2)
    assert one.why == "hidden or turned away between, 2.1 s apart"
    plain = walker()
    told = watched(story(plain, 0.0, 2.0), story(plain, 4.0, 6.0, name="p2"))
    assert examine(Clip(seconds=6.0, person=[plain]), told).persons[0].why == "lost in plain sight, 2.1 s apart"


def test_who_was_seen_too_seldom_is_missed_for_that_and_who_was_never_seen_for_that() -> None:
    anna = walker()
    (one,) = examine(Clip(seconds=6.0, person=[anna]), watched(story(anna, 1.0, 1.2, name=None))).persons
    assert one.why == "too few looks, found in 3 of 90 frames, 3 looks"
    (one,) = examine(Clip(seconds=6.0, person=[anna]), watched()).persons
    assert (one.times, one.told, one.why) == (0, [], "never followed, found in 0 of 90 frames, 0 looks")


def test_a_story_that_goes_over_to_somebody_else_says_with_whom_it_is_shared() -> None:
    anna, ben = walker("anna"), walker("ben", x=300.0)
    crossing = story(anna, 0.0, 3.0)
    crossing.sightings += story(ben, 3.0, 4.5).sightings
    verdicts = examine(Clip(seconds=6.0, person=[anna, ben]), watched(crossing, story(anna, 3.2, 6.0, name="p2")))
    assert verdicts.persons[0].told[0].shared == ["ben"]
    assert verdicts.persons[0].why == "mixed up with ben, 0.3 s apart"
    assert verdicts.persons[1].why.startswith("merged with another")


def test_a_story_about_a_head_from_behind_or_about_nothing_is_about_nobody() -> None:
    turned = msgspec.structs.replace(walker("turned"), label=None, turned=True)
    beside = walker("beside", x=400.0)
    clip = Clip(seconds=6.0, person=[turned])
    verdicts = examine(clip, watched(story(turned, 1.0, 3.0), story(beside, 1.0, 3.0, name="p2")))
    assert verdicts.persons == []
    assert [one.what for one in verdicts.nobody] == ["head that shows no face", "background"]


def test_what_is_told_with_a_gate_open_is_compared_by_person_label_and_time() -> None:
    told = [Told(who="anna", label="mask", new_s=1.0, end_s=5.0), Told(who="ben", label="mask", new_s=1.0, end_s=5.0)]
    assert differences(told, list(told)) == []
    later = [msgspec.structs.replace(told[0], new_s=0.4, end_s=5.4), told[1]]
    assert differences(told, later) == ["anna: `new` 0.60 s later"]
    other = [told[0], msgspec.structs.replace(told[1], label="unsure")]
    assert differences(told, other) == ["ben: mask, gate open unsure"]
    more = [*told, Told(who="carl", label="mask", new_s=2.0, end_s=5.0)]
    assert differences(told, more) == ["carl: told 0 times, gate open 1"]
    assert opened(told, more, differences(told, more), 7).lost == ["carl"]


class _Finds:
    """A detector that counts and finds nobody, and a classifier that is sure."""

    def __init__(self) -> None:
        self.searched = 0

    @property
    def input_size(self) -> tuple[int, int]:
        return 320, 256

    def find(self, pixels: Pixels) -> list[Face]:
        self.searched += 1
        return []

    def look(self, pixels: Pixels, boxes: Sequence[Box]) -> list[Look]:
        return [Look(probs=(0.98, 0.01, 0.01), sharpness=900.0, brightness=120.0, face_px=40.0) for _ in boxes]


class _Still:
    """Frames of one grey picture, 2 s of them."""

    live = False

    def __init__(self) -> None:
        self._index = 0

    def __enter__(self) -> "_Still":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def describe(self) -> str:
        return "still"

    def read(self, timeout_s: float) -> Frame | End:
        if self._index == 30:
            return End()
        self._index += 1
        pixels = np.full((200, 260, 3), 90, np.uint8)
        pixels[::7] = 160
        return Frame(pixels=pixels, captured_ns=self._index * 66_000_000, index=self._index)


@pytest.mark.parametrize(
    ("gates", "searches"),
    [(SHIPPED, 1), (OPEN["still frames too"], 30), (OPEN["every frame"], 30)],
)
def test_an_open_gate_searches_still_frames_and_the_shipped_one_does_not(gates: Gates, searches: int) -> None:
    nets = _Finds()
    pipeline = gates.pipeline(nets, nets)
    assert watch(_Still(), pipeline).detections == pipeline.stats.detections == nets.searched
    assert abs(nets.searched - searches) <= 1
    assert Settings().vision.recheck_s == 2.0


def test_the_figures_go_between_the_marks_of_a_page_and_leave_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(page, "new\n")
    write_page(page, "newer\n")
    assert page.read_text() == f"before\n{BEGIN}\nnewer\n{END}\nafter\n"
    page.write_text("nothing")
    with pytest.raises(InputError, match="no place for the figures"):
        write_page(page, "new\n")


def test_the_docs_show_the_figures_that_the_command_wrote() -> None:
    report = msgspec.json.decode((DOCS / "clips.json").read_bytes(), type=Report)
    assert tables(report) in (DOCS / "clips.md").read_text()
    assert report.aims == aims(report.clips)
    assert [clip.name for clip in report.clips] == list(load_truth())


def test_a_clip_that_is_not_the_marked_one_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "open_clip", lambda path: _Still())
    nets = _Finds()
    with pytest.raises(InputError, match=r"station\.mp4: lasts 2\.0 s, and 9\.9 s were marked") as error:
        command.figures_of("station", tmp_path / "station.mp4", load_truth()["station"], (nets, nets))
    assert "\n" not in str(error.value)


def test_without_the_clips_the_command_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "SHARED", tmp_path)
    monkeypatch.setattr(command, "take_one_core", lambda: None)
    monkeypatch.setattr(sys, "argv", ["clips", "station"])
    assert command.main() == 65
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "station.mp4" in err


def test_every_story_is_told_with_one_new_and_one_end() -> None:
    class Walks(_Finds):
        def find(self, pixels: Pixels) -> list[Face]:
            self.searched += 1
            x = 60.0 + 3 * self.searched
            return [Face(box=Box(x, 60.0, x + 40, 100.0), score=0.9)]

    nets = Walks()
    found = watch(_Still(), OPEN["still frames too"].pipeline(nets, nets))
    assert list(found.told.values()) == [(1, 1)]
    (person,) = found.told
    assert 0 < found.new_s[person] <= found.end_s[person] == pytest.approx(30 * 0.066)
    anna = Person(
        who="anna", label="mask", path=[Point(0.0, 80.0, 80.0, 40.0, 1.0), Point(2.0, 170.0, 80.0, 40.0, 1.0)]
    )
    (told,) = tales(Clip(seconds=2.0, person=[anna]), found)
    assert (told.who, told.label) == ("anna", "mask")
