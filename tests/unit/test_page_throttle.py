"""How often a password may be tried."""

from agent.clock import NS_PER_S
from tools.fleet.page.throttle import _ALL, _ALL_BACK_NS, _EACH, _EACH_BACK_NS, Throttle


def tries(throttle: Throttle, address: str, now_ns: int, number: int = 1000) -> int:
    """Give how many of some tries are allowed at one instant."""
    return sum(throttle.take(address, now_ns) for _ in range(number))


def test_from_one_address_a_few_at_once_and_then_one_now_and_then() -> None:
    throttle = Throttle()

    assert tries(throttle, "a", 0) == _EACH
    assert tries(throttle, "a", _EACH_BACK_NS - 1) == 0
    assert tries(throttle, "a", _EACH_BACK_NS) == 1
    assert tries(throttle, "a", 1000 * _EACH_BACK_NS) == _EACH


def test_one_address_does_not_lock_another_out() -> None:
    throttle = Throttle()
    tries(throttle, "a", 0)

    assert tries(throttle, "b", 0) == _EACH


def test_many_addresses_together_have_a_bound() -> None:
    throttle = Throttle()

    assert sum(tries(throttle, f"a{number}", 0, 10) for number in range(1000)) == _ALL
    assert sum(tries(throttle, f"b{number}", 10 * _ALL_BACK_NS, 10) for number in range(1000)) == 10


def test_a_right_try_is_given_back() -> None:
    throttle = Throttle()
    for _ in range(50):
        assert throttle.take("a", 0)
        throttle.give_back("a")


def test_what_is_kept_of_addresses_has_a_bound() -> None:
    throttle = Throttle()
    for number in range(20_000):
        throttle.take(f"a{number}", number * NS_PER_S)

    assert len(throttle._by_address) == 10_000
