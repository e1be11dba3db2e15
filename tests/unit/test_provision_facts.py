"""What a board is, and for which reason a bundle is not for it."""

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.provision.bundle import Bundle, Manifest
from deploy.provision.facts import Facts, gather, judge, remarks, wait_for_clock
from deploy.provision.identity import Identity, identify, is_copy, refuse_copy
from deploy.provision.options import Options
from deploy.provision.problem import Exit, Problem
from deploy.provision.record import Record
from tests.provision_parts import SERIAL, FolderBoard, System, make_root

FINE = Facts(
    system="Debian GNU/Linux 13 (trixie)",
    debian=13,
    model="Raspberry Pi 4 Model B Rev 1.5",
    machine="aarch64",
    python="3.13",
    systemd=257,
    free_mb=9000.0,
    memory_mb=900.0,
    wall_s=1_800_000_000.0,
    lacking=(),
    cameras=("imx219 10-0010",),
    corals=(),
    has_libedgetpu=False,
    has_picamera2=True,
    has_wifi=True,
)
BUNDLE = Bundle(
    folder=Path("/b"),
    beside=Path("/b"),
    manifest=Manifest(
        version="1.0",
        wheel="w",
        pip="p",
        site="a",
        machines=["aarch64"],
        pythons=["3.11", "3.13"],
        made="2026-11-21T20:00:00Z",
        files={},
    ),
    options=Options(),
    claim=None,
)


@pytest.fixture
def board(tmp_path: Path) -> FolderBoard:
    root = make_root(tmp_path)
    return FolderBoard(root, System(root))


def test_a_board_that_the_bundle_is_for_is_taken() -> None:
    judge(FINE, BUNDLE, is_installed=False)


@pytest.mark.parametrize(
    ("facts", "code", "said"),
    [
        (replace(FINE, debian=11, system="Debian GNU/Linux 11"), Exit.UNFIT, "Debian GNU/Linux 11 is not supported"),
        (replace(FINE, debian=0, system="Alpine"), Exit.UNFIT, "Alpine is not supported"),
        (replace(FINE, machine="x86_64"), Exit.UNFIT, "the bundle is for aarch64, not x86_64"),
        (replace(FINE, machine="aarch64 with 32-bit programs"), Exit.UNFIT, "use a 64-bit system"),
        (replace(FINE, python="3.12"), Exit.UNFIT, "make a bundle with --python 3.12"),
        (replace(FINE, lacking=("openssl",)), Exit.UNFIT, "openssl missing; apt-get install openssl"),
        (replace(FINE, systemd=0), Exit.UNAVAILABLE, "systemd does not run here; run this on the booted board"),
        (replace(FINE, memory_mb=200.0), Exit.UNFIT, "200 MB of memory, 350 are needed"),
        (replace(FINE, free_mb=499.0), Exit.STORAGE, "499 MB are free, 500 are needed"),
        (replace(FINE, wall_s=0.0), Exit.UNAVAILABLE, "the clock is behind"),
    ],
)
def test_the_first_reason_against_it_is_one_line(facts: Facts, code: Exit, said: str) -> None:
    with pytest.raises(Problem) as caught:
        judge(facts, BUNDLE, is_installed=False)
    assert said in str(caught.value)
    assert caught.value.code == code
    assert len(str(caught.value).splitlines()) == 1


def test_a_full_card_is_no_reason_against_a_release_that_is_installed() -> None:
    judge(replace(FINE, free_mb=10.0), BUNDLE, is_installed=True)


def test_a_board_is_seen_as_it_is(board: FolderBoard) -> None:
    facts = gather(board)
    assert (facts.debian, facts.system) == (13, "Debian GNU/Linux 13 (trixie)")
    assert facts.model == "Raspberry Pi 4 Model B Rev 1.5"
    assert facts.systemd == 257
    assert 439 < facts.memory_mb < 441
    assert (facts.cameras, facts.corals, facts.lacking) == ((), (), ())


