"""How a fault is tried: again and again within its budget, then everything comes to rest and is judged."""

import statistics
from collections.abc import Callable

import msgspec

from agent.clock import NS_PER_S, SystemClock
from tools.chaos.rig import Rig, Stopped, World
from tools.chaos.rows import Row

_WRONGS_MAX = 20
_IMPATIENT = 0.2  # so often the next one comes before the last is over


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How long a fault is tried, and how often at most; at least once in any case. scale: of what it does at once."""

    seconds: float
    count: int = 1_000_000
    scale: float = 1.0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A row to be. lane: faults of one lane run one after another, lanes side by side.

    seconds: its share of an hour's run. smoke: how often it is tried in the smoke run, 0: not there.
    may_destroy, may_give_up: what excuses an event that did not arrive (tools.chaos.checker).
    """

    name: str
    title: str
    run: Callable[[World, Budget, "Fault"], Row]
    lane: int
    seconds: float
    smoke: int = 1
    may_destroy: bool = False
    may_give_up: bool = False


def repeat(
    rig: Rig,
    budget: Budget,
    inject: Callable[[], int],
    *,
    between_s: tuple[float, float] = (0.2, 5.0),
    within_s: float = 150.0,
) -> None:
    """Inject until the budget is used up. inject: gives the instant from which recovery counts, ns."""
    end_ns = rig.clock.now_ns() + int(budget.seconds * NS_PER_S)
    while rig.injected < budget.count and (not rig.injected or rig.clock.now_ns() < end_ns):
        if len(rig.wrongs) > _WRONGS_MAX:
            raise TimeoutError("it goes wrong again and again")
        rig.pause_about(*between_s)
        try:
            since_ns = inject()
        except TimeoutError as error:  # a busy machine, or a defect: it shows in the row, and the fault goes on
            rig.went_wrong(str(error))
            continue
        rig.injected += 1
        is_last = rig.injected >= budget.count or rig.clock.now_ns() >= end_ns
        if is_last or rig.rng.random() > _IMPATIENT:
            rig.recovered(since_ns, within_s=within_s)


def tried(
    world: World,
    fault: Fault,
    rig: Rig,
    work: Callable[[], None],
    *,
    before_rest: Callable[[], None] = lambda: None,
    settle_s: float = 300.0,
    note: str = "",
) -> Row:
    """Run the work of a fault on its rig, let everything come to rest, and give its row."""
    clock = SystemClock()
    begun_ns = clock.now_ns()
    notes = [note] if note else []
    with rig:
        try:
            work()
        except Stopped:
            notes.append("interrupted")
        except TimeoutError as error:
            rig.went_wrong(f"cut short: {error}")
        try:
            before_rest()
            rig.mend()
        except TimeoutError as error:
            rig.went_wrong(str(error))
        if not rig.settle(within_s=settle_s if not world.stop.is_set() else 20.0):
            notes.append(f"did not come to rest within {settle_s:.0f} s: {rig.unsettled()}")
        verdict = rig.verdict(may_destroy=fault.may_destroy, may_give_up=fault.may_give_up)
        if verdict.repeated:
            notes.append(f"{verdict.repeated} events arrived in the old stream and, saved, in the new one as well")
        duplicates = rig.counters.duplicates
        rig.counters.close()
    unstored = [one for account in rig.ledger.accounts.values() for one in account.unstored]
    return Row(
        fault=fault.title,
        injected=rig.injected,
        verdict=verdict,
        duplicates=duplicates,
        unrecovered=rig.unrecovered,
        sigkills=rig.sigkills,
        power_cuts=rig.power_cuts,
        seconds=(clock.now_ns() - begun_ns) / NS_PER_S,
        note="; ".join([*notes, *rig.notes, *rig.wrongs]),
        recover_p50_s=statistics.median(rig.recoveries_s) if rig.recoveries_s else None,
        recover_max_s=max(rig.recoveries_s, default=None),
        unstored_max=max((one.count for one in unstored), default=0),
        unstored_age_s_max=max((one.age_s for one in unstored), default=0.0),
    )
