"""`python -m tools.chaos.soak [--minutes N] [--out DIR]`: 20 events/s for an hour, a fault every 20 s, nothing grows.

Two devices, one broker, one collector. The first device and the collector live through it and are watched: memory,
descriptors, disk. Faults fall on the broker, on the connections, on the disk of the first device, on its clock, and
on the whole of the second device.
"""

import argparse
import logging
import secrets
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from agent.clock import NS_PER_S
from tools.chaos.checker import Verdict
from tools.chaos.disk import SmallDisk, keep_mounts_to_ourselves
from tools.chaos.leftovers import Leftovers
from tools.chaos.processes import CannotRunError
from tools.chaos.proxy import CuttingProxy
from tools.chaos.rig import Rig, Stopped, World
from tools.chaos.samples import Sample, Trend, sample, trend

FAULT_EVERY_S = 20.0
SAMPLE_EVERY_S = 5.0
RATE_PER_S = 20.0
_WARM_S = 600.0  # a sixth of it in a shorter run
_WORK = Path(".work/chaos")
_FLAT = {"rss_mb": 2.0, "descriptors": 1.0, "threads": 0.5}  # an hour may add so much and be called flat
_OUTBOX_FLAT_KB = 64.0
_FIGURES = ("rss_mb", "descriptors", "threads", "disk_kb")


class Soaked(msgspec.Struct, frozen=True, kw_only=True):
    """What a soak writes. trends: by process ("agent", "collector"), then by figure."""

    seed: int
    minutes: float
    verdict: Verdict
    faults: dict[str, int]
    duplicates: int
    trends: dict[str, dict[str, Trend]]
    grows: list[str]
    note: str = ""

    @property
    def is_kept(self) -> bool:
        return self.verdict.is_clean and not self.grows


class Soak:
    """A rig that is watched while it is harmed."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.samples: dict[str, list[Sample]] = {"agent": [], "collector": []}
        self.faults: Counter[str] = Counter()
        self.begun_ns = 0
        self._broker = rig.start_broker()
        self._proxy = CuttingProxy(self._broker.port, rig.rng)
        self._disk: SmallDisk | None = None
        try:
            self._disk = SmallDisk(rig.world.leftovers, rig.folder / "disk", size_mb=16)
        except CannotRunError as error:
            rig.notes.append(f"no full disk: {error}")

    def run(self, minutes: float, tell: Callable[[str], None]) -> None:
        """Begin, then a fault every FAULT_EVERY_S and a sample every SAMPLE_EVERY_S. Raises Stopped."""
        rig = self.rig
        rig.start_collector()
        first = rig.devices[0]
        rig.start_producers(f"mqtt://127.0.0.1:{self._proxy.port}", directory=lambda name: self._home(name, first))
        self.begun_ns = rig.clock.now_ns()
        faults = self._faults()
        for second in range(int(minutes * 60)):
            while rig.clock.now_ns() < self.begun_ns + second * NS_PER_S:
                rig.pause(0.05)
            if second % SAMPLE_EVERY_S == 0:
                self._sample(second, self._home(first, first))
            if second % FAULT_EVERY_S == FAULT_EVERY_S / 2:
                name = rig.rng.choices(list(faults), [weight for weight, _ in faults.values()])[0]
                self.faults[name] += 1
                faults[name][1]()
            if second % 60 == 59:
                newest = {who: series[-1] for who, series in self.samples.items() if series}
                said = {who: f"{one.rss_mb:.1f} MB, {one.descriptors} fds" for who, one in newest.items()}
                tell(f"{second // 60 + 1} min, {rig.ledger.decided} events, {sum(self.faults.values())} faults, {said}")

    def close(self) -> None:
        self._proxy.close()

    def _home(self, device: str, first: str) -> Path:
        if device == first and self._disk is not None:
            return self._disk.mount_point / "outbox"
        return self.rig.folder / device

    def _sample(self, at_s: float, outbox: Path) -> None:
        store = Path(self.rig.store_url.removeprefix("sqlite://"))
        for who, child, place in (
            ("agent", self.rig.producers[0], outbox),
            ("collector", self.rig.collectors[0], store),
        ):
            if child.process is not None and (seen := sample(child.process.pid, place, at_s)) is not None:
                self.samples[who].append(seen)

    def _faults(self) -> dict[str, tuple[int, Callable[[], None]]]:
        """Give each fault's weight and what it does; all are over when it returns, within ten seconds."""
        rig, broker = self.rig, self._broker
        faults: dict[str, tuple[int, Callable[[], None]]] = {
            "agent killed": (4, lambda: self._kill_second()),
            "reset inside a PUBACK": (4, self._proxy.arm),
            "broker frozen": (3, lambda: self._freeze(broker.signal)),
            "collector frozen": (3, lambda: self._freeze(rig.collectors[0].signal)),
            "broker killed": (1, lambda: self._restart_broker(forget=False)),
            "broker forgets": (1, lambda: self._restart_broker(forget=True)),
            "clock jumps": (3, self._bend_clocks),
        }
        if self._disk is not None:
            faults["disk full"] = (3, lambda: self._fill(self._disk))
        return faults

    def _kill_second(self) -> None:
        victim = self.rig.producers[1]
        victim.kill()
        self.rig.rebirth(victim)

    def _freeze(self, send: Callable[[signal.Signals], None]) -> None:
        send(signal.SIGSTOP)
        self.rig.pause_about(0.5, 6.0)
        send(signal.SIGCONT)

    def _restart_broker(self, *, forget: bool) -> None:
        self._broker.kill()
        if forget:
            self._broker.forget()
        self.rig.rebirth(self._broker)

    def _bend_clocks(self) -> None:
        for producer in self.rig.producers:
            producer.say(f"wall {self.rig.rng.choice([-6.3e7, 6.3e7, 0.0, -1.7e9])}")
            producer.say(f"trusted {self.rig.rng.randrange(2)}")

    def _fill(self, disk: SmallDisk | None) -> None:
        assert disk is not None
        disk.fill()
        self.rig.pause_about(0.5, 6.0)
        disk.empty()


