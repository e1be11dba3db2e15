"""The fault suite as a command: a few of its faults for real, its mutants found out, and nothing left after Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.real import need, running, wait_for
from tools.chaos.rows import Report, Row

ROOT = Path(__file__).parents[2]


def chaos(*words: str, out: Path) -> tuple[int, list[Row]]:
    """Run the suite; give its exit code and its rows."""
    need("mosquitto", "mosquitto")
    command = [sys.executable, "-m", "tools.chaos", "--seed", "7", "--out", str(out), *words]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=110)
    assert (out / "chaos.json").exists(), done.stderr
    return done.returncode, msgspec.json.decode((out / "chaos.json").read_bytes(), type=Report).rows


def test_kills_and_cut_connections_lose_nothing_and_leave_nothing_uncounted(tmp_path: Path) -> None:
    code, rows = chaos("--smoke", "--only", "agent,cut", out=tmp_path)
    assert code == 0, (tmp_path / "chaos.md").read_text()
    kills, cuts = rows
    assert kills.sigkills == kills.injected == 6
    assert cuts.injected == 3
    for row in rows:
        assert row.verdict.delivered == row.verdict.decided > 50
        assert row.unrecovered == 0


def test_a_collector_that_acknowledges_before_it_commits_is_found_out(tmp_path: Path) -> None:
    code, (row,) = chaos("--prove", "--only", "early", out=tmp_path)
    assert code == 0
    assert row.verdict.lost


def test_an_outbox_that_does_not_sync_is_found_out(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a loop device")
    code, (row,) = chaos("--prove", "--only", "off", out=tmp_path)
    if row.not_run:
        pytest.skip(row.not_run)
    assert code == 0
    assert row.verdict.lost


def test_a_fault_that_cannot_be_had_says_why_and_fails_nothing(tmp_path: Path) -> None:
    need("mosquitto", "mosquitto")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tools.chaos", "--smoke", "--only", "full", "--out", str(out)]
    if os.geteuid() == 0:
        command = [need("setpriv", "util-linux"), "--bounding-set=-all", "--inh-caps=-all", *command]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    (row,) = msgspec.json.decode((out / "chaos.json").read_bytes(), type=Report).rows
    assert row.not_run
    assert done.returncode == 0


def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    command = [sys.executable, "-m", "tools.chaos", "--only", "agnet"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "agnet: the faults are agent, broker" in done.stderr


def test_ctrl_c_ends_everything_that_was_begun(tmp_path: Path) -> None:
    need("mosquitto", "mosquitto")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tools.chaos", "--seconds", "600", "--only", "agent", "--out", str(out)]
    with running(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        ledger = out / "rigs" / "agent" / "ledger"
        log = out / "rigs" / "agent" / "agent-2.log"
        wait_for(lambda: ledger.exists() and log.exists() and b"connected" in log.read_bytes(), 30, "the rig")
        children = psutil.Process(run.pid).children(recursive=True)
        assert len(children) >= 4
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130
    assert not [child for child in children if child.is_running()]
    (row,) = msgspec.json.decode((out / "chaos.json").read_bytes(), type=Report).rows
    assert "interrupted" in row.note
    assert row.verdict.is_clean
