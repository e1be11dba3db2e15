"""docs/boards.md, made of the figures: which board for which frame rate, and how that is known."""

from collections.abc import Callable, Iterable, Sequence

from tools.arm.boards import BOARDS
from tools.arm.figures import Answered, Counted, Estimate, Report, Watched

_HEAD = """# Which board

    make board-arm        # counts anew; a quarter of an hour on four idle cores

Written by that command ({minutes} minutes on {cores} cores beside other work, {emulator});
[boards.json](boards.json) has every figure. **No board was at hand.** The agent's own programs ran for aarch64 under
emulation. That tells exactly how many instructions a frame takes, but not how long a board takes for them: the frames
a second follow from times that others have published for these boards, and are ranges for that reason. Believe the
lower end. `maskwatch bench` measures the same on a board.
"""

_CHOICE = """
## Frames a second

Four people in view, 640x480 pictures, shipped settings, **one** of the board's four cores, taking the picture not
included. A still scene is what a camera at an empty door sees.

"""

_ADVICE = """
15 frames/s is what the agent asks of a camera unless told otherwise, and enough for people who walk. A camera on the
ribbon cable gives pictures as they are; from a USB camera each comes as a JPEG that must be decoded first. The other
cores are free for that, for the broker and the system. On a {smallest} the heaviest frames take {heaviest} ms;
where that is longer than the camera's pace, the newest frame counts and the one before it is left out.
"""

_DOUBT = """
## How sure this is

A second of a core is its clock times the instructions that it does in a cycle (IPC), and only the latter is uncertain.
Almost all of a frame is spent in the two nets. Their IPC comes from MobileNet v2, whose time on these processors is
published and whose instructions were counted here with the same kernels:

{anchors}
The figures for the Raspberry Pi 3 and 4 are of four threads at once: 30 and 17 ms are what four cores need, not one.
The lower end takes it that they shared the work without any loss; the upper end, that four cores did the work of
three, as XNNPACK's own figures for one and four threads on a Raspberry Pi 2 say (google/XNNPACK#970). No figure of an
int8 net on one core of a Raspberry Pi 5 was found: the same core in a telephone, with a float net, is taken at three
quarters to all of its IPC. The rest of a frame, Python and OpenCV, is taken at three quarters to all of what 7-zip
does on these boards (ThomasKaiser/sbc-bench).

What this leaves out: a board that is too hot or badly powered slows down by a third or more. The published time of the
Raspberry Pi 3 B+ is of a 32-bit program, and the Zero 2 W is calculated from it by its clock. First boards of the
Raspberry Pi 4 run at the 1.5 GHz taken here, later ones at 1.8.
"""

_COUNTS = """
## Instructions

Millions, of one thread, counted by a plugin of QEMU between marks in the program; what a mark costs is taken off.
XNNPACK chooses its kernels by the processor, and that of the Raspberry Pi 5 multiplies four bytes at once. From one
time to the next a piece of work differs by at most {spread} %.

"""

_RATES = """
What the pipeline does by the clock and not by the frame (a closer look, another look at a person who has a label) is
shared by more frames where there are more of them. Searches for faces a frame: {calls}
frames/s.

"""

_ANSWERS = """
## The same answers

Beside the golden answers of the manifests, which are those of the reference kernels, and beside this machine's XNNPACK
(with OpenCV {opencv}) on the generated scene, whose people are two portraits in the public domain: {faces} looks at
faces, {frames} frames searched, and the whole scene through the pipeline.

"""

_HALVING = """
On Bookworm XNNPACK's answers are this machine's to the last bit, on all three processors. On Trixie the pictures that
reach the nets are others: its lock has OpenCV 4.14, whose wheel for aarch64 brings KleidiCV, which rounds otherwise
when it halves a frame and is one grey level off in a third of all pixels. Boxes then move by {box_px:.0f} pixels at
most, and a look whose probability is at the threshold may become unsure; no person was decided otherwise.
"""

_ELSEWHERE = """
## Beside what others publish

{table}
## Installed

The wheels of `requirements/board.txt` were installed under emulation by the board's own pip, offline and with each hash
checked, for {pythons}, in roots of Debian arm64 packages that were only
unpacked.
"""


