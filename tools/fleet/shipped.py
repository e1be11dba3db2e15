"""The broker of deploy/mosquitto somewhere else than where Debian puts it: another folder, a port on loopback."""

import re
import shutil
from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "deploy" / "mosquitto"
_FILES = "/etc/mosquitto/maskwatch/"
_LISTENER = re.compile(r"^listener 8883$", re.MULTILINE)


def placed(text: str, *, files: Path, port: int) -> str:
    """Give the shipped configuration for another folder and port; every other word of it stays.

    Raises ValueError when it does not hold what is to be replaced.
    """
    if len(_LISTENER.findall(text)) != 1 or _FILES not in text:
        raise ValueError(f"not the shipped configuration: one `listener 8883` and paths below {_FILES} are expected")
    return _LISTENER.sub(f"listener {port} 127.0.0.1", text).replace(_FILES, f"{files}/")


def lay_out(folder: Path, *, port: int, ca: Path, crl: Path, certificate: Path, key: Path) -> Path:
    """Put configuration, access list, authority and the broker's own pair into a folder; gives the configuration.

    Before the shipped lines come those that Debian's own file has: where the sessions are saved, and as whom it runs.
    """
    files = folder / "maskwatch"
    files.mkdir(parents=True)
    for name, source in (("ca.pem", ca), ("ca.crl", crl), ("broker.pem", certificate), ("broker.key", key)):
        shutil.copyfile(source, files / name)
    (files / "acl").touch(mode=0o600)  # mosquitto 2.0.21 warns of one that others may read
    shutil.copyfile(SHIPPED / "acl", files / "acl")
    config = folder / "mosquitto.conf"
    shipped = placed((SHIPPED / "maskwatch.conf").read_text(), files=files, port=port)
    config.write_text(f"user root\npersistence_location {folder}/\n{shipped}")
    return config
