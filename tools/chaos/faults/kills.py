"""SIGKILL and SIGSTOP: of agents, of the broker, of the collector, at random instants."""

import signal

from tools.chaos.rig import Rig, World
from tools.chaos.rows import Row
from tools.chaos.trial import Budget, Fault, repeat, tried

_BROKER_LIVES_S = (1.0, 100.0)


def agent(world: World, budget: Budget, fault: Fault) -> Row:
    """Kill one of the devices; it comes back after a moment, as a service manager sees to."""
    rig = Rig(world, fault.name, devices=3, rate_per_s=12.0)

    def inject() -> int:
        victim = rig.rng.choice(rig.producers)
        since_ns = rig.clock.now_ns()
        victim.kill()
        rig.rebirth(victim)
        return since_ns

    def work() -> None:
        rig.begin()
        repeat(rig, budget, inject)

    return tried(world, fault, rig, work)


def agent_puback(world: World, budget: Budget, fault: Fault) -> Row:
    """The same with ack_mode puback: the broker's word is taken, so the broker must not die, nor the collector stay."""
    rig = Rig(world, fault.name, devices=2, rate_per_s=12.0, ack_mode="puback")

    def inject() -> int:
        victim = rig.rng.choice([*rig.producers, *rig.collectors])
        since_ns = rig.clock.now_ns()
        victim.kill()
        rig.rebirth(victim)
        return since_ns

    def work() -> None:
        rig.begin()
        repeat(rig, budget, inject)

    return tried(world, fault, rig, work, note="agents and the collector are killed; the broker lives")


def broker(world: World, budget: Budget, fault: Fault) -> Row:
    """Kill the broker: sessions, queued messages and retained statuses since its last save are gone with it."""
    rig = Rig(world, fault.name, devices=3, rate_per_s=12.0)
    victim = rig.start_broker()

    def inject() -> int:
        since_ns = rig.clock.now_ns()
        victim.kill()
        rig.rebirth(victim)
        return since_ns

    def work() -> None:
        rig.start_collector()
        rig.start_producers(rig.broker_url)
        # Connections that live for less than a minute make the agents wait longer each time, by design.
        repeat(rig, budget, inject, between_s=_BROKER_LIVES_S if world.speed == 1 else (1.0, 5.0))

    return tried(world, fault, rig, work)


def collector(world: World, budget: Budget, fault: Fault) -> Row:
    """Kill the collector in the middle of its batches."""
    rig = Rig(world, fault.name, devices=3, rate_per_s=12.0)

    def inject() -> int:
        victim = rig.collectors[0]
        since_ns = rig.clock.now_ns()
        victim.kill()
        rig.rebirth(victim)
        return since_ns

    def work() -> None:
        rig.begin()
        repeat(rig, budget, inject, between_s=(0.2, 4.0))

    return tried(world, fault, rig, work)


def frozen_broker(world: World, budget: Budget, fault: Fault) -> Row:
    """SIGSTOP: connections stay and nobody answers; SIGCONT later. Recovery counts from then on."""
    rig = Rig(world, fault.name, devices=2, rate_per_s=10.0)
    victim = rig.start_broker()

    def inject() -> int:
        victim.signal(signal.SIGSTOP)
        rig.pause_about(0.5, 30.0 / world.speed)
        victim.signal(signal.SIGCONT)
        return rig.clock.now_ns()

    def work() -> None:
        rig.start_collector()
        rig.start_producers(rig.broker_url)
        repeat(rig, budget, inject, between_s=(1.0, 10.0))

    return tried(world, fault, rig, work)


def forgetful_broker(world: World, budget: Budget, fault: Fault) -> Row:
    """Stop the broker in order, take its disk, start it: what it had acknowledged and not passed on is gone."""
    rig = Rig(world, fault.name, devices=2, rate_per_s=10.0)
    victim = rig.start_broker()

    def inject() -> int:
        rig.collectors[0].signal(signal.SIGSTOP)  # so that there is something to forget
        rig.pause_about(0.5, 3.0)
        since_ns = rig.clock.now_ns()
        victim.terminate()
        victim.forget()
        rig.collectors[0].signal(signal.SIGCONT)
        rig.rebirth(victim)
        return since_ns

    def work() -> None:
        rig.start_collector()
        rig.start_producers(rig.broker_url)
        repeat(rig, budget, inject, between_s=_BROKER_LIVES_S if world.speed == 1 else (1.0, 5.0))

    return tried(world, fault, rig, work)


def outage(world: World, budget: Budget, fault: Fault) -> Row:
    """A day without a broker, an event a second, told in seconds: 86,400 rows wait, then go."""
    rig = Rig(world, fault.name, devices=1, rate_per_s=1.0)
    victim = rig.start_broker()
    rows = int(86_400 * budget.scale)

    def work() -> None:
        rig.start_collector()
        rig.start_producers(rig.broker_url)
        rig.recovered(rig.clock.now_ns())
        victim.terminate()
        rig.producers[0].say(f"burst {rows}")
        if not rig.until(lambda: rig.ledger.decided >= rows, 300.0):
            raise TimeoutError(f"{rows} events were not stored within 300 s")
        since_ns = rig.clock.now_ns()
        victim.start()
        rig.injected += 1
        rig.recovered(since_ns, within_s=900.0)

    return tried(world, fault, rig, work, settle_s=600.0, note=f"{rows} rows waited")
