"""Telemetry, diagnosis and the line for the service manager."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from agent.delivery.delivery import Figures
from agent.events.state import StageTimes, Telemetry
from agent.pipeline import Stats
from agent.service.reports import CameraReport, Reporter
from agent.service.watchdog import Progress
from agent.settings import CameraSettings, OutboxSettings, Settings
from tests.unit.service_clock import TestClock


class Board:
    """A reporter and everything it reads, to be set by the test."""

    def __init__(self, directory: Path, *, wall_ns: int | None = None, source: str = "scene") -> None:
        self.clock = TestClock(wall_ns=wall_ns)
        self.camera = CameraReport(self.clock)
        self.figures = Figures()
        self.stats = Stats(frames=0, detections=0, faces=0, persons=0, glimpses=0, still_faces=0, blind=None)
        self.stages: dict[str, StageTimes] = {}
        self.progress = Progress(self.clock, 10)
        board = self

        class FakePipeline:
            @property
            def stats(self) -> Stats:
                return board.stats

            def take_stages(self) -> dict[str, StageTimes]:
                taken, board.stages = board.stages, {}
                return taken

        pipeline: Any = FakePipeline()
        detector: Any = SimpleNamespace(accelerator="cpu", why="y" * 500, lost=3)
        self.reporter = Reporter(
            settings=Settings(camera=CameraSettings(source=source), outbox=OutboxSettings(directory=str(directory))),
            pipeline=pipeline,
            camera=self.camera,
            figures=lambda: self.figures,
            progress=self.progress,
            clock=self.clock,
            detector=detector,
        )

    def set_stats(self, **changes: Any) -> None:
        self.stats = msgspec.structs.replace(self.stats, **changes)


def test_telemetry_is_of_the_span_since_the_last_one_and_valid_on_the_wire(tmp_path: Path) -> None:
    board = Board(tmp_path, wall_ns=1_795_000_000_000_000_000)
    board.stages = {"detect": StageTimes(p50_ms=1, p99_ms=2)}
    board.clock.sleep(10)
    board.set_stats(frames=150, faces=9, persons=2)
    board.figures = Figures(stored=5, acknowledged=4, backlog=1, session=3)
    first = board.reporter.periodic()
    assert (first.frames, first.frames_per_s, first.uptime_s) == (150, 15.0, 10.0)
    assert (first.events, first.acknowledged, first.backlog, first.session) == (5, 4, 1, 3)
    assert first.stages == {"detect": StageTimes(p50_ms=1, p99_ms=2)}
    assert first.time != msgspec.UNSET
    assert (first.accelerator, first.accelerator_why, first.accelerator_lost) == ("cpu", "y" * 120, 3)
    assert msgspec.json.decode(msgspec.json.encode(first), type=Telemetry) == first
    board.clock.sleep(10)
    board.set_stats(frames=160)
    second = board.reporter.periodic()
    assert (second.frames_per_s, second.stages) == (1.0, {})


def test_a_diagnosis_between_two_telemetries_takes_nothing_from_them(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.stages = {"detect": StageTimes(p50_ms=1, p99_ms=2)}
    board.clock.sleep(10)
    board.set_stats(frames=100)
    assert board.reporter.since_start().frames_per_s == 10.0
    assert board.reporter.periodic().frames_per_s == 10.0
    assert board.stages == {}


def test_an_unset_clock_gives_no_time(tmp_path: Path) -> None:
    assert Board(tmp_path).reporter.periodic().time is msgspec.UNSET


def test_the_camera_is_starting_ok_blind_or_lost(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.reporter.camera_state() == ("starting", "")
    board.camera.frame()
    assert board.reporter.camera_state() == ("ok", "")
    board.set_stats(blind="black")
    assert board.reporter.camera_state() == ("blind", "camera blind: black")
    board.camera.lost("unplugged")
    assert board.reporter.camera_state() == ("lost", "camera lost: unplugged")
    board.set_stats(blind=None)
    board.camera.frame()
    assert board.reporter.camera_state() == ("ok", "")


def test_the_line_says_what_a_person_wants_to_know(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.reporter.line() == "camera starting; broker away: connecting; 0 events waiting"
    board.camera.frame()
    board.figures = Figures(sentence="connection refused", backlog=4)
    assert board.reporter.line() == "watching; broker away: connection refused; 4 events waiting"
    board.figures = Figures(connected_since_ns=1)
    assert board.reporter.line() == "watching; broker connected; nothing waiting"
    board.camera.lost("unplugged")
    board.figures = Figures(storage="disk full")
    assert board.reporter.line() == "camera lost: unplugged; disk full; 0 events waiting"


def test_a_diagnosis_names_what_hangs_and_no_password(tmp_path: Path) -> None:
    board = Board(tmp_path, source="rtsp://user:secret@camera/1")
    board.clock.sleep(11)
    board.progress.camera.beat()
    board.progress.delivery.beat()
    found = board.reporter.diagnosis()
    assert found["hung"] == "vision (11 s)"
    assert (found["accelerator"], found["accelerator_why"]) == ("cpu", "y" * 120)
    assert [found[f"{name}_quiet_s"] for name in ("camera", "vision", "delivery")] == [0.0, 11.0, 0.0]
    assert "secret" not in str(found)
