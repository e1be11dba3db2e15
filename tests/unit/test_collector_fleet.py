"""Whose part a device is, when a broker cannot share a subscription."""

from tools.fleet.collector.fleet import Division

DEVICES = [f"cam{number}" for number in range(200)]
NAMES = ("a", "b", "c")


def settled(name: str, *live: str) -> Division:
    division = Division(name)
    division.heard(live)
    division.quiet()
    return division


def parts(*names: str) -> dict[str, set[str]]:
    return {name: {device for device in DEVICES if settled(name, *names).is_ours(device)} for name in names}


def test_every_device_is_exactly_one_instances_part_and_all_have_some() -> None:
    found = parts(*NAMES)

    assert sorted(device for part in found.values() for device in part) == sorted(DEVICES)
    assert min(len(part) for part in found.values()) > len(DEVICES) / 6


def test_when_one_goes_only_its_own_devices_move() -> None:
    before, after = parts(*NAMES), parts("a", "b")

    assert before["a"] < after["a"]
    assert before["b"] < after["b"]


def test_who_is_alone_has_all() -> None:
    assert all(Division("a").is_ours(device) for device in DEVICES)


def test_nothing_is_left_to_a_newcomer_before_the_broker_had_nothing_for_us() -> None:
    division = Division("a")

    division.heard({"a", "b"})
    assert all(division.is_ours(device) for device in DEVICES)

    division.quiet()
    assert not all(division.is_ours(device) for device in DEVICES)


def test_what_the_dead_had_is_ours_at_once() -> None:
    division = settled("a", "a", "b")

    division.heard({"a"})

    assert all(division.is_ours(device) for device in DEVICES)


def test_a_name_that_comes_back_is_a_newcomer() -> None:
    division = settled("a", "a", "b")

    division.heard({"a"})
    division.heard({"a", "b"})

    assert all(division.is_ours(device) for device in DEVICES)