def judged(soak: Soak, minutes: float, verdict: Verdict) -> Soaked:
    """Fit the trends and say what grows. The collector's store grows with its events and is no leak."""
    warm_s = min(_WARM_S, minutes * 10)
    trends = {
        who: {name: trend(series, name, after_s=warm_s) for name in _FIGURES}
        for who, series in soak.samples.items()
        if series
    }
    limits = {who: dict(_FLAT) for who in trends}
    if "agent" in limits:
        limits["agent"]["disk_kb"] = _OUTBOX_FLAT_KB
    grows = [
        f"{who}: {name} grows by {trends[who][name].per_hour:g} an hour"
        for who, bounds in limits.items()
        for name, most in bounds.items()
        if trends[who][name].per_hour > most
    ]
    return Soaked(
        seed=soak.rig.world.seed,
        minutes=round(minutes, 2),
        verdict=verdict,
        faults=dict(soak.faults),
        duplicates=soak.rig.counters.duplicates,
        trends=trends,
        grows=grows,
        note="; ".join(soak.rig.notes),
    )


def text(soaked: Soaked) -> str:
    """Give the result in a few lines of Markdown."""
    found = soaked.verdict
    lines = [
        f"seed {soaked.seed}, {soaked.minutes:g} min: {found.decided:,} events decided, {found.delivered:,} delivered, "
        f"{len(found.lost)} lost, {len(found.uncounted)} uncounted, {sum(soaked.faults.values())} faults "
        f"({', '.join(f'{name} {count}' for name, count in sorted(soaked.faults.items()))}).",
        "",
        "| process | figure | first | last | largest | an hour adds |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for who, by_name in soaked.trends.items():
        for name, line in by_name.items():
            cells = (f"{value:,.1f}" for value in (line.first, line.last, line.largest, line.per_hour))
            lines.append(f"| {who} | {name} | " + " | ".join(cells) + " |")
    lines += ["", "Grows: " + ("; ".join(soaked.grows) or "nothing") + ".", soaked.note]
    return "\n".join(lines).rstrip() + "\n"


def main(words: Sequence[str]) -> int:
    """Soak. 0: nothing lost and nothing grows; 1: something does; 130: Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tools.chaos.soak", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--out", type=Path, default=_WORK / "soak", metavar="DIR")
    args = parser.parse_args(words)
    logging.basicConfig(level=logging.WARNING)
    folder = args.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    seed = args.seed if args.seed is not None else secrets.randbelow(2**32)
    keep_mounts_to_ourselves()
    with Leftovers(_WORK / "left") as leftovers:
        world = World(folder=leftovers.fresh(folder / "rigs"), leftovers=leftovers, stop=stop, seed=seed)
        with Rig(world, "soak", devices=2, rate_per_s=RATE_PER_S / 2) as rig:
            soak = Soak(rig)
            try:
                soak.run(args.minutes, lambda line: print(line, flush=True))
            except Stopped:
                rig.notes.append("interrupted")
            if not rig.settle(within_s=180.0 if not stop.is_set() else 20.0):
                rig.notes.append(f"did not come to rest: {rig.unsettled()}")
            minutes = (rig.clock.now_ns() - soak.begun_ns) / NS_PER_S / 60
            soaked = judged(soak, min(minutes, args.minutes), rig.verdict())
            soak.close()
    (folder / "soak.json").write_bytes(msgspec.json.format(msgspec.json.encode(soaked), indent=1) + b"\n")
    (folder / "samples.json").write_bytes(msgspec.json.encode(soak.samples))
    (folder / "soak.md").write_text(text(soaked))
    print(text(soaked))
    if stop.is_set():
        return 130
    return 0 if soaked.is_kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
