"""What the bench of the clips watches is what `maskwatch inspect CLIP` says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bench import generated
from tools.bench.agent import shipped_nets
from tools.bench.clips.watch import SHIPPED, open_clip, watch

pytest.importorskip("skimage", reason="the scene's portraits come with the demo extra")


def test_the_bench_hears_of_the_same_persons_at_the_same_times_as_inspect_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, "CLIP_S", 9.0)
    monkeypatch.setattr(generated, "PERSONS", 3)
    clip = generated.people(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli.main", "inspect", "--json", str(clip)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = watch(open_clip(clip), SHIPPED.pipeline(*shipped_nets()))
    for kind, times in (("new", found.new_s), ("end", found.end_s)):
        told = {line["person"].replace("clip1-", "clip-"): line["t"] for line in lines if line["event"] == kind}
        assert told
        assert {person: pytest.approx(at_s, abs=0.001) for person, at_s in times.items()} == told
    labels = {line["person"].replace("clip1-", "clip-"): line["label"] for line in lines if line["event"] == "end"}
    assert {story.person: story.label for story in found.stories if story.person} == labels
