"""The power goes while events are written to an ext4: each one whose append returned is there when it comes back."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.events.types import Counts
from tests.delivery_parts import open_outbox
from tests.disks import Ext4, ext4
from tests.integration.agent_process import ROOT
from tests.real import running

CUTS = 8
_RUN = "import sys; from agent.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Ext4]:
    with ext4(tmp_path, megabytes=24) as disk:
        yield disk


def write_until_the_power_goes(card: Ext4, first: int, lines: int) -> int:
    """Let a process store events and cut the power after so many of its lines; gives the last number it had stored."""
    command = [sys.executable, "-m", "tests.integration.outbox_process", str(card.at / "outbox"), str(first)]
    with running(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = [int(process.stdout.readline()) for _ in range(lines)]
        card.cut_power()
        said += [int(line) for line in process.stdout]  # what it said before it met the dead disk counts as said
        complaint = process.stderr.read().strip().splitlines()
    assert process.returncode == 74
    assert complaint[-1].startswith(f"{card.at}/outbox/outbox.db: ")
    return said[-1]


def test_each_event_that_was_stored_survives_power_cuts(card: Ext4) -> None:
    rng = random.Random(2209)
    streams = set()
    acknowledged = -1
    for cut in range(CUTS):
        first = cut * 100_000
        last = write_until_the_power_goes(card, first, rng.randrange(1, 250))
        card.power_on()
        outbox = open_outbox(card.at / "outbox")
        streams.add(outbox.stream)
        rows = outbox.pending(0, 1_000_000)
        found = [msgspec.json.decode(row.data, type=Counts).frames for row in rows]
        assert outbox.previous_stop == "unclean"
        assert [row.sequence for row in rows] == list(range(outbox.acknowledged + 1, outbox.last_sequence + 1))
        ours = [number for number in found if number >= first]
        assert ours == list(range(ours[0], ours[-1] + 1))
        assert ours[-1] >= last
        assert ours[0] == first or outbox.acknowledged > acknowledged  # nothing is gone but what was acknowledged
        acknowledged = outbox.last_sequence
        outbox.acknowledge(outbox.stream, outbox.last_sequence)
        outbox.close(clean=cut % 2 == 0)
    assert len(streams) == 1


def run_agent(directory: Path) -> tuple[int, list[str]]:
    settings = [f"outbox.directory={directory}", "mqtt.url=mqtt://127.0.0.1:9", "camera.source=scene"]
    words = [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, "run", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr.splitlines()


def test_a_start_on_a_read_only_card_is_one_line_and_74(card: Ext4) -> None:
    open_outbox(card.at / "outbox").close(clean=True)
    card.make_read_only()
    code, lines = run_agent(card.at / "outbox")
    assert code == 74
    assert "read-only" in lines[-1]
    assert f"{card.at}/outbox" in lines[-1]
    assert "Traceback" not in "".join(lines)


def test_a_start_on_a_full_card_is_one_line_and_74(card: Ext4) -> None:
    card.fill()
    code, lines = run_agent(card.at / "outbox")
    assert code == 74
    assert "no space left on device" in lines[-1] or "the disk is full" in lines[-1]
    assert f"{card.at}/outbox" in lines[-1]
    assert "Traceback" not in "".join(lines)
