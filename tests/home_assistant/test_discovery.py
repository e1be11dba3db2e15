"""What Home Assistant makes of a board: its real core and MQTT integration, a real broker, the real agent."""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from agent.errors import UnavailableError
from tests.integration.agent_process import AgentProcess
from tests.real import Mosquitto, free_port, wait_for
from tools.debian.root import command
from tools.debian.roots import HOME_ASSISTANT, HOME_ASSISTANT_PYTHON

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(1500)]
_CORE = Path(__file__).with_name("core.py")
_START_S = 120.0
_SETTINGS = [
    "report.counts_every_s=2",
    "report.counts_idle_every_s=2",
    "report.telemetry_every_s=1",
    "camera.loop=true",
]


class HomeAssistant:
    """Its core in a Debian 13 root, joined to a broker by MQTT."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        try:
            root = HOME_ASSISTANT.ready()
        except UnavailableError as error:
            pytest.skip(str(error))
        (folder / "scratch").mkdir(parents=True)
        (folder / "config").mkdir()
        words = [HOME_ASSISTANT_PYTHON, "/srv/test/core.py", "/srv/config", "127.0.0.1", str(broker.port)]
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            command(
                root,
                [*words, str(free_port())],
                folders={"/srv/test": _CORE.parent, "/srv/config": folder / "config"},
                scratch=folder / "scratch",
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_until_ready(self) -> None:
        assert json.loads(self._lines.get(timeout=_START_S)) == {"ready": ["loaded"]}

    def look(self) -> "Picture":
        """Ask for the registries and the states."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Picture(json.loads(self._lines.get(timeout=30)))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def __enter__(self) -> Self:
        self.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class Picture:
    """What it knew at one moment."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.devices: list[dict[str, Any]] = found["devices"]
        self.entities: list[dict[str, Any]] = [
            entity for entity in found["entities"] if entity["unique_id"].startswith("maskwatch_")
        ]

    def state(self, key: str) -> str | None:
        """Give the state of our entity of that name, None where there is no such entity."""
        return next((one["state"] for one in self.entities if one["unique_id"] == f"maskwatch_test_board_{key}"), None)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    if os.geteuid() != 0:
        pytest.skip("needs root: Home Assistant runs in a Debian 13 root")
    with Mosquitto(tmp_path_factory.mktemp("broker") / "mosquitto") as broker:
        yield broker


@pytest.fixture(scope="module")
def core(broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeAssistant]:
    with HomeAssistant(tmp_path_factory.mktemp("core"), broker) as core:
        yield core


def test_a_board_appears_with_its_entities_follows_events_and_shows_when_it_is_gone(
    broker: Mosquitto, core: HomeAssistant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with AgentProcess(tmp_path / "board", url=broker.url, settings=_SETTINGS) as agent:
        agent.wait_for("READY")
        wait_for(lambda: core.look().state("online") == "on", 30, "the device")
        picture = core.look()
        ours = [device for device in picture.devices if ["mqtt", "maskwatch_test_board"] in device["identifiers"]]
        assert [device["name"] for device in ours] == ["maskwatch board"]
        told = {entity["name"]: entity for entity in picture.entities}
        with capsys.disabled():
            print()
            for name, entity in told.items():
                category = entity["category"] or "-"
                print(f"  {entity['entity_id']:<50} {name:<20} {category:<11} {entity['state']}")
        assert set(told) == {
            *("With mask", "Without mask", "Mask worn wrongly", "Unsure"),
            *("Persons present", "Last label", "Status", "Camera", "Temperature"),
        }
        wait_for(lambda: core.look().state("label") in ("mask", "no_mask"), 30, "a person")
        wait_for(lambda: (core.look().state("present") or "0").isdigit(), 30, "the persons present")
        wait_for(lambda: core.look().state("camera") == "ok", 30, "the camera's state")
        wait_for(
            lambda: any(
                core.look().state(f"ended_{label}") not in (None, "0", "unknown") for label in ("mask", "no_mask")
            ),
            60,
            "counts",
        )
        agent.kill()
        wait_for(lambda: core.look().state("online") == "off", 120, "the will")
        wait_for(lambda: core.look().state("label") == "unavailable", 30, "unavailability")


def test_a_board_that_comes_back_is_the_same_device_and_one_that_is_told_so_is_removed(
    broker: Mosquitto, core: HomeAssistant, tmp_path: Path
) -> None:
    with AgentProcess(tmp_path / "board", url=broker.url, settings=_SETTINGS) as agent:
        agent.wait_for("READY")
        wait_for(lambda: core.look().state("online") == "on", 30, "the device")
        before = sorted(one["entity_id"] for one in core.look().entities)
        assert agent.terminate() == 0
        wait_for(lambda: core.look().state("online") == "off", 30, "the goodbye")
    with AgentProcess(tmp_path / "board", url=broker.url, settings=[*_SETTINGS, "report.discovery=false"]) as agent:
        agent.wait_for("READY")
        wait_for(lambda: core.look().state("online") is None, 30, "its removal")
        assert before
        assert core.look().entities == []
