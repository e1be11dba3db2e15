"""What befalls a fleet: a collector that dies at the worst moment beside another, a cluster that loses a node."""

import signal

from agent.errors import UnavailableError
from tools.chaos.postgres import Postgres
from tools.chaos.processes import CannotRunError
from tools.chaos.rig import Rig, World
from tools.chaos.rows import Row
from tools.chaos.trial import Budget, Fault, repeat, tried
from tools.fleet.cluster import SIZE, Cluster

_DIES_WITHIN_S = 30.0


def two_collectors(world: World, budget: Budget, fault: Fault) -> Row:
    """Let one of two collectors on PostgreSQL die after its commit and before it has answered anybody."""
    rig = Rig(world, fault.name, devices=4, rate_per_s=8.0)
    server = Postgres(world.leftovers, world.folder / fault.name / "postgres.log")
    server.start()
    rig.store_url = server.url

    def inject() -> int:
        victim = rig.rng.choice(rig.collectors)
        victim.signal(signal.SIGUSR1)
        if not rig.until(lambda: not victim.is_alive, _DIES_WITHIN_S):
            raise TimeoutError("no batch came by to die at")
        since_ns = rig.clock.now_ns()
        victim.sigkills += 1
        victim.wait()
        rig.rebirth(victim)
        return since_ns

    def work() -> None:
        rig.start_broker()
        for instance in ("one", "two"):
            rig.start_collector(instance=instance, program=("tools.chaos.mutants", "dying"))
        rig.start_producers(rig.broker_url)
        repeat(rig, budget, inject, between_s=(0.5, 6.0))

    try:
        return tried(world, fault, rig, work)
    finally:
        server.end()


def cluster_node(world: World, budget: Budget, fault: Fault) -> Row:
    """Kill a node of the shipped cluster under load, with the devices and perhaps the collector that hang on it."""
    rig = Rig(world, fault.name, devices=SIZE, rate_per_s=8.0)
    try:
        cluster = Cluster(rig.folder / "cluster", devices=rig.devices)
        with cluster:
            world.leftovers.children()
            return tried(world, fault, rig, lambda: _lose_nodes(rig, cluster, budget), settle_s=600.0)
    except UnavailableError as error:
        raise CannotRunError(str(error)) from error


def _lose_nodes(rig: Rig, cluster: Cluster, budget: Budget) -> None:
    ca = str(cluster.ca)
    certificate, key = map(str, cluster.certificate("collector"))
    rig.start_collector(url=cluster.url(0), words=("--ca", ca, "--cert", certificate, "--key", key))
    for number, device in enumerate(rig.devices):
        certificate, key = map(str, cluster.certificate(device))
        rig.start_producer(device, cluster.url(number), ca_file=ca, cert_file=certificate, key_file=key)

    def inject() -> int:
        node = rig.rng.randrange(SIZE)
        since_ns = rig.clock.now_ns()
        cluster.kill(node)
        rig.broker_kills += 1
        rig.pause_about(1.0, 10.0)
        cluster.start_nodes([node])
        rig.world.leftovers.children()
        return since_ns

    rig.pause(3.0)
    repeat(rig, budget, inject, between_s=(5.0, 30.0), within_s=240.0)
