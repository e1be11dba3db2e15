"""`python -m tools.fleet.enrol` as an operator uses it: bundles, requests carried by hand, the list, refusals."""

import hashlib
import json
import os
import stat
import subprocess
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from deploy.provision.bundle import open_bundle
from tests.fleet_parts import EnrolServer, found_fleet, make_csr, make_key, new_claim, utc_now
from tests.integration.test_fleet_enrol_wheelhouse import index, make_wheel
from tests.real import need
from tools.fleet.enrol import inventory
from tools.fleet.enrol.__main__ import main as enrol
from tools.fleet.enrol.bundle import provision

__all__ = ["index"]  # a fixture

BROKER, URL = "mqtts://broker.example:8883", "https://localhost:8443"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return found_fleet(tmp_path / "fleet")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was downloaded once serves all tests: it is the same for all."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def words(tmp_path: Path, index: Path, cache: Path) -> list[str]:
    """What makes bundles without anything from elsewhere: pip asks a folder, and the agent's wheel is ready."""
    make_wheel(tmp_path, "maskwatch-9.9-py3-none-any")
    make_wheel(index, "pip-26.3-py3-none-any")
    common = ["--site", "a", "--broker", BROKER, "--cache", str(cache), "--out", str(tmp_path / "out")]
    return [*common, "--wheel", str(tmp_path / "maskwatch-9.9-py3-none-any.whl")]


