"""What disks do: lose their power, run full, turn read-only."""

import signal

from tools.chaos.disk import Card, SmallDisk
from tools.chaos.rig import Rig, World
from tools.chaos.rows import Row
from tools.chaos.trial import Budget, Fault, repeat, tried


def power_cut(
    world: World, budget: Budget, fault: Fault, *, synchronous: str = "FULL", alone_share: float = 0.5
) -> Row:
    """Cut the power of a card while its device writes; it boots from what is on the card then.

    alone_share: how often nobody else has what was decided last, since the broker did not answer for a while before.
    """
    rig = Rig(world, fault.name, devices=2, rate_per_s=30.0, synchronous=synchronous)
    broker = rig.start_broker()
    cards: dict[str, Card] = {}

    def inject() -> int:
        victim = rig.rng.choice(rig.producers)
        card = cards[victim.device]
        is_alone = rig.rng.random() < alone_share
        if is_alone:
            broker.signal(signal.SIGSTOP)
            rig.pause_about(0.3, 4.0)
        since_ns = rig.clock.now_ns()
        card.cut_power()
        rig.power_cuts += 1
        rig.pause_about(0.0, 0.3)  # what it tells its ledger after the cut, it must not have told
        victim.kill()
        card.boot()
        if is_alone:
            broker.signal(signal.SIGCONT)
        rig.rebirth(victim)
        return since_ns

    def work() -> None:
        for device in rig.devices:
            cards[device] = Card(world.leftovers, rig.folder / device)
        rig.start_collector()
        rig.start_producers(rig.broker_url, directory=lambda device: cards[device].mount_point / "outbox")
        repeat(rig, budget, inject, between_s=(0.5, 6.0))

    row = tried(world, fault, rig, work)
    for card in cards.values():
        card.remove()
    return row


def full(world: World, budget: Budget, fault: Fault) -> Row:
    """Fill the disk under a running outbox; every other time it is killed as well, and begins on a full disk."""
    rig = Rig(world, fault.name, devices=2, rate_per_s=10.0)
    disks: dict[str, SmallDisk] = {}

    def inject() -> int:
        victim = rig.rng.choice(rig.producers)
        disk = disks[victim.device]
        disk.fill()
        rig.pause_about(1.0, 8.0)
        if rig.injected % 2:
            victim.kill()
            victim.start()
            _tries_again(rig, 5.0)
        since_ns = rig.clock.now_ns()
        disk.empty()
        _tries_again(rig, 0.0)
        return since_ns

    def work() -> None:
        for device in rig.devices:
            disks[device] = SmallDisk(world.leftovers, rig.folder / device)
        rig.start_broker()
        rig.start_collector()
        rig.start_producers(rig.broker_url, directory=lambda device: disks[device].mount_point / "outbox")
        repeat(rig, budget, inject, between_s=(1.0, 6.0))

    return tried(world, fault, rig, work)


def read_only(world: World, budget: Budget, fault: Fault) -> Row:
    """Let ext4 find an error and turn read-only under the outbox; the device tries to start on it; it is mended."""
    rig = Rig(world, fault.name, devices=2, rate_per_s=10.0)
    cards: dict[str, Card] = {}

    def inject() -> int:
        victim = rig.rng.choice(rig.producers)
        card = cards[victim.device]
        card.break_down()
        rig.pause_about(1.0, 8.0)
        victim.kill()
        victim.start()
        _tries_again(rig, 3.0)
        victim.kill()
        since_ns = rig.clock.now_ns()
        card.mend()
        victim.start()
        return since_ns

    def work() -> None:
        for device in rig.devices:
            cards[device] = Card(world.leftovers, rig.folder / device)
        rig.start_broker()
        rig.start_collector()
        rig.start_producers(rig.broker_url, directory=lambda device: cards[device].mount_point / "outbox")
        repeat(rig, budget, inject, between_s=(1.0, 6.0))

    return tried(world, fault, rig, work)


def _tries_again(rig: Rig, seconds: float) -> None:
    """Start a device again whenever it ends by itself, as a service manager does, for a while."""
    end_ns = rig.clock.now_ns() + int(seconds * 1e9)
    while True:
        rig.pause(0.5)
        rig.revive()
        if rig.clock.now_ns() >= end_ns:
            return