def page(report: Report) -> str:
    """Give the page."""
    found = [_worst(report.estimates, board.name) for board in BOARDS]
    pi_4 = next(estimate for estimate in found if estimate.board == "Raspberry Pi 4 B")
    parts = [
        _HEAD.format(
            minutes=round(report.seconds / 60), cores=report.machine.cores, emulator=report.emulator.split("+")[0]
        ),
        _CHOICE,
        _choice(found),
        _advice(found),
        _ADVICE.format(smallest=found[0].board, heaviest=_range(found[0].heaviest_ms)),
        _DOUBT.format(anchors=_anchors(report)),
        _COUNTS.format(spread=f"{max(100 * figure.spread for figure in report.counted):.2g}"),
        _counted(report.counted),
        _RATES.format(calls=_net_calls(report.watched)),
        _watched(report.watched),
        _ANSWERS.format(
            frames=max(answered.frames for answered in report.answered),
            faces=max(answered.faces for answered in report.answered),
            opencv=report.host_packages["opencv-python-headless"],
        ),
        _answered(report.answered),
        _HALVING.format(box_px=max(one.box_px for one in report.answered if one.kernels == "xnnpack")),
        _ELSEWHERE.format(
            table=_elsewhere(pi_4),
            pythons=" and ".join(
                f"Python {python} ({suite.capitalize()})"
                for suite, python in dict.fromkeys((one.suite, one.python) for one in report.answered)
            ),
        ),
    ]
    return "".join(parts)


def _worst(estimates: Iterable[Estimate], board: str) -> Estimate:
    """Give a board's figures with the widest range that the releases counted leave."""
    mine = [estimate for estimate in estimates if estimate.board == board]

    def widest(of: Callable[[Estimate], tuple[float, float]]) -> tuple[float, float]:
        return min(of(one)[0] for one in mine), max(of(one)[1] for one in mine)

    return Estimate(
        board=board,
        suite="",
        net_ipc=widest(lambda one: one.net_ipc),
        detect_ms=widest(lambda one: one.detect_ms),
        classify_ms=widest(lambda one: one.classify_ms),
        jpeg_ms=widest(lambda one: one.jpeg_ms),
        people_per_s=widest(lambda one: one.people_per_s),
        idle_per_s=widest(lambda one: one.idle_per_s),
        core_at_default=widest(lambda one: one.core_at_default),
        heaviest_ms=widest(lambda one: one.heaviest_ms),
        goal=mine[0].goal,
    )


def _choice(found: Sequence[Estimate]) -> str:
    head = ("board", "four people", "goal", "still scene", "of the core at 15 frames/s", "finding faces", "JPEG")
    rows = [
        (
            one.board,
            f"**{_range(one.people_per_s)}**",
            "-" if one.goal is None else f"{one.goal}, {_verdict(one)}",
            _range(one.idle_per_s),
            f"{_range((100 * one.core_at_default[0], 100 * one.core_at_default[1]))} %",
            f"{_range(one.detect_ms)} ms",
            f"{_range(one.jpeg_ms)} ms",
        )
        for one in found
    ]
    return _table(head, rows)


def _verdict(one: Estimate) -> str:
    assert one.goal is not None
    low, high = one.people_per_s
    return "kept" if low >= one.goal else "in doubt" if high >= one.goal else "missed"


def _advice(found: Sequence[Estimate]) -> str:
    """Name the smallest board for each frame rate."""
    lines = []
    for rate in (15, 30, 60, 90):
        able = next((one.board for one in found if one.people_per_s[0] >= rate), "none of these")
        lines.append(f"- {rate} frames/s: {able}\n")
    return f"\nThe smallest board that keeps up with a camera, by the lower end:\n\n{''.join(lines)}"


def _anchors(report: Report) -> str:
    head = ("processor", "published", "instructions counted", "IPC in the nets")
    seen = {board.cpu: board for board in BOARDS}
    rows = []
    for cpu, board in seen.items():
        anchor = board.anchor
        counted = next(one for one in report.counted if (one.cpu, one.work) == (cpu, anchor.work))
        ipc = next(one.net_ipc for one in report.estimates if one.board == board.name)
        ms = f"{anchor.ms:g} ms, {anchor.threads} thread{'s' * (anchor.threads > 1)}, {anchor.clock_ghz:g} GHz"
        rows.append((cpu, f"{ms} ({anchor.source})", f"{_millions(counted.instructions)} M", _range(ipc, 2)))
    return _table(head, rows)