@pytest.fixture(autouse=True)
def own_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A lock of a pip that is as small as the other wheels."""
    (tmp_path / "pip").mkdir()
    lock = tmp_path / "pip" / "pip.txt"
    lock.write_text(f"pip==26.3 --hash=sha256:{make_wheel(tmp_path / 'pip', 'pip-26.3-py3-none-any')}\n")
    monkeypatch.setattr("tools.fleet.enrol.wheelhouse.PIP", lock)


def bundles(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "out").iterdir())


def test_twenty_bundles_hold_what_a_board_needs_and_a_claim_each(
    fleet: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enrol([str(fleet), *words, "--count", "20", "--url", URL, "--camera", "scene", "--machine", "aarch64"]) == 0

    made = bundles(tmp_path)
    assert len(made) == 20 == len(capsys.readouterr().out.splitlines())
    told = [json.loads((bundle / "claim.json").read_text()) for bundle in made]
    assert len({one["claim"] for one in told}) == 20
    assert {one["url"] for one in told} == {URL}
    assert sorted(one["claim"].split(".")[0] for one in told) == sorted(c.id for c in inventory.read(fleet).claims)
    assert {bundle.name for bundle in made} == {f"a-{one['claim'].split('.')[0]}" for one in told}
    bundle = made[0]
    assert stat.S_IMODE((bundle / "claim.json").stat().st_mode) == 0o600
    assert os.access(bundle / "provision", os.X_OK)
    assert (bundle / "ca.pem").read_bytes() == (fleet / "ca.pem").read_bytes()
    assert tomllib.loads((bundle / "config.toml").read_text())["device"] == {"site": "a", "id": "@DEVICE@"}
    assert tomllib.loads((bundle / "config.toml").read_text())["camera"] == {"source": "scene"}
    assert (bundle / "systemd" / "maskwatch.service").exists()
    wheels = {wheel.name for wheel in (bundle / "wheels").iterdir()}
    assert {"pip-26.3-py3-none-any.whl", "maskwatch-9.9-py3-none-any.whl", "pure-5-py3-none-any.whl"} <= wheels
    assert {"one-1-cp311-cp311-manylinux_2_28_aarch64.whl", "one-2-cp313-cp313-manylinux_2_34_aarch64.whl"} <= wheels
    assert len({(one / "wheels" / "pure-5-py3-none-any.whl").stat().st_ino for one in made}) == 1


def test_no_private_key_and_no_part_of_the_authority_is_in_a_bundle(
    fleet: Path, words: list[str], tmp_path: Path
) -> None:
    enrol([str(fleet), *words, "--url", URL])
    keys = [key.read_text().splitlines()[1].encode() for key in fleet.rglob("*.key")]
    assert len(keys) == 3
    for file in bundles(tmp_path)[0].rglob("*"):
        assert file.is_dir() or not any(key in file.read_bytes() for key in keys)
        assert file.is_dir() or b"BEGIN PRIVATE KEY" not in file.read_bytes()


def test_the_manifest_names_every_file_and_the_board_s_own_reader_takes_it(
    fleet: Path, words: list[str], tmp_path: Path
) -> None:
    enrol([str(fleet), *words, "--url", URL, "--python", "3.13"])
    (bundle,) = bundles(tmp_path)

    manifest = json.loads((bundle / "bundle.json").read_text())
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == files - {"bundle.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest
    assert (manifest["version"], manifest["site"], manifest["pythons"]) == ("9.9", "a", ["3.13"])
    with open_bundle(bundle) as read:
        assert read.claim is not None
        assert (read.version, read.claim.url) == ("9.9", URL)
    archive = tmp_path / "bundle.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", bundle.parent, bundle.name], check=True)
    with open_bundle(archive) as read:
        assert read.version == "9.9"


def test_a_second_call_needs_no_index(fleet: Path, words: list[str], tmp_path: Path, index: Path) -> None:
    words = [*words, "--cache", str(tmp_path / "own")]
    assert enrol([str(fleet), *words, "--url", URL]) == 0
    for file in index.iterdir():
        file.unlink()
    assert enrol([str(fleet), *words, "--url", URL]) == 0
    assert len(bundles(tmp_path)) == 2


def test_a_bundle_for_one_board_says_so(fleet: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    serials = ["--serial", "10000000AAAA0001", "--serial", "10000000aaaa0002"]
    assert enrol([str(fleet), *words, "--url", URL, *serials, "--days", "7"]) == 0

    assert "for board 10000000aaaa0001" in capsys.readouterr().out
    claims = inventory.read(fleet).claims
    assert [claim.serial for claim in claims] == ["10000000aaaa0001", "10000000aaaa0002"]
    assert {claim.expires - claim.made for claim in claims} == {timedelta(days=7)}


def test_without_a_server_one_bundle_does_for_all_and_requests_are_carried_by_hand(
    fleet: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enrol([str(fleet), *words, "--count", "2"]) == 2
    assert enrol([str(fleet), *words]) == 0
    (bundle,) = bundles(tmp_path)
    assert not (bundle / "claim.json").exists()
    key = make_key(tmp_path / "key.pem")
    request = tmp_path / "carried" / "it.csr"
    request.parent.mkdir()
    request.write_text(make_csr(key, "door"))
    sign = [str(fleet), "--sign", str(request), "--site", "hall"]
    assert enrol(sign) == 0
    first = (request.parent / "door.pem").read_bytes()
    assert enrol(sign) == 0  # twice by mistake

    assert (request.parent / "door.pem").read_bytes() == first
    trust = ["-CAfile", str(fleet / "ca.pem"), "-untrusted", str(request.parent / "door.pem")]
    command = [need("openssl", "openssl"), "verify", "-x509_strict", *trust, str(request.parent / "door.pem")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (device,) = inventory.read(fleet).devices
    assert (device.device, device.site, device.claim) == ("door", "hall", "")
    request.write_text(make_csr(make_key(tmp_path / "other.pem"), "door"))
    capsys.readouterr()
    assert enrol(sign) == 65
    assert "revoke DIR door" in capsys.readouterr().err
    assert [incident.error for incident in inventory.read(fleet).incidents] == ["device-taken"]


def test_a_claim_of_a_bundle_is_honoured_and_a_withdrawn_one_is_not(
    fleet: Path, words: list[str], tmp_path: Path
) -> None:
    enrol([str(fleet), *words, "--url", URL, "--count", "2"])
    good, lost = (json.loads((bundle / "claim.json").read_text())["claim"] for bundle in bundles(tmp_path))
    assert enrol([str(fleet), "--void", lost.split(".")[0]]) == 0
    key = make_key(tmp_path / "key.pem")
    with EnrolServer(fleet) as server:
        assert server.enrol(lost, make_csr(key, "door"))["error"] == "void"
        assert server.enrol(good, make_csr(key, "door")).status == 200
    assert enrol([str(fleet), "--void", good.split(".")[0]]) == 65


def test_the_list_shows_devices_claims_and_incidents(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol([str(fleet), "--list"])
    assert "no boards yet" in capsys.readouterr().out
    claim, unused = new_claim(fleet), new_claim(fleet, serial="10000000bbbb0001")
    with EnrolServer(fleet) as server:
        server.enrol(claim, make_csr(make_key(tmp_path / "1.pem"), "door"), serial="s1", model="Model [red]B[/red]")
        server.enrol(claim, make_csr(make_key(tmp_path / "2.pem"), "gate"))
    for later, state in ((0, "good"), (61, "renewal due"), (91, "expired")):
        at = utc_now() + timedelta(days=later)
        assert enrol([str(fleet), "--list"], now=lambda at=at: at) == 0  # type: ignore[misc]
        said = capsys.readouterr().out.splitlines()
        row = next(line for line in said if line.startswith("door"))
        assert row.rstrip().endswith(state)
        assert "Model [red]B[/red]" in row
        open_claim = next(line for line in said if line.startswith(unused.split(".")[0]))
        assert open_claim.rstrip().endswith("open" if later == 0 else "expired")
        assert next(line for line in said if line.startswith("used")).split()[1] == "gate"


@pytest.mark.parametrize(
    ("more", "code", "what"),
    [
        (["--url", "http://localhost:1"], 78, "https://HOST:8443"),
        (["--url", "https://elsewhere:8443"], 65, "the server's certificate is for localhost"),
        (["--url", URL, "--broker", "mqtt://elsewhere"], 78, "not encrypted"),
        (["--url", URL, "--camera", ""], 78, "camera.source"),
        (["--url", URL, "--count", "0"], 2, "--count"),
        (["--url", URL, "--count", "many"], 2, "--count"),
        (["--url", URL, "--site", "a/b"], 2, "--site"),
        (["--url", URL, "--machine", "armv7l"], 2, "armv7l"),
        (["--url", URL, "--config", "/none.toml"], 78, "/none.toml"),
        (["--url", URL, "--board", "/none.toml"], 78, "/none.toml"),
        (["--url", URL, "--wheel", "/none.whl"], 65, "/none.whl"),
        (["--serve", "--list"], 2, "not allowed"),
        (["--sign", "/none.csr"], 65, "/none.csr"),
        (["--void", "00000000"], 65, "no such claim"),
        (["--listen", "8443", "--serve"], 2, "HOST:PORT"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_made(
    fleet: Path,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    what: str,
) -> None:
    assert enrol([str(fleet), *words, *more]) == code

    said = capsys.readouterr()
    assert what in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert inventory.read(fleet).claims == ()


@pytest.mark.parametrize("missing", ["--site", "--broker", "--out"])
def test_a_missing_option_is_named(
    fleet: Path, words: list[str], capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    at = words.index(missing)
    assert enrol([str(fleet), *words[:at], *words[at + 2 :], "--url", URL]) == 2
    assert missing in capsys.readouterr().err


def test_the_one_file_that_a_board_runs_starts_through_a_shell_and_python(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "parts").mkdir(parents=True)
    (package / "start.sh").write_text('#!/bin/sh\nexec python3 -I "$0" "$@"\n')
    (package / "__init__.py").touch()
    (package / "parts" / "__init__.py").write_text("WORD = 'here'\n")
    (package / "__main__.py").write_text("import sys\nfrom .parts import WORD\nprint(WORD, sys.argv[1:])\n")
    made = tmp_path / "provision"
    made.write_bytes(provision(package))
    made.chmod(0o755)

    done = subprocess.run([made, "--bundle", "x y"], capture_output=True, text=True, check=False, cwd="/")
    assert (done.stdout, done.stderr, done.returncode) == ("here ['--bundle', 'x y']\n", "", 0)
    assert provision(package) == made.read_bytes()  # the same content is the same file


def test_the_provision_of_this_checkout_runs_from_its_file(tmp_path: Path) -> None:
    made = tmp_path / "provision"
    made.write_bytes(provision())
    made.chmod(0o755)

    done = subprocess.run([made, "--help"], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--bundle" in done.stdout


def test_certificates_of_a_fleet_last_90_days_whatever_the_claim_says(fleet: Path, tmp_path: Path) -> None:
    request = tmp_path / "it.csr"
    request.write_text(make_csr(make_key(tmp_path / "key.pem"), "door"))
    enrol([str(fleet), "--sign", str(request), "--site", "a"])
    leaf = x509.load_pem_x509_certificate((tmp_path / "door.pem").read_bytes())

    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=90, hours=1)
