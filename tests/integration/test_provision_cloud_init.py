"""The files for a card's small partition: what cloud-init and a shell make of them."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.provision.problem import Exit
from tests.real import need

FOLDER = Path(__file__).parents[2] / "deploy/cloud-init"


def script() -> str:
    (found,) = [line for line in user_data()["runcmd"] if isinstance(line, str)]
    return str(found)


def user_data() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load((FOLDER / "user-data").read_text())
    return table


def test_cloud_init_takes_the_user_data() -> None:
    program = need("cloud-init", "cloud-init")
    done = subprocess.run(
        [program, "schema", "--config-file", FOLDER / "user-data"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid" in done.stdout


def test_every_word_in_capitals_is_named_in_the_readme_s_step() -> None:
    network = yaml.safe_load((FOLDER / "network-config").read_text())["network"]
    assert network["version"] == 2
    assert network["wifis"]["wlan0"]["access-points"] == {"SSID": {"password": "PASSWORD"}}
    assert network["wifis"]["wlan0"]["regulatory-domain"] == "COUNTRY"
    assert user_data()["hostname"] == "HOSTNAME"
    assert user_data()["users"][0]["ssh_authorized_keys"] == ["SSH-PUBLIC-KEY"]
    assert "host name, your SSH key, country, Wi-Fi name and password" in (FOLDER / "README.md").read_text()


def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run(
        [need("shellcheck", "shellcheck"), "-s", "sh", "-"], input=script(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("codes", "tries"),
    [
        ([0], 1),
        ([Exit.UNAVAILABLE, Exit.LATER, 0], 3),
        ([Exit.NOT_PERMITTED], 1),
        ([Exit.UNFIT], 1),
        ([Exit.UNAVAILABLE] * 12, 10),
    ],
)
def test_what_time_may_cure_is_tried_again_and_nothing_else(tmp_path: Path, codes: list[int], tries: int) -> None:
    (tmp_path / "codes").write_text("\n".join(str(int(code)) for code in codes) + "\n")
    (tmp_path / "provision").write_text(
        f'echo "$@" >>{tmp_path}/calls\nread -r code <{tmp_path}/codes\nsed -i 1d {tmp_path}/codes\nexit "$code"\n'
    )
    text = script().replace("/boot/firmware/bundle", str(tmp_path))
    assert text.count(str(tmp_path)) == 1
    subprocess.run(["sh", "-c", f"sleep() {{ :; }}\n{text}"], check=True, timeout=60)
    assert (tmp_path / "calls").read_text().splitlines() == [f"--bundle {tmp_path}"] * tries
