"""How often somebody may try a password. Pure but for its lock."""

import threading
from collections import OrderedDict

import msgspec

from agent.clock import NS_PER_S

_ADDRESSES_MAX = 10_000
_EACH, _EACH_BACK_NS = 5, 30 * NS_PER_S  # five tries from one address at once, then one in half a minute
_ALL, _ALL_BACK_NS = 30, 2 * NS_PER_S  # from all addresses together


class _Bucket(msgspec.Struct):
    """Tries that are left, and when that was."""

    left: float
    at_ns: int


class Throttle:
    """Counts tries by the address they come from. A try that was right is given back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_address: OrderedDict[str, _Bucket] = OrderedDict()
        self._all = _Bucket(float(_ALL), 0)

    def take(self, address: str, now_ns: int) -> bool:
        """Tell whether a password may be tried now, and count the try before its result is known."""
        with self._lock:
            one = self._by_address.setdefault(address, _Bucket(float(_EACH), now_ns))
            self._by_address.move_to_end(address)
            while len(self._by_address) > _ADDRESSES_MAX:
                self._by_address.popitem(last=False)
            _refill(one, now_ns, _EACH, _EACH_BACK_NS)
            _refill(self._all, now_ns, _ALL, _ALL_BACK_NS)
            if one.left < 1 or self._all.left < 1:
                return False
            one.left -= 1
            self._all.left -= 1
            return True

    def give_back(self, address: str) -> None:
        """Take back a try: its password was right."""
        with self._lock:
            self._all.left = min(_ALL, self._all.left + 1)
            if address in self._by_address:
                self._by_address[address].left = min(_EACH, self._by_address[address].left + 1)


def _refill(bucket: _Bucket, now_ns: int, most: int, back_ns: int) -> None:
    bucket.left = min(float(most), bucket.left + (now_ns - bucket.at_ns) / back_ns)
    bucket.at_ns = now_ns
