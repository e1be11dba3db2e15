"""A thread that hangs: systemd's watchdog starts the agent anew within twice WatchdogSec; slow is not hung.

The switches of shims/hang do it, in the agent that was provisioned, through a drop-in. WatchdogSec is the shipped one
in the first test; shorter in the others, where what is looked at is the same.
"""

import time
from pathlib import Path

import msgspec
import pytest

from agent.events.state import Telemetry
from tests.board.booted import BootedBoard
from tests.board.fleet import SHARED, SITE, Fleet, statuses_of
from tests.integration.shipped_mosquitto import Client
from tests.real import wait_for

pytestmark = [pytest.mark.board, pytest.mark.timeout(600)]

SHIM = Path(__file__).parent / "shims" / "hang" / "sitecustomize.py"
SWITCHES = "/run/switches"
SHIPPED_S, SHORT_S = 30, 10
FRAMES_OF_A_SLOW_CAMERA = 25
"""At a frame a second, two and a half times SHORT_S: a camera that was taken for hung would be restarted by then."""


def with_switches(board: BootedBoard, fleet: Fleet, *, watchdog_s: int | None) -> None:
    """Let the agent look at switches, and have a live camera that no board has."""
    (fleet.shared / "hang").mkdir(exist_ok=True)
    (fleet.shared / "hang" / SHIM.name).write_text(SHIM.read_text())
    board.sh(f"mkdir -p {SWITCHES}; chown maskwatch {SWITCHES}")
    board.drop_in(
        "[Service]\n"
        f"Environment=PYTHONPATH={SHARED}/hang MASKWATCH_SWITCHES={SWITCHES} MASKWATCH_SHIM_CAMERA=1\n"
        f"Environment=MASKWATCH_CAMERA_SOURCE=v4l2:/dev/shim MASKWATCH_REPORT_TELEMETRY_EVERY_S=1\n"
        f"ReadWritePaths={SWITCHES}\n" + (f"WatchdogSec={watchdog_s}\n" if watchdog_s else "")
    )
    board.wait_for_unit("ActiveState", "active")
    expected = f"{watchdog_s or SHIPPED_S}s"
    assert board.unit("WatchdogUSec") == expected
    wait_for(lambda: "camera.open source='v4l2:/dev/shim" in board.journal("-u", "maskwatch"), what="the camera")


def frames(operator: Client, device: str) -> int:
    """Give how many frames the agent has had, by its last telemetry."""
    told = operator.got(f"maskwatch/{SITE}/{device}/telemetry")
    return msgspec.json.decode(told[-1], type=Telemetry).frames if told else 0


def hangs_and_is_replaced(board: BootedBoard, thread: str, *, within_s: float) -> None:
    before = board.agent_pid
    board.sh(f"touch {SWITCHES}/{thread}")
    began = time.monotonic()
    wait_for(lambda: board.agent_pid != before, within_s, "the end of the agent that hangs")
    board.sh(f"rm {SWITCHES}/{thread}")
    left_s = within_s - (time.monotonic() - began)
    wait_for(lambda: board.agent_pid != 0 and board.unit("ActiveState") == "active", left_s, "another agent")
    journal = board.journal("-u", "maskwatch")
    assert "Failed with result 'watchdog'" in journal, journal[-2000:]


def test_a_hung_vision_thread_is_replaced_within_a_minute_as_shipped(board: BootedBoard, fleet: Fleet) -> None:
    with_switches(board, fleet, watchdog_s=None)
    hangs_and_is_replaced(board, "vision", within_s=2 * SHIPPED_S)
    assert "watchdog.hung" in board.journal("-u", "maskwatch")


@pytest.mark.parametrize("thread", ["delivery", "camera", "supervisor"])
def test_any_thread_that_hangs_is_replaced_within_twice_the_watchdogs_time(
    board: BootedBoard, fleet: Fleet, thread: str
) -> None:
    with_switches(board, fleet, watchdog_s=SHORT_S)
    hangs_and_is_replaced(board, thread, within_s=2 * SHORT_S)


def test_neither_a_slow_camera_nor_one_that_stalls_restarts_the_agent(board: BootedBoard, fleet: Fleet) -> None:
    with_switches(board, fleet, watchdog_s=SHORT_S)
    agent = board.agent_pid
    with fleet.operator() as operator:
        device = board.device
        board.sh(f"touch {SWITCHES}/stalled")
        wait_for(lambda: "camera.back" in board.journal("-u", "maskwatch"), 2 * SHORT_S, "the camera's return")
        board.sh(f"touch {SWITCHES}/slow")
        seen = frames(operator, device)
        wait_for(
            lambda: frames(operator, device) >= seen + FRAMES_OF_A_SLOW_CAMERA,
            4 * FRAMES_OF_A_SLOW_CAMERA,
            "the frames of a slow camera",
        )
        assert statuses_of(operator, device)[-1].state == "online"
    assert (board.agent_pid, board.unit("NRestarts")) == (agent, "0")
