"""The unit and its drop-ins, judged by systemd itself and compared with their README."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "systemd"
PROGRAM = "/opt/maskwatch/current/bin/maskwatch"
DROP_INS = sorted(path.name for path in (FOLDER / "drop-ins").iterdir())
# What a board may have all at once; restart-backoff.conf is only for a systemd that knows its keys.
USUAL = ["key.conf", "password.conf", "coral.conf", "reboot.conf"]
NEEDS_254 = "restart-backoff.conf"
COSTS_MORE = "chrony.conf"  # its README line says so


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Give a copy of the unit whose program exists here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    text = (FOLDER / "maskwatch.service").read_text()
    assert text.count(PROGRAM) == 1
    copy = tmp_path / "maskwatch.service"
    copy.write_text(text.replace(PROGRAM, "/bin/true"))
    return copy


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)


def with_drop_ins(unit: Path, *names: str) -> Path:
    folder = unit.with_name("maskwatch.service.d")
    folder.mkdir()
    for name in names:
        shutil.copy(FOLDER / "drop-ins" / name, folder)
    return unit


def keys(file: Path) -> list[str]:
    return re.findall(r"^(\w+)=", file.read_text(), re.M)


def systemd_version() -> int:
    found = re.match(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)
    assert found is not None
    return int(found[1])


def exposure(unit: Path) -> float:
    rated = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    assert rated.returncode == 0, rated.stdout[-300:] + rated.stderr
    found = re.search(r"exposure level for maskwatch\.service: ([\d.]+)", rated.stdout)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("names", [[], USUAL, *([name] for name in DROP_INS)], ids=lambda names: "+".join(names))
def test_systemd_has_nothing_to_say_about_the_unit(unit: Path, names: list[str]) -> None:
    if NEEDS_254 in names and systemd_version() < 254:
        pytest.skip("systemd is older than 254")
    verified = run("systemd-analyze", "verify", with_drop_ins(unit, *names))
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_systemd_does_object_to_a_key_that_it_does_not_know(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectClock=yes", "ProtectClok=yes"))
    assert "ProtectClok" in run("systemd-analyze", "verify", unit).stderr


@pytest.fixture(scope="module")
def known_to_252() -> set[str]:
    """The keys of [Unit], [Service] and [Install] that systemd 252 knows, as that version itself lists them."""
    if systemd_version() != 252:
        pytest.skip("asks systemd 252, which is Debian 12's, for the keys that it knows")
    listed = run("/lib/systemd/systemd", "--dump-configuration-items").stdout
    return set(re.findall(r"^(\w+)=", listed, re.M))


@pytest.mark.parametrize("name", ["maskwatch.service", *(f"drop-ins/{name}" for name in DROP_INS)])
def test_only_the_drop_in_for_254_has_keys_that_252_does_not_know(known_to_252: set[str], name: str) -> None:
    unknown = set(keys(FOLDER / name)) - known_to_252
    assert unknown == ({"RestartSteps", "RestartMaxDelaySec"} if name.endswith(NEEDS_254) else set())


@pytest.mark.parametrize("names", [[], USUAL, *([name] for name in DROP_INS)], ids=lambda names: "+".join(names))
def test_the_exposure_is_at_most_one_and_a_half(unit: Path, names: list[str]) -> None:
    assert 0 < exposure(with_drop_ins(unit, *names)) <= (2.0 if COSTS_MORE in names else 1.5)


def test_a_unit_without_its_protection_is_found_exposed(unit: Path) -> None:
    unit.write_text(re.sub(r"^(Protect|Private|Restrict)\w+=.*\n", "", unit.read_text(), flags=re.M))
    assert exposure(unit) > 1.5


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


def rows(heading: str) -> Iterator[list[str]]:
    """Give the cells of the table below a heading of the README."""
    section = (FOLDER / "README.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_every_key_of_the_unit_has_its_reason_in_the_readme_and_nothing_else_has() -> None:
    told = [key for cells in rows("The reason of each line") for key in re.findall(r"`(\w+)`", cells[0])]
    assert sorted(told) == sorted(set(keys(FOLDER / "maskwatch.service")))


def test_every_drop_in_has_its_row_in_the_readme_that_names_each_of_its_keys() -> None:
    told = {cells[0].strip("`"): cells for cells in rows("The drop-ins")}
    assert sorted(told) == DROP_INS
    for name, (_, _, lines) in told.items():
        assert not [key for key in keys(FOLDER / "drop-ins" / name) if f"`{key}`" not in lines], name


@pytest.mark.parametrize("name", DROP_INS)
def test_a_drop_in_begins_with_what_it_is_for(name: str) -> None:
    assert re.match(r"# [A-Z][^\n]{40,}", (FOLDER / "drop-ins" / name).read_text())


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
