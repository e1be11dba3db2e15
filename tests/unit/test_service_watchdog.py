"""Progress: who is alive, who hangs."""

from agent.service.watchdog import make_progress
from tests.unit.service_clock import TestClock


def test_all_is_well_while_every_stage_moves_within_its_bound() -> None:
    clock = TestClock()
    progress = make_progress(clock, camera_s=10, vision_s=10, delivery_s=10)
    for _ in range(5):
        clock.sleep(9)
        assert progress.hung(clock.now_ns()) == []
        for stage in (progress.camera, progress.vision, progress.delivery):
            stage.beat()
    assert progress.vision.beats == 5


def test_one_stage_that_hangs_is_named_although_the_others_move() -> None:
    for hung in ("camera", "vision", "delivery"):
        clock = TestClock()
        progress = make_progress(clock, camera_s=10, vision_s=10, delivery_s=10)
        clock.sleep(11)
        for stage in (progress.camera, progress.vision, progress.delivery):
            if stage.name != hung:
                stage.beat()
        assert progress.hung(clock.now_ns()) == [f"{hung} (11 s)"]


def test_a_stage_that_moves_again_is_well_again() -> None:
    clock = TestClock()
    progress = make_progress(clock, camera_s=10, vision_s=10, delivery_s=10)
    clock.sleep(100)
    assert len(progress.hung(clock.now_ns())) == 3
    for stage in (progress.camera, progress.vision, progress.delivery):
        stage.beat()
    assert progress.hung(clock.now_ns()) == []
