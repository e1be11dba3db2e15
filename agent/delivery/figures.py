"""How delivery is doing, as numbers and words that any thread may read."""

import msgspec

from agent.delivery.link import Trouble


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """stored, acknowledged, given_up: events since the start. backlog, waiting: events now, on the disk and before it.

    trouble, sentence: why there is no connection, or no progress. storage: what is wrong with the disk, or empty.
    """

    stored: int = 0
    acknowledged: int = 0
    given_up: int = 0
    backlog: int = 0
    waiting: int = 0
    session: int = 0
    connected_since_ns: int | None = None
    trouble: Trouble | None = None
    sentence: str = ""
    storage: str = ""
