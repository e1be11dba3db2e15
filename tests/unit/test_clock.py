"""The two clocks: one never jumps, the other is believed only when somebody sets it."""

import ctypes
from pathlib import Path
from typing import Any

import pytest

from agent import clock
from agent.clock import NS_PER_S, SystemClock, boot_id, new_id


def test_monotonic_time_goes_on_and_sleep_takes_at_least_its_time() -> None:
    machine = SystemClock()
    before = machine.now_ns()

    machine.sleep(0.01)
    machine.sleep(-1)

    assert machine.now_ns() - before >= 10_000_000


def test_wall_time_agrees_with_the_system() -> None:
    assert abs(SystemClock().wall_ns() - Path("/proc/self").stat().st_ctime_ns) < 86_400 * NS_PER_S


@pytest.mark.parametrize(
    ("wall_s", "status", "marked", "trusted"),
    [
        (0, 0, True, False),  # 1970: whoever says otherwise
        (1_900_000_000, 0x0001, False, True),  # disciplined by a network time daemon
        (1_900_000_000, 0x0040, False, False),  # STA_UNSYNC
        (1_900_000_000, 0x0040, True, True),  # timesyncd has set it, the kernel does not know yet
    ],
)
def test_the_wall_clock_is_trusted_only_when_it_was_set(
    wall_s: int, status: int, marked: bool, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "synchronized"
    if marked:
        marker.touch()

    class Libc:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def adjtimex(self, timex: Any) -> int:
            ctypes.c_int.from_buffer(timex, 5 * ctypes.sizeof(ctypes.c_long)).value = status
            return 0

    monkeypatch.setattr(clock, "_SYNCHRONIZED", marker)
    monkeypatch.setattr(clock.ctypes, "CDLL", Libc)
    monkeypatch.setattr(clock.time, "time_ns", lambda: wall_s * NS_PER_S)

    assert SystemClock().trusted() is trusted


def test_the_kernel_answers_the_real_call() -> None:
    assert clock._kernel_says_unsynchronized() in (True, False)


def test_ids_are_new_each_time_and_a_boot_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({new_id() for _ in range(100)}) == 100
    assert boot_id() == boot_id()
    assert len(boot_id()) == 32

    monkeypatch.setattr(clock, "Path", lambda _: Path("/nonexistent"))
    assert len(boot_id()) == 32
