"""From instructions to frames a second, board by board: pure arithmetic on figures counted here and published there.

A second of a board's core is clock x IPC instructions. The nets' IPC comes from a net of the same make, MobileNet v2,
counted here and timed by others on the board's core; that of everything else from 7-zip's, whose MIPS are such
instructions. At r frames/s the pipeline needs a x r + b instructions a second: b is what it does by the clock (the
closer look, the second look at a person), whatever the frame rate. The highest r that a core keeps up with follows.
"""

from collections.abc import Sequence

import msgspec

from tools.arm.figures import Counted, Estimate, Watched

_PER_GHZ = 1e9
# XNNPACK's own figures for four threads beside one, on a Raspberry Pi 2 (google/XNNPACK#970, MobileNet v2: 661 and 220
# ms): four cores did the work of three.
_FOUR_CORES_DO = 3.0
# A single-thread figure needs no such care, but ours is another core's neighbour: a quarter is left for that.
_DOUBT = 0.75


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """A published time of a net that is counted here: work names it. threads: cores that shared it."""

    work: str
    ms: float
    threads: int
    clock_ghz: float
    source: str


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a board. general_ipc: 7-zip's single-thread MIPS a MHz. goal: frames/s with people, or none."""

    name: str
    cpu: str
    clock_ghz: float
    anchor: Anchor
    general_ipc: float
    goal: int | None = None


_XNNPACK = "XNNPACK's README, 8 February 2022"
_PI_3 = Anchor(work="reference", ms=30, threads=4, clock_ghz=1.4, source=f"{_XNNPACK}: Raspberry Pi 3 B+, 32-bit")
_PI_4 = Anchor(work="reference", ms=17, threads=4, clock_ghz=1.5, source=f"{_XNNPACK}: Raspberry Pi 4, 64-bit")
_A76 = Anchor(
    work="reference float",
    ms=19.13,
    threads=1,
    clock_ghz=2.84,
    source="tensorflow/tensorflow#37890: Pixel 4, whose fastest core is a Cortex-A76, one thread, float",
)
# 7-zip single-threaded of sbc-bench's results: Zero 2 838 at 1000 MHz, 3 B+ 856 at 1400, 4 B 1606 at 1500, and for the
# Cortex-A76 ROCK 5B 3146 at 2350.
BOARDS = (
    Board(name="Raspberry Pi Zero 2 W", cpu="cortex-a53", clock_ghz=1.0, anchor=_PI_3, general_ipc=0.84, goal=15),
    Board(name="Raspberry Pi 3 B", cpu="cortex-a53", clock_ghz=1.2, anchor=_PI_3, general_ipc=0.61),
    Board(name="Raspberry Pi 3 B+", cpu="cortex-a53", clock_ghz=1.4, anchor=_PI_3, general_ipc=0.61),
    Board(name="Raspberry Pi 4 B", cpu="cortex-a72", clock_ghz=1.5, anchor=_PI_4, general_ipc=1.07, goal=30),
    Board(name="Raspberry Pi 5", cpu="cortex-a76", clock_ghz=2.4, anchor=_A76, general_ipc=1.34, goal=90),
)


def estimates(counted: Sequence[Counted], watched: Sequence[Watched]) -> list[Estimate]:
    """Give what each board does with each Debian release that was counted."""
    suites = dict.fromkeys(figure.suite for figure in watched)
    return [estimate(board, suite, counted, watched) for board in BOARDS for suite in suites]


def estimate(board: Board, suite: str, counted: Sequence[Counted], watched: Sequence[Watched]) -> Estimate:
    """Give what one board does. Raises KeyError or StopIteration where a figure is missing."""
    work = {figure.work: figure.instructions for figure in counted if (figure.suite, figure.cpu) == (suite, board.cpu)}
    clips = [figure for figure in watched if (figure.suite, figure.cpu) == (suite, board.cpu)]
    people = [clip for clip in clips if clip.scene == "people"]
    idle = next(clip for clip in clips if clip.scene == "idle")
    nets_low, nets_high = net_ipc(board.anchor, work[board.anchor.work])
    low = Speed(nets_low * board.clock_ghz, _DOUBT * board.general_ipc * board.clock_ghz)
    high = Speed(nets_high * board.clock_ghz, board.general_ipc * board.clock_ghz)
    default = next(clip for clip in people if clip.rate == min(other.rate for other in people))

    def detect_ms(speed: Speed) -> float:
        return 1000 * speed.seconds(work["invoke face-320"], work["detect"] - work["invoke face-320"])

    def classify_ms(speed: Speed) -> float:
        return 1000 * speed.seconds(work["invoke mask-64"], work["classify"] - work["invoke mask-64"])

    def heaviest_ms(speed: Speed) -> float:
        return 1000 * speed.seconds(default.highest - default.rest, default.rest)

    return Estimate(
        board=board.name,
        suite=suite,
        net_ipc=_pair(nets_low, nets_high, 2),
        detect_ms=_pair(detect_ms(high), detect_ms(low), 1),
        classify_ms=_pair(classify_ms(high), classify_ms(low), 2),
        jpeg_ms=_pair(1000 * high.seconds(0, work["jpeg"]), 1000 * low.seconds(0, work["jpeg"]), 1),
        people_per_s=_pair(frames_per_s(people, low), frames_per_s(people, high), 0),
        idle_per_s=_pair(1 / low.seconds(idle.nets, idle.rest), 1 / high.seconds(idle.nets, idle.rest), 0),
        core_at_default=_pair(
            default.rate * high.seconds(default.nets, default.rest),
            default.rate * low.seconds(default.nets, default.rest),
            2,
        ),
        heaviest_ms=_pair(heaviest_ms(high), heaviest_ms(low), 0),
        goal=board.goal,
    )


class Speed(msgspec.Struct, frozen=True):
    """Billions of instructions a second of one core: in the nets, and in everything else."""

    nets: float
    rest: float

    def seconds(self, nets: float, rest: float) -> float:
        """Give the time that so many instructions take."""
        return nets / (self.nets * _PER_GHZ) + rest / (self.rest * _PER_GHZ)


def net_ipc(anchor: Anchor, instructions: int) -> tuple[float, float]:
    """Give the least and the most instructions a cycle that a core may have done in the published time.

    Four threads: the least if they shared the work without loss, the most if four cores did the work of three.
    """
    cycles = anchor.ms / 1000 * anchor.clock_ghz * _PER_GHZ * anchor.threads
    found = instructions / cycles
    return (found, found * anchor.threads / _FOUR_CORES_DO) if anchor.threads == 4 else (found * _DOUBT, found)


def frames_per_s(clips: Sequence[Watched], speed: Speed) -> float:
    """Give the highest frame rate that one core keeps up with, from the same scene watched at several rates."""
    per_frame_s, per_second = line([(clip.rate, clip.rate * speed.seconds(clip.nets, clip.rest)) for clip in clips])
    return max(0.0, 1 - per_second) / per_frame_s


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Give slope and height at zero of the straight line through points, by least squares."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return slope, mean_y - slope * mean_x


def _pair(low: float, high: float, digits: int) -> tuple[float, float]:
    return round(low, digits), round(high, digits)
