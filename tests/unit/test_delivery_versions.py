"""Which MQTT is spoken first, after what has happened."""

import pytest

from agent.delivery.versions import Versions


def connect(made: Versions, *, answers_5: bool = False, answers_3: bool = True) -> str:
    """Let one attempt come to its end, and tell what was spoken."""
    version = made.first
    if answers_5 if version == "5" else answers_3:
        made.works(version)
    else:
        made.silent(version)
    return version


def test_mqtt_5_is_tried_first_as_long_as_it_works() -> None:
    made = Versions("auto")
    assert [connect(made, answers_5=True) for _ in range(3)] == ["5"] * 3


def test_after_each_silence_3_1_1_is_trusted_for_twice_as_many_connections() -> None:
    made = Versions("auto")
    spoken = "".join(connect(made)[0] for _ in range(1000))
    lengths = [len(run) for run in spoken.split("5")[1:-1]]
    assert lengths == [2, 3, 5, 9, 17, 33, 65, 65, *[65] * (len(lengths) - 8)]


def test_a_broker_that_is_frozen_is_asked_in_turns_and_costs_one_connection_in_3_1_1_at_most() -> None:
    made = Versions("auto")
    assert [connect(made, answers_3=False) for _ in range(6)] == ["5", "3.1.1"] * 3
    connect(made, answers_3=False)
    assert connect(made) == "3.1.1"  # it thaws just now
    assert connect(made) == "3.1.1"
    assert connect(made, answers_5=True) == "5"
    connect(made)
    assert [connect(made, answers_5=True) for _ in range(3)] == ["3.1.1", "3.1.1", "5"]  # forgiven in between


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_protocol_that_was_chosen_is_the_only_one(protocol: str) -> None:
    made = Versions(protocol)  # type: ignore[arg-type]
    assert not made.falls_back(made.first)
    assert {connect(made, answers_3=False) for _ in range(4)} == {protocol}


def test_a_refusal_of_mqtt_5_is_followed_by_3_1_1_and_that_of_3_1_1_by_nothing() -> None:
    made = Versions("auto")
    assert made.falls_back("5")
    assert not made.falls_back("3.1.1")
