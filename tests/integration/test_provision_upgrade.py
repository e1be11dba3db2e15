"""From one release to another, and back; and everything away again. systemd and pip are modelled."""

import json
from pathlib import Path

import pytest

from tests.provision_parts import CONFIG, SERIAL, Authority, Scene, listing, make_bundle


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def record(scene: Scene) -> dict[str, object]:
    table: dict[str, object] = json.loads((scene.root / "etc/maskwatch/installed.json").read_text())
    return table


def releases(scene: Scene) -> set[str]:
    return {path.name for path in (scene.root / "opt/maskwatch/releases").iterdir()}


def test_another_release_is_taken_only_when_asked_for(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.installed()
    before = listing(scene.root)
    bundle = scene.another_bundle(version="2.0")
    capsys.readouterr()
    assert scene.provision(bundle=bundle) == 2
    assert capsys.readouterr().err == "provision: this board runs 1.0, the bundle holds 2.0; add --upgrade\n"
    assert listing(scene.root) == before
    assert scene.provision("--check", bundle=bundle) == 2
    assert listing(scene.root) == before


def test_an_upgrade_keeps_one_release_to_go_back_to(scene: Scene) -> None:
    scene.installed()
    assert scene.provision("--upgrade", bundle=scene.another_bundle(version="2.0")) == 0
    assert scene.system.active == "2.0"
    assert releases(scene) == {"1.0", "2.0"}
    third = scene.another_bundle(version="3.0")
    assert scene.provision("--upgrade", bundle=third) == 0
    assert releases(scene) == {"2.0", "3.0"}
    assert record(scene)["pending"] is None
    before = listing(scene.root)
    assert scene.provision("--upgrade", bundle=third) == 0
    assert scene.provision(bundle=third) == 0
    assert listing(scene.root) == before


def test_a_release_that_gets_no_event_through_is_left_again(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.installed()
    (scene.root / "etc/maskwatch/config.toml").write_text(mine := "# by hand\n" + CONFIG.replace("@DEVICE@", SERIAL))
    assert scene.provision() == 0
    before = listing(scene.root)
    scene.system.healthy = lambda version: version == "1.0"
    bundle = scene.another_bundle(version="2.0", config='[device]\nsite = "b"\n', options="[board]\nreboot = true\n")
    capsys.readouterr()
    assert scene.provision("--upgrade", bundle=bundle) == 69
    said = capsys.readouterr()
    assert said.err == "provision: rolled back to 1.0, which works\n"
    assert "release 2.0 did not prove itself: agent FAIL no event acknowledged by 2.0" in said.out
    assert scene.system.active == "1.0"
    assert (scene.root / "etc/maskwatch/config.toml").read_text() == mine
    after = listing(scene.root)
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == set()


def test_a_way_back_to_a_release_that_is_not_well_either_says_so(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.installed()
    scene.system.healthy = lambda version: False
    assert scene.provision("--upgrade", bundle=scene.another_bundle(version="2.0")) == 69
    assert "rolled back to 1.0, which is not well either: systemctl status" in capsys.readouterr().err


def test_a_release_that_does_not_take_the_configuration_is_never_switched_to(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.installed()
    scene.system.forget()
    scene.system.trial_says = "config.toml: unknown key"
    assert scene.provision("--upgrade", bundle=scene.another_bundle(version="2.0")) == 78
    assert "release 2.0 says: config.toml: unknown key" in capsys.readouterr().err
    assert scene.system.active == "1.0"
    assert scene.system.ran == []
    assert record(scene)["pending"] is None


def test_an_interrupted_upgrade_ends_where_the_next_bundle_wants_it(scene: Scene) -> None:
    scene.installed()
    second, third = scene.another_bundle(version="2.0"), scene.another_bundle(version="3.0")

    def cut(version: str) -> bool:
        raise KeyboardInterrupt

    scene.system.healthy = cut
    assert scene.provision("--upgrade", bundle=second) == 130
    assert scene.system.active == "2.0"
    scene.system.healthy = lambda version: True
    assert scene.provision(bundle=third) == 2
    assert scene.provision("--upgrade", bundle=third) == 0
    assert scene.system.active == "3.0"
    assert releases(scene) == {"1.0", "3.0"}


def test_an_upgrade_cut_at_its_gate_is_settled_by_the_next_run(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.installed()
    bundle = scene.another_bundle(version="2.0")

    def cut(version: str) -> bool:
        raise KeyboardInterrupt

    scene.system.healthy = cut
    assert scene.provision("--upgrade", bundle=bundle) == 130
    assert scene.provision("--check", bundle=bundle) == 2
    assert "release 2.0 has not proved itself yet" in capsys.readouterr().out
    scene.system.healthy = lambda version: True
    assert scene.provision(bundle=bundle) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("done: upgrade; look at it")
    assert scene.provision(bundle=bundle) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no change"


def test_a_bundle_of_the_release_before_ends_an_upgrade_that_was_cut(scene: Scene) -> None:
    scene.installed()
    second, third = scene.another_bundle(version="2.0"), scene.another_bundle(version="3.0")
    assert scene.provision("--upgrade", bundle=third) == 0

    def cut(version: str) -> bool:
        raise KeyboardInterrupt

    scene.system.healthy = cut
    assert scene.provision("--upgrade", bundle=second) == 130
    scene.system.healthy = lambda version: True
    assert scene.provision(bundle=third) == 0  # the way back needs no word: the board runs what the bundle holds
    assert scene.system.active == "3.0"
    assert record(scene)["pending"] is None


def test_uninstalling_leaves_a_board_as_it_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene(tmp_path)
    (scene.root / "dev/watchdog").touch()
    before = listing(scene.root)
    text = "[board]\nhardware_watchdog_s = 10\nreboot = true\njournal = 'persistent'\n"
    scene.bundle = scene.another_bundle(options=text)
    scene.installed()
    (scene.root / "var/log/journal").mkdir(parents=True)  # journald does that
    assert scene.provision("--upgrade", bundle=scene.another_bundle(version="2.0", options=text)) == 0
    assert scene.provision("--uninstall", "--discard-events") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "done: nothing is left"
    (scene.root / "var/log").rmdir()
    assert listing(scene.root) == before
    assert scene.system.active == ""
    assert scene.provision("--uninstall") == 0
    assert capsys.readouterr().out == "no change: nothing is installed\n"


def test_uninstalling_is_refused_while_events_wait(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.installed()
    before = listing(scene.root)
    notice = scene.root / "run/maskwatch/agent.json"
    notice.parent.mkdir()
    notice.write_text(json.dumps({"at_ns": 1, "diagnosis": {"backlog": 7}}))
    capsys.readouterr()
    assert scene.provision("--uninstall") == 75
    assert "/var/lib/maskwatch: 7 events wait undelivered; wait until" in capsys.readouterr().err
    notice.unlink()
    (scene.root / "model/active").unlink()
    assert scene.provision("--uninstall") == 75
    assert "nobody can say whether events wait" in capsys.readouterr().err
    assert listing(scene.root) == before
    (scene.root / "model/active").write_text("1.0")
    notice.write_text(json.dumps({"at_ns": 1, "diagnosis": {"backlog": 0}}))
    assert scene.provision("--uninstall") == 0


def test_uninstalling_asks_before_it_discards_what_another_board_had_seen(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.installed()
    (scene.root / f"var/lib/maskwatch/of-{SERIAL}").mkdir()
    assert scene.provision("--uninstall") == 75
    assert "holds another board's events" in capsys.readouterr().err


def test_a_line_of_fstab_that_was_changed_since_is_not_put_back(scene: Scene) -> None:
    scene.installed()
    fstab = scene.root / "etc/fstab"
    fstab.write_text(mine := fstab.read_text().replace("commit=60", "commit=30"))
    assert scene.provision("--uninstall", "--discard-events") == 0
    assert fstab.read_text() == mine


def test_a_bundle_installs_nothing_over_an_uninstallation_that_was_interrupted(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.installed()
    file = scene.root / "etc/maskwatch/installed.json"
    file.write_text(json.dumps(record(scene) | {"uninstalling": True}))
    assert scene.provision() == 75
    assert "run it with --uninstall to its end first" in capsys.readouterr().err


def test_a_damaged_record_is_named(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.installed()
    (scene.root / "etc/maskwatch/installed.json").write_text("{")
    assert scene.provision() == 65
    assert "/etc/maskwatch/installed.json: damaged:" in capsys.readouterr().err


def test_a_fresh_root_of_another_fleet_makes_another_certificate(scene: Scene) -> None:
    scene.installed()
    old = (scene.root / "var/lib/maskwatch/device.pem").read_text()
    other = Authority(scene.folder / "other", "another fleet")
    scene.authority = other
    bundle = make_bundle(scene.folder / "moved", other.root)
    assert scene.provision(bundle=bundle) == 75
    request = (bundle / f"{SERIAL}.csr").read_text()
    (bundle / f"{SERIAL}.pem").write_text(other.certificate(request, SERIAL))
    assert scene.provision(bundle=bundle) == 0
    assert (scene.root / "var/lib/maskwatch/device.pem").read_text() != old
