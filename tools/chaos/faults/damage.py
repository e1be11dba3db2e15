"""Five kinds of damage to the outbox's file while its device is dead: what can be read is saved, the rest is named."""

import random
from collections.abc import Callable
from pathlib import Path

from agent.delivery.schema import PAGE_BYTES
from tools.chaos.rig import Rig, World
from tools.chaos.rows import Row
from tools.chaos.trial import Budget, Fault, repeat, tried

_WAIT_ROWS = (150, 900)  # unacknowledged when the damage is done: more than the log holds
_LEAF = 0x0D  # first byte of a leaf page of a table. Source: SQLite database file format, 1.6
_LOG_HEADER, _FRAME_HEADER = 32, 24

Harm = Callable[[Path, random.Random], None]


def header(file: Path, rng: random.Random) -> None:
    """Overwrite the first hundred bytes."""
    _write(file, 0, rng.randbytes(100))


def page(file: Path, rng: random.Random) -> None:
    """Overwrite a page that holds events."""
    _write(file, _leaf(file, rng) * PAGE_BYTES, rng.randbytes(PAGE_BYTES))


def truncation(file: Path, rng: random.Random) -> None:
    """Cut the file off at half its pages."""
    size = file.stat().st_size // PAGE_BYTES // 2 * PAGE_BYTES
    with file.open("r+b") as opened:
        opened.truncate(max(PAGE_BYTES, size))


def flipped_bit(file: Path, rng: random.Random) -> None:
    """Turn a bit among the contents of a page that holds events."""
    place = _leaf(file, rng) * PAGE_BYTES + rng.randrange(PAGE_BYTES // 2, PAGE_BYTES)
    with file.open("r+b") as opened:
        opened.seek(place)
        byte = opened.read(1)[0]
        opened.seek(place)
        opened.write(bytes([byte ^ 1 << rng.randrange(8)]))


def garbage_log(file: Path, rng: random.Random) -> None:
    """Overwrite the write-ahead log, from its header or from some place in it on."""
    log = file.with_name(file.name + "-wal")
    size = log.stat().st_size if log.exists() else 0
    start = rng.choice([0, _LOG_HEADER, rng.randrange(_LOG_HEADER, max(size, _LOG_HEADER + 1))])
    _write(log, start, rng.randbytes(max(100, size - start)))


def damage(harm: Harm) -> Callable[[World, Budget, Fault], Row]:
    """Make the fault of a kind of damage."""

    def run(world: World, budget: Budget, fault: Fault) -> Row:
        rig = Rig(world, fault.name, devices=2, rate_per_s=10.0)
        broker = rig.start_broker()
        waited: list[int] = []

        def inject() -> int:
            victim = rig.rng.choice(rig.producers)
            account = rig.ledger.account(victim.device)
            away = (
                rig.collectors[0] if rig.injected % 3 == 2 else broker
            )  # a broker keeps what it took: all of it comes
            away.terminate()
            before = len(account.decided)
            rows = rig.rng.randint(*_WAIT_ROWS)
            for _ in range(3):  # in three appends at least: the log goes into the file in between
                victim.say(f"burst {rows // 3 + 1}")
            if not rig.until(lambda: len(account.decided) >= before + rows, 60.0):
                raise TimeoutError(f"{victim.device} did not store {rows} events")
            victim.kill()
            waited.append(len(account.decided) - before)
            file = Path(victim.orders.directory) / "outbox.db"
            harm(file, rig.rng)
            since_ns = rig.clock.now_ns()
            away.start()
            rig.rebirth(victim)
            return since_ns

        def work() -> None:
            rig.start_collector()
            rig.start_producers(rig.broker_url)
            repeat(rig, budget, inject, between_s=(0.5, 3.0))
            rig.notes.append(f"{sum(waited)} rows waited in the files that were damaged")

        return tried(world, fault, rig, work)

    return run


def _leaf(file: Path, rng: random.Random) -> int:
    """Give the number, from 0, of a page with events, if there is one whose contents are not in the log as well."""
    data = file.read_bytes()
    leaves = [place for place in range(1, len(data) // PAGE_BYTES) if data[place * PAGE_BYTES] == _LEAF]
    return rng.choice([place for place in leaves if place not in _logged(file)] or leaves or [0])


def _logged(file: Path) -> set[int]:
    """Give the pages, from 0, that the log names. Source: SQLite database file format, 4.1."""
    log = file.with_name(file.name + "-wal")
    data = log.read_bytes() if log.exists() else b""
    frames = range(_LOG_HEADER, len(data), _FRAME_HEADER + PAGE_BYTES)
    return {int.from_bytes(data[place : place + 4], "big") - 1 for place in frames}


def _write(file: Path, place: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(data)
