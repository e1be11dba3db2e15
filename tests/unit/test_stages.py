"""Stage times: medians and worst cases since last asked."""

from agent.events.state import StageTimes
from agent.stages import Stages


def test_times_are_quantiles_of_the_runs_since_last_asked() -> None:
    stages = Stages(lambda: 0)
    for milliseconds in range(1, 101):
        stages.add("detect", milliseconds * 1_000_000)
    assert stages.take() == {"detect": StageTimes(p50_ms=50.0, p99_ms=99.0)}
    assert stages.take() == {}
    stages.add("detect", 7_000_000)
    assert stages.take() == {"detect": StageTimes(p50_ms=7.0, p99_ms=7.0)}


def test_only_the_latest_runs_are_kept() -> None:
    stages = Stages(lambda: 0)
    for _ in range(600):
        stages.add("motion", 9_000_000)
    for _ in range(512):
        stages.add("motion", 1_000_000)
    assert stages.take() == {"motion": StageTimes(p50_ms=1.0, p99_ms=1.0)}


def test_a_block_is_timed_by_the_clock_that_was_given() -> None:
    ticks = iter([0, 2_500_000])
    stages = Stages(lambda: next(ticks))
    with stages.time("track"):
        pass
    assert stages.take() == {"track": StageTimes(p50_ms=2.5, p99_ms=2.5)}


def test_a_reader_that_comes_in_the_middle_of_a_stages_first_run_does_not_see_it_yet() -> None:
    stages = Stages(lambda: 0)
    seen: list[dict[str, StageTimes]] = []

    class Rings(dict[str, list[int]]):
        def setdefault(self, stage: str, ring: list[int] | None = None) -> list[int]:
            made = super().setdefault(stage, ring or [])
            seen.append(stages.take())  # as another thread would
            return made

    stages._rings = Rings()
    stages.add("decide", 3_000_000)
    assert seen == [{}]
    assert stages.take() == {"decide": StageTimes(p50_ms=3.0, p99_ms=3.0)}
