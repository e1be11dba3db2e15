"""Faults that must cost something: the product made careless, to see that the checker finds what is lost."""

import signal
from functools import partial

from tools.chaos.faults.disk import power_cut
from tools.chaos.rig import Rig, World
from tools.chaos.rows import Row
from tools.chaos.trial import Budget, Fault, repeat, tried

_DIES_WITHIN_S = 30.0


def careless_collector(world: World, budget: Budget, fault: Fault) -> Row:
    """A collector that acknowledges before it commits, and dies in between."""
    rig = Rig(world, fault.name, devices=3, rate_per_s=20.0)

    def inject() -> int:
        victim = rig.collectors[0]
        victim.signal(signal.SIGUSR1)
        if not rig.until(lambda: not victim.is_alive, _DIES_WITHIN_S):
            raise TimeoutError("no batch came by to die at")
        since_ns = rig.clock.now_ns()
        victim.wait()
        rig.rebirth(victim)
        return since_ns

    def work() -> None:
        rig.start_broker()
        rig.start_collector(program=("tools.chaos.mutants", "careless"))
        rig.start_producers(rig.broker_url)
        repeat(rig, budget, inject, between_s=(0.5, 2.0), within_s=5.0)

    return tried(world, fault, rig, work, settle_s=10.0)


MUTANTS: tuple[Fault, ...] = (
    Fault(
        name="off",
        title="mutant: the outbox with synchronous = OFF, power cuts",
        run=partial(power_cut, synchronous="OFF", alone_share=1.0),
        lane=0,
        seconds=60,
        smoke=3,
    ),
    Fault(
        name="normal",
        title="mutant: the outbox with synchronous = NORMAL, power cuts",
        run=partial(power_cut, synchronous="NORMAL", alone_share=1.0),
        lane=1,
        seconds=120,
        smoke=8,
    ),
    Fault(
        name="early",
        title="mutant: a collector that acknowledges before it commits",
        run=careless_collector,
        lane=2,
        seconds=60,
        smoke=2,
    ),
)