def test_a_system_without_systemd_is_told_from_one_with_it(board: FolderBoard) -> None:
    board.path("/run/systemd/system").rmdir()
    assert gather(board).systemd == 0


def put(board: FolderBoard, **texts: str) -> None:
    for path, text in texts.items():
        file = board.path(path.replace("__", "/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_codecs_are_no_cameras_and_a_sensor_is_one(board: FolderBoard) -> None:
    put(board, sys__class__video4linux__video10__name="bcm2835-codec-decode\n")
    put(board, sys__class__video4linux__video13__name="bcm2835-isp-output0\n")
    assert gather(board).cameras == ()
    assert "camera: none seen" in remarks(gather(board))[0]
    put(board, sys__class__video4linux__video2__name="USB2.0 Camera: USB2.0\n")
    assert gather(board).cameras == ("USB2.0 Camera: USB2.0",)
    subdev = board.path("/sys/class/video4linux/v4l-subdev0")
    subdev.mkdir()
    (subdev / "name").write_text("imx708 10-001a\n")
    assert gather(board).cameras == ("imx708 10-001a",)


def test_a_coral_is_seen_before_and_after_its_firmware_and_never_an_error(board: FolderBoard) -> None:
    for number, ids in enumerate([("1d6b", "0002"), ("1a6e", "089a"), ("18d1", "9302")]):
        device = board.path(f"/sys/bus/usb/devices/1-{number}")
        device.mkdir(parents=True)
        (device / "idVendor").write_text(f"{ids[0]}\n")
        (device / "idProduct").write_text(f"{ids[1]}\n")
    facts = gather(board)
    assert facts.corals == ("before its firmware (1a6e:089a)", "ready (18d1:9302)")
    assert "Coral: libedgetpu.so.1 is missing" in remarks(facts)[-1]


def test_a_clock_that_is_behind_gets_a_minute_to_be_set(board: FolderBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    late = BUNDLE.manifest.made_s - 100
    monkeypatch.setattr(board, "wall_s", lambda: late + 10 * board.slept_s)
    wait_for_clock(board, BUNDLE, said.append)
    assert 10 <= board.slept_s < 14
    monkeypatch.setattr(board, "wall_s", lambda: late)
    wait_for_clock(board, BUNDLE, said.append)
    assert 60 <= board.slept_s < 80
    assert said == ["the clock is behind; waiting for the network's time"] * 2


def test_the_id_is_the_one_that_the_agent_makes(board: FolderBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.config._SERIAL_FILES", (board.path("/proc/device-tree/serial-number"),))
    monkeypatch.setattr("agent.config._MACHINE_ID", board.path("/etc/machine-id"))
    from agent.config import machine_id

    board.path("/proc/device-tree/serial-number").write_text("10000000ABCDEF12\0")
    assert identify(board).device == machine_id() == "10000000abcdef12"
    board.path("/proc/device-tree/serial-number").unlink()
    found = identify(board)
    assert found.device == machine_id()
    assert len(found.device) == 12
    assert found.serial == ""


def test_a_board_without_serial_and_machine_id_is_refused(board: FolderBoard) -> None:
    board.path("/proc/device-tree/serial-number").unlink()
    board.path("/etc/machine-id").write_text("uninitialized\n")
    with pytest.raises(Problem, match="systemd-machine-id-setup"):
        identify(board)


def test_a_board_is_a_copy_when_its_id_or_its_hardware_is_another() -> None:
    here = Identity(device="aaaaaaaa", serial="s1", model="")
    assert not is_copy(here, Record())
    assert not is_copy(here, Record(device="aaaaaaaa", serial="s1"))
    assert not is_copy(here, Record(device="aaaaaaaa", serial=""))
    assert is_copy(here, Record(device="aaaaaaaa", serial="s2"))
    assert is_copy(here, Record(device="bbbbbbbb", serial="s1"))
    refuse_copy(here, Record(device=SERIAL, serial=SERIAL), adopt=True)
    with pytest.raises(Problem, match="this card is a copy"):
        refuse_copy(here, Record(device=SERIAL, serial=SERIAL), adopt=False)
