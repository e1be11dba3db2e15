"""The whole agent, as a board runs it: `maskwatch run` on the generated scene, killed at random instants."""

from tools.chaos.processes import Daemon
from tools.chaos.rig import Rig, World
from tools.chaos.rows import Row
from tools.chaos.trial import Budget, Fault, repeat, tried


def whole_agent(world: World, budget: Budget, fault: Fault) -> Row:
    """Kill `maskwatch run`; at the end what is left in its outbox is sent by a delivery that decides nothing more."""
    rig = Rig(world, fault.name, devices=1, rate_per_s=0.0)
    rig.start_broker()
    orders = rig.orders_of(rig.devices[0], rig.broker_url)
    daemon = Daemon(world.leftovers, rig.folder, rig.ledger, orders)
    rig.take_in(daemon)

    def inject() -> int:
        since_ns = rig.clock.now_ns()
        daemon.kill()
        rig.rebirth(daemon)
        return since_ns

    def work() -> None:
        rig.start_collector()
        daemon.start()
        repeat(rig, budget, inject, between_s=(1.5, 8.0), within_s=60.0)

    def hand_over_to_the_plain_one() -> None:
        daemon.terminate()
        rig.add_producer(orders)

    return tried(world, fault, rig, work, before_rest=hand_over_to_the_plain_one)
