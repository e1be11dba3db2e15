"""Provisioning a board that is a folder: real files, users, openssl; systemd and pip modelled."""

from pathlib import Path

import pytest

from tests.provision_parts import FSTAB, SERIAL, Authority, Scene, listing, sign_by_hand

CONFIG = "etc/maskwatch/config.toml"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_fresh_board_is_provisioned_and_a_second_run_changes_nothing(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.installed()
    first = capsys.readouterr().out
    before, ran = listing(scene.root), scene.system.ran
    assert scene.provision() == 0
    assert listing(scene.root) == before
    assert scene.system.ran == ran
    second = capsys.readouterr().out.splitlines()
    assert second[-1] == "no change"
    assert first.splitlines()[-1].startswith("done: certificate, release, current,")
    assert {line.split()[1] for line in second if line.split()[0] in ("key", "unit", "service", "card")} == {"ok"}


def test_the_agent_runs_with_its_key_its_certificate_and_its_own_name(scene: Scene) -> None:
    scene.installed()
    assert scene.system.active == "1.0"
    assert f'id = "{SERIAL}"' in (scene.root / CONFIG).read_text()
    assert (scene.root / "etc/maskwatch/secrets/key.pem").stat().st_mode & 0o777 == 0o600
    assert (scene.root / "etc/maskwatch/secrets").stat().st_mode & 0o777 == 0o700
    state = (scene.root / "var/lib/maskwatch").stat()
    assert (state.st_mode & 0o777, state.st_uid) == (0o700, scene.board.user("maskwatch")[0])  # type: ignore[index]
    drop_ins = {path.name for path in (scene.root / "etc/systemd/system/maskwatch.service.d").iterdir()}
    assert drop_ins == {"key.conf", "coral.conf", "restart-backoff.conf"}


def test_the_back_off_drop_in_stays_away_from_a_systemd_that_does_not_know_its_keys(scene: Scene) -> None:
    scene.system.version = 252
    scene.installed()
    drop_ins = {path.name for path in (scene.root / "etc/systemd/system/maskwatch.service.d").iterdir()}
    assert drop_ins == {"key.conf", "coral.conf"}


def test_check_tells_by_its_exit_code_whether_there_is_anything_to_do_and_does_nothing(scene: Scene) -> None:
    before = listing(scene.root)
    assert scene.provision("--check") == 2
    assert scene.provision("--dry-run") == 0
    assert listing(scene.root) == before
    assert scene.system.ran == []
    scene.installed()
    assert scene.provision("--check") == 0
    (scene.root / "etc/udev/rules.d/60-maskwatch.rules").unlink()
    assert scene.provision("--check") == 2


def test_a_dry_run_names_every_file_that_the_run_then_writes(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.provision("--dry-run")
    said = capsys.readouterr().out
    before = set(listing(scene.root))
    scene.installed()
    made = {name for name in set(listing(scene.root)) - before if (scene.root / name).is_file()}
    untold = {name for name in made if f"/{name}" not in said and not name.startswith("opt/")}
    # the record, the certificate of the second run, what other programs leave, and the agent's own
    beside = {"etc/maskwatch/installed.json", "var/lib/maskwatch/device.pem", "var/lib/maskwatch/outbox.db"}
    assert {
        name for name in untold - beside if not name.endswith(("-", ".pwd.lock", ".wants/maskwatch.service"))
    } == set()


def test_whatever_is_lost_is_mended_and_only_that(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.installed()
    before = listing(scene.root)
    (scene.root / "etc/systemd/system/maskwatch.service").write_text("[Unit]\n")
    (scene.root / "etc/maskwatch/secrets/key.pem").chmod(0o644)
    (scene.root / "opt/maskwatch/current").unlink()
    capsys.readouterr()
    assert scene.provision() == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("done: key, current, unit, service;")
    assert listing(scene.root) == before


def test_a_changed_template_is_taken_and_the_agent_started_anew(scene: Scene) -> None:
    scene.installed()
    scene.system.forget()
    bundle = scene.another_bundle(config='[device]\nsite = "b"\nid = "@DEVICE@"\n')
    assert scene.provision(bundle=bundle) == 0
    assert (scene.root / CONFIG).read_text() == f'[device]\nsite = "b"\nid = "{SERIAL}"\n'
    assert "systemctl restart maskwatch.service" in scene.system.ran


def test_a_configuration_changed_by_hand_is_left_alone_and_said_so(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.installed()
    file = scene.root / CONFIG
    file.write_text(mine := file.read_text() + "\n[camera]\nrotate = 180\n")
    capsys.readouterr()
    assert scene.provision() == 0
    assert "changed by hand and is left alone" in capsys.readouterr().out
    assert file.read_text() == mine
    assert not file.with_name("config.toml.new").exists()

    bundle = scene.another_bundle(config='[device]\nsite = "b"\n')
    assert scene.provision(bundle=bundle) == 0
    assert file.read_text() == mine
    assert file.with_name("config.toml.new").read_text() == '[device]\nsite = "b"\n'
    assert scene.provision("--check", bundle=bundle) == 0

    file.write_text('[device]\nsite = "b"\n')  # taken over by hand
    assert scene.provision(bundle=bundle) == 0
    assert not file.with_name("config.toml.new").exists()


def test_a_configuration_that_the_agent_refuses_is_never_written(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.installed()
    before = (scene.root / CONFIG).read_bytes()
    scene.system.trial_says = "TEMP: unknown key device.sight (did you mean 'site'?); keys are ..."
    bundle = scene.another_bundle(config='[device]\nsight = "b"\n')
    capsys.readouterr()
    assert scene.provision(bundle=bundle) == 78
    said = capsys.readouterr().err
    assert "/etc/maskwatch/config.toml: release 1.0 says: " in said
    assert len(said.splitlines()) == 1
    assert (scene.root / CONFIG).read_bytes() == before


def test_an_option_that_is_switched_off_takes_its_file_away(scene: Scene) -> None:
    (scene.root / "dev/watchdog").touch()
    scene.installed()
    on = scene.another_bundle(options="[board]\nhardware_watchdog_s = 10\nreboot = true\ncoral = true\n")
    assert scene.provision(bundle=on) == 0
    watchdog = scene.root / "etc/systemd/system.conf.d/maskwatch.conf"
    drop_ins = scene.root / "etc/systemd/system/maskwatch.service.d"
    assert "RuntimeWatchdogSec=10\n" in watchdog.read_text()
    assert {path.name for path in drop_ins.iterdir()} >= {"reboot.conf", "coral.conf"}
    scene.system.forget()
    off = scene.another_bundle(options="[board]\ncoral = false\nwifi_power_save = true\n")
    assert scene.provision(bundle=off) == 0
    assert not watchdog.exists()
    assert not (scene.root / "etc/NetworkManager/conf.d/maskwatch.conf").exists()
    assert {path.name for path in drop_ins.iterdir()} == {"key.conf", "restart-backoff.conf"}
    assert "systemctl daemon-reexec" in scene.system.ran


def test_a_watchdog_that_is_asked_for_and_not_there_is_said(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = scene.another_bundle(options="[board]\nhardware_watchdog_s = 10\n")
    scene.provision("--check", bundle=bundle)
    assert "there is no /dev/watchdog" in capsys.readouterr().out


def test_the_card_is_spared_by_one_line_of_fstab_and_no_other_changes(scene: Scene) -> None:
    scene.installed()
    old, new = FSTAB.splitlines(), (scene.root / "etc/fstab").read_text().splitlines()
    assert [(a, b) for a, b in zip(old, new, strict=True) if a != b] == [
        (old[2], "PARTUUID=0a-02  /               ext4    defaults,noatime,commit=60 0       1")
    ]
    assert "mount -o remount /" in scene.system.ran


def test_an_agent_that_gets_no_event_through_is_an_error_and_everything_stays_installed(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.installed()
    scene.system.healthy = lambda version: False
    capsys.readouterr()
    assert scene.provision() == 69
    said = capsys.readouterr()
    assert "agent FAIL no event acknowledged by 1.0" in said.out
    assert said.err == (
        "no change; the agent is not well yet: systemctl status maskwatch; journalctl -u maskwatch; "
        "sudo maskwatch check\n"
    )


def test_a_release_made_for_another_python_is_made_again(scene: Scene) -> None:
    scene.installed()
    stamp = scene.root / "opt/maskwatch/releases/1.0/complete"
    stamp.write_text(stamp.read_text().replace(scene.board.python(), "3.2"))
    assert scene.provision("--check") == 2
    assert scene.provision() == 0
    assert scene.board.python() in stamp.read_text()


def test_a_program_of_somebody_else_s_is_not_overwritten(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    (scene.root / "usr/local/bin/maskwatch").write_text("#!/bin/sh\n")
    assert scene.provision() == 75
    sign_by_hand(scene.authority, scene.bundle)
    assert scene.provision() == 78
    assert capsys.readouterr().err.splitlines()[-1] == "/usr/local/bin/maskwatch: is not ours; move it elsewhere"


def test_a_request_is_carried_by_hand_where_the_bundle_has_no_claim(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scene.provision() == 75
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"{scene.bundle}/{SERIAL}.csr: the bundle has no claim" in said
    assert (scene.root / f"etc/maskwatch/{SERIAL}.csr").exists()
    other = Authority(scene.folder / "other", "another fleet")
    request = (scene.bundle / f"{SERIAL}.csr").read_text()
    (scene.bundle / f"{SERIAL}.pem").write_text(other.certificate(request, SERIAL))
    assert scene.provision() == 78
    assert "is not valid" in capsys.readouterr().err
    sign_by_hand(scene.authority, scene.bundle)
    assert scene.provision() == 0
    assert not (scene.root / f"etc/maskwatch/{SERIAL}.csr").exists()


def test_a_copied_card_is_refused_and_becomes_a_board_of_its_own_when_adopted(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.installed()
    key = (scene.root / "etc/maskwatch/secrets/key.pem").read_bytes()
    (scene.root / "var/lib/maskwatch/outbox.db").write_text("the other board's events")
    (scene.root / "proc/device-tree/serial-number").write_text("10000000aaaaaaaa\0")
    before = listing(scene.root)
    capsys.readouterr()
    assert scene.provision() == 78
    assert f"this card is a copy: it was provisioned as {SERIAL}" in capsys.readouterr().err
    assert listing(scene.root) == before

    assert scene.provision("--adopt") == 75
    assert scene.system.active == ""
    sign_by_hand(scene.authority, scene.bundle, "10000000aaaaaaaa")
    assert scene.provision() == 0
    assert (scene.root / "etc/maskwatch/secrets/key.pem").read_bytes() != key
    assert 'id = "10000000aaaaaaaa"' in (scene.root / CONFIG).read_text()
    state = scene.root / "var/lib/maskwatch"
    assert (state / f"of-{SERIAL}/outbox.db").read_text() == "the other board's events"
    assert (state / "outbox.db").read_text() == ""


def test_a_machine_id_that_was_copied_too_is_made_anew_first(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    (scene.root / "proc/device-tree/serial-number").unlink()
    product = scene.root / "sys/class/dmi/id/product_uuid"
    product.parent.mkdir(parents=True)
    product.write_text("4C4C4544-0000-1000-8000-000000000001\n")
    assert scene.provision() == 75
    product.write_text("4C4C4544-0000-1000-8000-000000000002\n")
    capsys.readouterr()
    assert scene.provision("--adopt") == 78
    assert "rm /etc/machine-id && systemd-machine-id-setup" in capsys.readouterr().err
