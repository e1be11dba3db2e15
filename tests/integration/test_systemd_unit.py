"""The unit, judged by systemd itself."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "systemd"


@pytest.fixture
def analyze(tmp_path: Path) -> Path:
    """Give a copy of the unit whose program exists here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    text = (FOLDER / "maskwatch.service").read_text()
    assert text.count("/opt/maskwatch/bin/maskwatch") == 1
    unit = tmp_path / "maskwatch.service"
    unit.write_text(text.replace("/opt/maskwatch/bin/maskwatch", "/bin/true"))
    return unit


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)


def with_drop_in(unit: Path, name: str) -> Path:
    folder = unit.with_name("maskwatch.service.d")
    folder.mkdir()
    shutil.copy(FOLDER / "drop-ins" / name, folder)
    return unit


@pytest.mark.parametrize("drop_in", [None, "credentials.conf", "chrony.conf"])
def test_systemd_has_nothing_to_say_about_the_unit(analyze: Path, drop_in: str | None) -> None:
    unit = analyze if drop_in is None else with_drop_in(analyze, drop_in)
    verified = run("systemd-analyze", "verify", unit)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_systemd_does_object_to_a_key_that_it_does_not_know(analyze: Path) -> None:
    analyze.write_text(analyze.read_text().replace("ProtectClock=yes", "ProtectClok=yes"))
    assert "ProtectClok" in run("systemd-analyze", "verify", analyze).stderr


def test_the_exposure_is_at_most_one_and_a_half(analyze: Path) -> None:
    rated = run("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", analyze)
    assert rated.returncode == 0, rated.stdout[-300:] + rated.stderr
    found = re.search(r"exposure level for maskwatch\.service: ([\d.]+)", rated.stdout)
    assert found is not None
    assert 0 < float(found[1]) <= 1.5


def test_the_user_and_its_group_are_what_systemd_would_make(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("needs systemd-sysusers: apt-get install systemd")
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", FOLDER / "maskwatch.sysusers")
    assert made.returncode == 0, made.stderr
    assert re.search(r"^maskwatch:.*:/var/lib/maskwatch:.*nologin$", (tmp_path / "etc/passwd").read_text(), re.M)
    assert re.search(r"^video:.*:maskwatch$", (tmp_path / "etc/group").read_text(), re.M)


def test_the_folders_are_what_systemd_would_make(tmp_path: Path) -> None:
    if shutil.which("systemd-tmpfiles") is None:
        pytest.skip("needs systemd-tmpfiles: apt-get install systemd")
    made = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", FOLDER / "maskwatch.tmpfiles")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "etc/maskwatch/secrets").stat().st_mode & 0o777 == 0o700


def test_every_key_of_the_unit_has_its_reason_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text()
    keys = set(re.findall(r"^(\w+)=", (FOLDER / "maskwatch.service").read_text(), re.M))
    told = keys - {"Description", "ExecStart", "WantedBy"}
    kernel = {key for key in told if key.startswith("ProtectKernel")}  # one line for the three of them
    assert "ProtectKernel..." in readme
    assert not {key for key in told - kernel if key not in readme}


def test_no_exit_code_that_a_restart_cannot_mend_is_restarted() -> None:
    unit = (FOLDER / "maskwatch.service").read_text()
    kept = re.search(r"^RestartPreventExitStatus=(.*)$", unit, re.M)
    assert kept is not None
    assert set(kept[1].split()) == {"2", "65", "77", "78"}


_NO_NEW_CODE = """
import ctypes, mmap, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:  # PR_SET_MDWE, since Linux 6.3
    sys.exit(77)
import numpy, sqlite3, paho.mqtt.client
from agent.vision.nets import load_classifier, load_detector
from agent.seams import Box
picture = numpy.zeros((240, 320, 3), numpy.uint8)
load_detector("face-320", "cpu").net.find(picture)
load_classifier("mask-64", "cpu").net.look(picture, [Box(10, 10, 60, 60)])
sqlite3.connect(":memory:").execute("CREATE TABLE t (x)")
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    print("no memory is both writable and executable")
"""


def test_nets_and_outbox_work_where_no_code_can_be_made_at_run_time() -> None:
    done = run(sys.executable, "-c", _NO_NEW_CODE)
    if done.returncode == 77:
        pytest.skip("needs Linux 6.3 for PR_SET_MDWE")
    assert (done.returncode, done.stdout) == (0, "no memory is both writable and executable\n"), done.stderr
