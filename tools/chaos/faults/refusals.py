"""What brokers and others do to a device that has done nothing wrong: refusals, theft, nobody there, a bent clock."""

import signal
import threading

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tools.chaos.processes import Broker, Collector
from tools.chaos.rig import Rig, World
from tools.chaos.rows import Row
from tools.chaos.trial import Budget, Fault, repeat, tried

_OPEN = "topic readwrite #\n"
_CLOSED = "topic read #\ntopic write maskwatch/+/+/status\n"
_YEARS_2_S = 2 * 365 * 86_400
_SESSION_S = 4


def access_list(world: World, budget: Budget, fault: Fault) -> Row:
    """Take away the right to publish events, and give it back; the broker reads its list again at SIGHUP."""
    rig = Rig(world, fault.name, devices=2, rate_per_s=10.0)
    rules = rig.folder / "acl"
    rules.write_text(_OPEN)
    broker = rig.start_broker(f"acl_file {rules}")

    def inject() -> int:
        rules.write_text(_CLOSED)
        broker.signal(signal.SIGHUP)
        rig.pause_about(2.0, 20.0 / world.speed)
        rules.write_text(_OPEN)
        broker.signal(signal.SIGHUP)
        return rig.clock.now_ns()

    def work() -> None:
        rig.start_collector()
        rig.start_producers(rig.broker_url)
        repeat(rig, budget, inject, between_s=(1.0, 6.0), within_s=330.0)

    return tried(world, fault, rig, work, settle_s=600.0)


def no_subscriber(world: World, budget: Budget, fault: Fault) -> Row:
    """End the collector and its session: the broker takes events for nobody, and says so (reason 16)."""
    rig = Rig(world, fault.name, devices=2, rate_per_s=10.0)
    broker = rig.start_broker()

    def inject() -> int:
        collector = rig.collectors[0]
        collector.terminate()
        end_session(broker, collector)
        rig.pause_about(2.0, 20.0 / world.speed)
        since_ns = rig.clock.now_ns()
        collector.start()
        return since_ns

    def work() -> None:
        rig.start_collector()
        rig.start_producers(rig.broker_url)
        repeat(rig, budget, inject, between_s=(1.0, 6.0), within_s=330.0)

    return tried(world, fault, rig, work, settle_s=600.0)


def session_over(world: World, budget: Budget, fault: Fault) -> Row:
    """Kill the collector and keep it away for longer than its session: what the broker had queued for it is gone."""
    rig = Rig(world, fault.name, devices=2, rate_per_s=10.0)

    def inject() -> int:
        collector = rig.collectors[0]
        collector.kill()
        rig.pause_about(_SESSION_S + 2.0, _SESSION_S + 10.0)
        since_ns = rig.clock.now_ns()
        collector.start()
        return since_ns

    def work() -> None:
        rig.begin(collector_words=("--session", f"{_SESSION_S}"))
        repeat(rig, budget, inject, between_s=(1.0, 6.0), within_s=330.0)

    return tried(world, fault, rig, work, settle_s=600.0, note=f"a session of {_SESSION_S} s")


def theft(world: World, budget: Budget, fault: Fault) -> Row:
    """Connect with a device's client id again and again for a while: each connection ends the device's own."""
    rig = Rig(world, fault.name, devices=3, rate_per_s=8.0)
    broker = rig.start_broker()

    def inject() -> int:
        victim = rig.rng.choice(rig.producers)
        end_ns = rig.clock.now_ns() + int(rig.rng.uniform(0.5, 6.0) * 1e9)
        while rig.clock.now_ns() < end_ns:
            connect_once(broker, victim.device, stay_s=0.5)
            rig.pause(0.1)
        return rig.clock.now_ns()

    def work() -> None:
        rig.start_collector()
        rig.start_producers(rig.broker_url)
        repeat(rig, budget, inject, between_s=(1.0, 10.0), within_s=330.0)

    return tried(world, fault, rig, work, settle_s=600.0)


def clock_jumps(world: World, budget: Budget, fault: Fault) -> Row:
    """Boot in 1970, jump two years either way, lose and regain trust; every other time it is killed in between."""
    rig = Rig(world, fault.name, devices=2, rate_per_s=15.0)

    def inject() -> int:
        victim = rig.rng.choice(rig.producers)
        since_ns = rig.clock.now_ns()
        if rig.injected % 2:
            victim.kill()
            rig.rebirth(victim)
        for _ in range(rig.rng.randint(1, 3)):
            off_s = rig.rng.choice([-_YEARS_2_S, _YEARS_2_S, -since_ns / 1e9 - 1.79e9, 0, rig.rng.uniform(-90.0, 90.0)])
            victim.say(f"wall {off_s}")
            victim.say(f"trusted {rig.rng.randrange(2)}")
            rig.pause_about(0.1, 1.0)
        return since_ns

    def work() -> None:
        rig.begin()
        repeat(rig, budget, inject, between_s=(0.2, 2.0))

    return tried(world, fault, rig, work)


def end_session(broker: Broker, collector: Collector) -> None:
    """Do to a collector's session what its expiry does: a connection that wants none takes its place."""
    connect_once(broker, collector.client_id, stay_s=0.0)


def connect_once(broker: Broker, client_id: str, *, stay_s: float) -> None:
    """Connect under a name, without a session, stay for a moment, and leave."""
    let_in = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
    client.on_connect = lambda *_: let_in.set()
    client.connect(broker.address, broker.port)
    client.loop_start()
    let_in.wait(5.0)
    threading.Event().wait(stay_s)
    client.disconnect()
    client.loop_stop()
