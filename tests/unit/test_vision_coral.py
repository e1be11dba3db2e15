"""Whether a Coral is on the bus, seen in a made-up file system."""

from pathlib import Path

import pytest

from agent.vision.coral import is_plugged


def usb_device(root: Path, name: str, vendor: str, product: str) -> Path:
    device = root / "sys/bus/usb/devices" / name
    device.mkdir(parents=True)
    (device / "idVendor").write_text(f"{vendor}\n")
    (device / "idProduct").write_text(f"{product}\n")
    return device


@pytest.mark.parametrize(("vendor", "product"), [("1a6e", "089a"), ("18d1", "9302")])
def test_a_stick_is_seen_before_and_after_its_firmware_is_loaded(tmp_path: Path, vendor: str, product: str) -> None:
    usb_device(tmp_path, "usb1", "1d6b", "0002")
    assert not is_plugged(tmp_path)
    usb_device(tmp_path, "1-1.4", vendor, product)
    assert is_plugged(tmp_path)


def test_other_things_of_the_same_makers_are_no_coral(tmp_path: Path) -> None:
    usb_device(tmp_path, "1-1", "18d1", "4ee7")  # a telephone
    usb_device(tmp_path, "1-2", "1a6e", "9302")
    assert not is_plugged(tmp_path)


def test_a_card_is_seen_by_its_drivers_node(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    assert not is_plugged(tmp_path)
    (tmp_path / "dev/apex_0").touch()
    assert is_plugged(tmp_path)


def test_an_interface_and_a_device_that_goes_while_we_look_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "sys/bus/usb/devices/1-1:1.0").mkdir(parents=True)
    (usb_device(tmp_path, "1-1", "1a6e", "089a") / "idProduct").unlink()
    assert not is_plugged(tmp_path)


def test_without_sysfs_there_is_none(tmp_path: Path) -> None:
    assert not is_plugged(tmp_path)