_WORKS = {
    "detect": "find faces in a 640x480 frame",
    "invoke face-320": "of it the net",
    "classify": "look at a face",
    "invoke mask-64": "of it the net",
    "invoke face-256": "the detector at 256x192",
    "invoke face-480": "the detector at 480x384",
    "invoke face-640": "the detector at 640x480",
    "jpeg": "decode a 640x480 JPEG",
    "reference": "MobileNet v2, int8",
    "reference float": "MobileNet v2, float",
}


def _counted(counted: Sequence[Counted]) -> str:
    columns = list(dict.fromkeys((one.cpu, one.suite) for one in sorted(counted, key=lambda one: one.cpu)))
    cells = {(one.work, one.cpu, one.suite): one for one in counted}
    rows = [
        (name, *(_millions(cells[(work, cpu, suite)].instructions) for cpu, suite in columns))
        for work, name in _WORKS.items()
    ]
    return _table(("work", *(f"{cpu} {suite}" for cpu, suite in columns)), rows)


def _watched(clips: Sequence[Watched]) -> str:
    columns = list(dict.fromkeys((one.cpu, one.suite) for one in sorted(clips, key=lambda one: one.cpu)))
    cells = {(one.scene, one.rate, one.cpu, one.suite): one for one in clips}
    rows = []
    for scene, rate in dict.fromkeys((one.scene, one.rate) for one in clips):
        name = "a still frame" if scene == "idle" else f"a frame with four people at {rate} frames/s"
        mine = [cells[(scene, rate, cpu, suite)] for cpu, suite in columns]
        rows.append((name, *(_millions(one.nets + one.rest) for one in mine)))
        rows.append(("of it outside the nets", *(_millions(one.rest) for one in mine)))
    return _table(("mean of", *(f"{cpu} {suite}" for cpu, suite in columns)), rows)


def _net_calls(clips: Sequence[Watched]) -> str:
    people = {one.rate: one for one in clips if one.scene == "people"}
    return ", ".join(f"{one.detections:.2f} at {rate}" for rate, one in sorted(people.items()))


def _answered(answered: Sequence[Answered]) -> str:
    names = list(answered[0].tolerance)
    golden = [f"{name}, steps of at most {answered[0].tolerance[name]}" for name in names]
    head = ("Debian, Python", "processor", "kernels", *golden, "logits", *_OTHERWISE)
    rows = [
        (
            f"{one.suite}, {one.python}",
            one.cpu,
            one.kernels,
            *(str(one.golden[name]) for name in names),
            f"{one.logit_steps} steps",
            f"{one.labels_changed} of {one.faces}",
            f"{one.unsure_changed}",
            f"{one.found_by_one_only} of {one.found}",
            "-" if one.persons is None else f"{one.persons_changed} of {one.persons}",
        )
        for one in answered
    ]
    return _table(head, rows)


_OTHERWISE = ("another label", "unsure on one side", "faces on one side", "persons decided otherwise")


def _elsewhere(pi_4: Estimate) -> str:
    low, high = pi_4.detect_ms
    rows = (
        (
            "face and mask, a whole program",
            "7.5 frames/s: SSD MobileNet v2 (Qengineering)",
            f"{_range(pi_4.people_per_s)} frames/s with four people",
        ),
        ("finding faces", "5.4 ms: YuNet, float, 160x120", f"{_range((low, high))} ms: 320x256, of a 640x480 frame"),
        (
            "finding faces, overclocked there",
            "65 frames/s: Ultra-Light, 320x240, all cores",
            f"{_range((1000 / high, 1000 / low))} frames/s",
        ),
    )
    return _table(("on a Raspberry Pi 4", "published", "here, one core"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |\n", f"|{'---|' * len(head)}\n"]
    return "".join(lines + [f"| {' | '.join(row)} |\n" for row in rows])


def _range(pair: tuple[float, float], digits: int | None = None) -> str:
    low, high = (_number(value, digits) for value in pair)
    return low if low == high else f"{low}-{high}"


def _number(value: float, digits: int | None) -> str:
    if digits is not None:
        return f"{value:.{digits}f}"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _millions(instructions: float) -> str:
    millions = instructions / 1e6
    return f"{millions:.0f}" if millions >= 100 else f"{millions:.1f}" if millions >= 10 else f"{millions:.2f}"
