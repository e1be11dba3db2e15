"""A bundle is checked file by file, and what is wrong with it is said by name."""

import json
import tarfile
from pathlib import Path

import pytest

from deploy.provision.bundle import open_bundle
from deploy.provision.options import Options, read_options
from deploy.provision.problem import Exit, Problem
from tests.provision_parts import make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_text("a certificate\n")
    return make_bundle(tmp_path / "bundle", tmp_path / "ca.pem", url="https://host:8443")


def refused(bundle: Path) -> Problem:
    with pytest.raises(Problem) as caught, open_bundle(bundle):
        pass
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def change(bundle: Path, **values: object) -> None:
    file = bundle / "bundle.json"
    table = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))


def test_a_folder_is_read(bundle: Path) -> None:
    with open_bundle(bundle) as found:
        assert (found.version, found.beside, found.folder) == ("1.0", bundle, bundle)
        assert found.data("ca.pem") == b"a certificate\n"
        assert found.claim is not None
        assert found.claim.url == "https://host:8443"
        assert found.options == Options()


@pytest.mark.parametrize("kind", ["", "gz", "xz"])
def test_a_tar_file_is_read_wherever_the_bundle_lies_in_it_and_leaves_nothing(bundle: Path, kind: str) -> None:
    file = bundle.parent / "bundle.tar"
    with tarfile.open(file, f"w:{kind}") as archive:  # type: ignore[call-overload]
        archive.add(bundle, "some/folder")
    with open_bundle(file) as found:
        place = found.folder
        assert found.data("ca.pem") == b"a certificate\n"
        assert found.beside == bundle.parent
    assert not place.exists()


def test_what_a_killed_run_had_unpacked_is_removed_and_what_another_still_reads_is_not(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = bundle.parent / "room"
    left = room / "maskwatch-bundle-left"
    left.mkdir(parents=True)
    monkeypatch.setattr("deploy.provision.bundle._UNPACK_IN", str(room))
    file = bundle.parent / "bundle.tar"
    with tarfile.open(file, "w") as archive:
        archive.add(bundle, "some/folder")
    with open_bundle(file) as first:
        assert not left.exists()
        with open_bundle(file) as second:
            assert first.folder != second.folder
            assert first.data("ca.pem") == second.data("ca.pem") == b"a certificate\n"
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "a/../../escaped"])
def test_a_tar_file_writes_nothing_outside(bundle: Path, name: str) -> None:
    file = bundle.parent / "bundle.tar"
    with tarfile.open(file, "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    assert "lies outside the bundle" in refused(file).what


def test_a_tar_file_holds_files_and_folders_only(bundle: Path) -> None:
    (bundle / "link").symlink_to("/etc/passwd")
    file = bundle.parent / "bundle.tar"
    with tarfile.open(file, "w") as archive:
        archive.add(bundle, "b")
    assert "'b/link' is neither a file nor a folder" in refused(file).what


def test_a_truncated_tar_file_is_damaged(bundle: Path) -> None:
    file = bundle.parent / "bundle.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        archive.add(bundle, ".")
    file.write_bytes(file.read_bytes()[:-500])
    problem = refused(file)
    assert (problem.code, problem.remedy) == (Exit.DAMAGED, "copy the bundle to the board again")


def test_every_single_file_that_is_damaged_or_missing_is_named(bundle: Path) -> None:
    names = json.loads((bundle / "bundle.json").read_text())["files"]
    assert len(names) > 12
    for name in names:
        file = bundle / name
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + b"?" if whole else b"?")
        assert str(refused(bundle)).startswith(f"{file}: damaged: its sha256")
        file.unlink()
        assert str(refused(bundle)).startswith(f"{file}: is missing from the bundle; copy")
        file.write_bytes(whole)
    with open_bundle(bundle):
        pass


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"format": 2}, "not a bundle of format 1"),
        ({"version": None}, "version is missing"),
        ({"version": "../1"}, "cannot be the name of a folder"),
        ({"version": 1}, "version is missing or no str"),
        ({"pythons": "3.11"}, "pythons is missing or no list"),
        ({"machines": [1]}, "machines is missing or no list of texts"),
        ({"made": "yesterday"}, "is not a time"),
        ({"files": {"../../etc/passwd": "0"}}, "lies outside the bundle"),
        ({"files": {"/etc/passwd": "0"}}, "lies outside the bundle"),
    ],
)
def test_a_manifest_that_is_none_is_refused(bundle: Path, values: dict[str, object], said: str) -> None:
    change(bundle, **values)
    problem = refused(bundle)
    assert said in problem.what
    assert problem.code == Exit.DAMAGED


def test_a_folder_or_a_name_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert "bundle.json: is missing; name a bundle" in str(refused(tmp_path))
    assert "there is no such bundle" in str(refused(tmp_path / "none"))
    (tmp_path / "bundle.json").write_text("[]")
    assert "not a JSON object" in str(refused(tmp_path))
    (tmp_path / "bundle.json").write_text("{")
    assert "not JSON" in str(refused(tmp_path))
    (tmp_path / "text").write_text("no tar file")
    assert "not a tar file" in str(refused(tmp_path / "text"))


def test_a_claim_goes_over_https_only(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    bundle = make_bundle(tmp_path / "b", tmp_path / "ca.pem", url="http://host")
    assert "is not https" in refused(bundle).what


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[board]\njournal = 'forever'", "journal = 'forever'; it is one of volatile, persistent"),
        ("[board]\nhardware_watchdog_s = 16", "hardware_watchdog_s = 16; it is 0 (off) to 15"),
        ("[board]\nhardware_watchdog_s = true", "hardware_watchdog_s = True; the default is 0"),
        ("[board]\nwifi_power_saving = true", "unknown key 'wifi_power_saving' (did you mean 'wifi_power_save'?)"),
        ("[bord]", "unknown section 'bord'"),
        ("board = 1", "board is a section"),
        ("[board", "not TOML"),
    ],
)
def test_an_option_that_is_none_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "board.toml"
    file.write_text(text)
    with pytest.raises(Problem, match=r"board\.toml") as caught:
        read_options(file)
    assert said in str(caught.value)
    assert caught.value.code == Exit.UNFIT


def test_options_that_are_given_replace_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    file.write_text("[board]\njournal = 'persistent'\nhardware_watchdog_s = 15\ncoral = false\nreboot = true\n")
    assert read_options(file) == Options(journal="persistent", hardware_watchdog_s=15, coral=False, reboot=True)
