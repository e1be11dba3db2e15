"""The board's numbers, from files like the kernel's, and from this machine's own."""

import shutil
from pathlib import Path

import pytest

from agent.clock import NS_PER_S
from agent.delivery.certificate import read_certificate
from agent.service.health import read_health, temperature_c, throttled
from tests.certificates import Signer, new_key
from tests.unit.service_clock import TestClock


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_numbers_are_the_kernels(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        {
            "proc/self/status": "Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t  51200 kB\n",
            "proc/self/io": "rchar: 1\nwrite_bytes: 8192\ncancelled_write_bytes: 4\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "48312\n",
        },
    )
    health = read_health(tmp_path, "", TestClock(), root=root)
    assert (health.memory_mb, health.written_kb, health.temperature_c) == (50.0, 8, 48.312)
    assert health.disk_free_mb == pytest.approx(shutil.disk_usage(tmp_path).free / 1e6, rel=0.05)
    assert health.throttled is None
    assert health.certificate_days is None


def test_this_machines_own_files_give_sane_numbers(tmp_path: Path) -> None:
    health = read_health(tmp_path, "", TestClock())
    assert 5 < health.memory_mb < 10_000
    assert health.disk_free_mb > 0


def test_the_hottest_zone_counts_where_none_is_named_after_the_processor(tmp_path: Path) -> None:
    for number, (kind, temp) in enumerate([("acpitz", "30000"), ("pch", "61000"), ("broken", "")]):
        put(
            tmp_path,
            {
                f"class/thermal/thermal_zone{number}/{name}": text
                for name, text in zip(("type", "temp"), (kind, temp), strict=True)
            },
        )
    assert temperature_c(tmp_path) == 61.0
    put(tmp_path, {"class/thermal/thermal_zone9/type": "cpu-thermal", "class/thermal/thermal_zone9/temp": "-5000"})
    assert temperature_c(tmp_path) == -5.0
    assert temperature_c(tmp_path / "nothing") is None


def test_too_little_voltage_or_a_slowed_processor_is_throttled_and_a_fan_is_not(tmp_path: Path) -> None:
    put(tmp_path, {"class/thermal/cooling_device0/type": "pwm-fan", "class/thermal/cooling_device0/cur_state": "3"})
    assert throttled(tmp_path) is None
    volt = {"class/hwmon/hwmon1/name": "rpi_volt\n", "class/hwmon/hwmon1/in0_lcrit_alarm": "0\n"}
    put(tmp_path, volt)
    assert throttled(tmp_path) is False
    put(tmp_path, volt | {"class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"})
    assert throttled(tmp_path) is True
    put(tmp_path, volt)
    put(
        tmp_path, {"class/thermal/cooling_device1/type": "cpufreq-cpu0", "class/thermal/cooling_device1/cur_state": "2"}
    )
    assert throttled(tmp_path) is True


def test_days_are_counted_only_with_a_clock_to_count_with(tmp_path: Path) -> None:
    certificate = tmp_path / "device.pem"
    certificate.write_text(Signer().sign(new_key(), "cam1", days=30))
    end_ns = read_certificate(certificate.read_text()).ends_ns
    trusted = TestClock(wall_ns=end_ns - 36 * 3600 * NS_PER_S)
    assert read_health(tmp_path, str(certificate), trusted).certificate_days == 1.5
    assert read_health(tmp_path, str(certificate), TestClock()).certificate_days is None
    assert read_health(tmp_path, str(tmp_path / "none.pem"), trusted).certificate_days is None


def test_a_disk_that_does_not_answer_has_no_room(tmp_path: Path) -> None:
    assert read_health(tmp_path / "gone", "", TestClock()).disk_free_mb == 0.0
