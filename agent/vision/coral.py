"""Whether an Edge TPU is on the bus: a look that costs next to nothing, before a process is started for one."""

from pathlib import Path

_USB_IDS = {("1a6e", "089a"), ("18d1", "9302")}  # Global Unichip before its firmware is loaded, Google after
MACHINE = Path("/")


def is_plugged(root: Path = MACHINE) -> bool:
    """Tell whether a Coral is on the USB (by its ids in sysfs) or on PCIe (by the gasket driver's node).

    root: of the file system. Where sysfs cannot be read, the answer is no.
    """
    return any(_ids(device) in _USB_IDS for device in (root / "sys/bus/usb/devices").glob("*")) or any(
        (root / "dev").glob("apex_*")
    )


def _ids(device: Path) -> tuple[str, str] | None:
    try:
        return (device / "idVendor").read_text().strip(), (device / "idProduct").read_text().strip()
    except OSError:  # an interface, not a device; or one that has just been pulled out
        return None
