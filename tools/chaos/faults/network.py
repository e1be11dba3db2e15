"""What networks do: a connection reset inside a PUBACK, packets lost, a cable pulled."""

import os
from collections.abc import Callable

from tools.chaos.network import Cable, enter, prefix
from tools.chaos.proxy import CuttingProxy
from tools.chaos.rig import Rig, World
from tools.chaos.rows import Row
from tools.chaos.trial import Budget, Fault, repeat, tried

LOSS_PERCENT = 30


def puback_cut(world: World, budget: Budget, fault: Fault) -> Row:
    """Cut the connection after one to three of a PUBACK's bytes: the broker has the event, the device cannot know."""
    rig = Rig(world, fault.name, devices=4, rate_per_s=8.0)
    proxy = CuttingProxy(rig.start_broker().port, rig.rng)

    def inject() -> int:
        cuts = proxy.cuts
        proxy.arm()
        if not rig.until(lambda: proxy.cuts > cuts, 90.0):
            raise TimeoutError("no PUBACK came by to be cut")
        return rig.clock.now_ns()

    def work() -> None:
        rig.start_collector()
        rig.start_producers(f"mqtt://127.0.0.1:{proxy.port}")
        repeat(rig, budget, inject, between_s=(0.1, 2.0))

    row = tried(world, fault, rig, work)
    proxy.close()
    return row


def loss(world: World, budget: Budget, fault: Fault) -> Row:
    """Lose three packets of ten each way for a while; recovery counts from its end."""

    def inject(rig: Rig, cable: Cable) -> None:
        cable.lose(LOSS_PERCENT)
        rig.pause_about(5.0, 40.0 / world.speed)
        cable.lose(0)

    return _over_a_cable(world, budget, fault, inject)


def unplugged(world: World, budget: Budget, fault: Fault) -> Row:
    """Pull the cable, without a word to anybody; recovery counts from when it is back."""

    def inject(rig: Rig, cable: Cable) -> None:
        cable.unplug()
        rig.pause_about(1.0, 60.0 / world.speed)
        cable.plug()

    return _over_a_cable(world, budget, fault, inject)


def _over_a_cable(world: World, budget: Budget, fault: Fault, harm: Callable[[Rig, Cable], None]) -> Row:
    cable = Cable(world.leftovers, f"mw{os.getpid() % 10_000}{fault.name[0]}")
    rig = Rig(world, fault.name, devices=2, rate_per_s=10.0)

    def inject() -> int:
        harm(rig, cable)
        return rig.clock.now_ns()

    def work() -> None:
        rig.start_broker(address=cable.address, prefix=prefix(cable.there))
        rig.start_collector(prefix=prefix(cable.there), enter=lambda: enter(cable.there))
        rig.start_producers(rig.broker_url, prefix=prefix(cable.here))
        repeat(rig, budget, inject, between_s=(1.0, 5.0))

    row = tried(world, fault, rig, work)
    cable.remove()
    return row
