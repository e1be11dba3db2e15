"""What the plugin and the marks say, put together: intervals, repetitions, frames; and how answers are compared."""

import subprocess
from pathlib import Path

import pytest

from agent.vision.model import ClassifierManifest, DetectorManifest, load_manifest
from agent.vision.runtime import CpuRuntime, check_golden
from tests.real import need
from tools.arm import guest
from tools.arm.comparing import compare, matched
from tools.arm.counting import intervals, repeated, watched
from tools.arm.guest import MARKED, Answers, Found, KernelRuntime, steps_off

COUNT_C = Path(guest.__file__).with_name("count.c")

# Words as an assembler makes them, and whether they are memory, vector and dot.
WORDS = {
    "add x0, x0, x1": (0x8B010000, 0, 0, 0),
    "b .": (0x14000000, 0, 0, 0),
    "ldr x0, [x1]": (0xF9400020, 1, 0, 0),
    "stp x29, x30, [sp, #-16]!": (0xA9BF7BFD, 1, 0, 0),
    "ldr q0, [x0]": (0x3DC00000, 1, 0, 0),
    "ld1 {v0.16b}, [x0]": (0x4C407000, 1, 0, 0),
    "fadd s0, s1, s2": (0x1E222820, 0, 1, 0),
    "fmla v0.4s, v1.4s, v2.4s": (0x4E22CC20, 0, 1, 0),
    "smlal v0.8h, v1.8b, v2.8b": (0x0E228020, 0, 1, 0),
    "sdot v0.4s, v1.16b, v2.16b": (0x4E829420, 0, 1, 1),
    "udot v0.4s, v1.16b, v2.16b": (0x6E829420, 0, 1, 1),
    "sdot v0.4s, v1.16b, v2.4b[0]": (0x4F82E020, 0, 1, 1),
}

HARNESS = """
#include COUNT_C
#include <stdlib.h>
int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    uint64_t found[KINDS] = {0};
    sort((uint32_t)strtoul(argv[i], NULL, 0), found);
    printf("%d %d %d %d\\n", (int)found[ALL], (int)found[MEMORY], (int)found[VECTOR], (int)found[DOT]);
  }
}
"""


def test_the_plugin_knows_memory_vector_and_dot_product_instructions(tmp_path: Path) -> None:
    compiler = need("gcc", "gcc libc6-dev")
    source, program = tmp_path / "sort.c", tmp_path / "sort"
    source.write_text(HARNESS)
    dropped = ["-ffunction-sections", "-Wl,--gc-sections"]  # what calls QEMU, which is not there to link with
    build = [compiler, f'-DCOUNT_C="{COUNT_C}"', str(source), "-o", str(program), *dropped]
    subprocess.run(build, check=True, timeout=60)
    words = [hex(word) for word, *_ in WORDS.values()]
    said = subprocess.run([program, *words], check=True, capture_output=True, text=True, timeout=10).stdout
    found = {name: tuple(map(int, line.split())) for name, line in zip(WORDS, said.splitlines(), strict=True)}
    assert found == {name: (1, *kinds) for name, (_, *kinds) in WORDS.items()}


def _lines(*costs: int) -> list[str]:
    """Give the plugin's lines for intervals of so many instructions, half of them memory."""
    total, lines = 1000, ["1000 500 0 0"]
    for cost in costs:
        total += cost
        lines.append(f"{total} {total // 2} 0 0")
    return lines


def test_a_mark_s_own_cost_is_taken_off_each_interval() -> None:
    names = [MARKED, MARKED, "", "work", "work", "end"]
    found = intervals(names, _lines(10, 10, 99, 110, 130))
    assert [(one.name, one.executed.all) for one in found] == [("", 89), ("work", 100), ("work", 120)]
    assert found[1].executed.memory == 50


def test_a_mark_that_was_not_counted_is_noticed() -> None:
    with pytest.raises(ValueError, match="2 marks were counted, 3 were made"):
        intervals([MARKED, "work", ""], _lines(10))


def test_repeated_work_is_its_median_and_tells_its_range() -> None:
    names = [MARKED, "work", "work", "work", ""]
    figure = repeated(intervals(names, _lines(0, 100, 104, 300)), "work", suite="trixie", cpu="cortex-a53")
    assert (figure.repetitions, figure.lowest, figure.instructions, figure.highest) == (3, 100, 104, 300)
    assert figure.spread == pytest.approx(200 / 104)


def test_a_frame_is_all_its_intervals_and_frames_that_warm_up_are_not_counted() -> None:
    names = [MARKED, "", "", "p rest", "p detect", "p rest", "", "p rest", "p classify", "p rest", "", ""]
    found = intervals(names, _lines(0, 7777, 1, 10, 1000, 20, 1, 30, 200, 40, 1))
    clip = watched(found, "p", 15, suite="trixie", cpu="cortex-a53")
    assert (clip.frames, clip.nets, clip.rest, clip.highest) == (2, 600, 50, 1030)
    assert (clip.detections, clip.looks) == (0.5, 0.5)


def test_the_nets_of_the_agent_are_as_far_off_as_the_agent_says() -> None:
    for name, kind in (("mask-64", ClassifierManifest), ("face-320", DetectorManifest)):
        manifest, content = load_manifest(name, kind)  # type: ignore[type-var]
        said = check_golden(CpuRuntime(content, manifest.net, where=name), manifest.net, name)
        assert steps_off(KernelRuntime(content, manifest.net, "xnnpack"), manifest.net) == said
        assert steps_off(KernelRuntime(content, manifest.net, "reference"), manifest.net) == 0


def _found(x: float, label: str = "mask") -> Found:
    return Found(box=(x, 0.0, x + 10, 10.0), score=0.9, label=label)


def test_faces_are_paired_with_the_one_they_overlap_most() -> None:
    near, far, alone = _found(0), _found(50), _found(200)
    assert matched([near, far], [_found(51), _found(1), alone]) == [
        (near, _found(1)),
        (far, _found(51)),
        (None, alone),
    ]
    assert matched([near], []) == [(near, None)]


def test_answers_of_another_label_another_step_or_another_face_are_told() -> None:
    ours = Answers(
        golden={},
        logits=[[5, 6, 7], [1, 1, 1]],
        labels=["mask", "unsure"],
        found=[[_found(0)], [_found(0)]],
        persons=["mask"],
    )
    theirs = Answers(
        golden={"mask-64": 1, "face-320": 3},
        logits=[[5, 8, 7], [1, 1, 1]],
        labels=["mask", "no_mask"],
        found=[[_found(1, "no_mask")], []],
        persons=["mask", "no_mask"],
    )
    figure = compare(ours, theirs, suite="trixie", python="3.13", cpu="cortex-a53", kernels="xnnpack")
    assert (figure.logit_steps, figure.faces, figure.labels_changed, figure.unsure_changed) == (2, 3, 1, 1)
    assert (figure.found, figure.found_by_one_only, figure.box_px) == (1, 1, 1.0)
    assert (figure.persons, figure.persons_changed) == (2, 1)
    assert not figure.is_kept
    same = compare(ours, ours, suite="trixie", python="3.13", cpu="cortex-a53", kernels="xnnpack")
    assert same.found_by_one_only == same.labels_changed == same.unsure_changed == same.persons_changed == 0
