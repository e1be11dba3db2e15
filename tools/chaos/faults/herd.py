"""A thousand simulated agents that come back at once; they carry no events, the row is about their time."""

from tools.chaos.herd import measure
from tools.chaos.rig import World
from tools.chaos.rows import Row
from tools.chaos.trial import Budget, Fault

_AGENTS = 1000
_AGENTS_MIN = 50
_AWAYS_S = (1.0, 30.0)


def thousand(world: World, budget: Budget, fault: Fault) -> Row:
    """Kill a broker that they all hang on, for a moment and for longer."""
    agents = max(_AGENTS_MIN, int(_AGENTS * budget.scale))
    aways_s = _AWAYS_S[: budget.count]
    rounds = measure(world.leftovers, world.folder / fault.name, agents=agents, aways_s=aways_s, jitter=True)
    said = [
        f"broker away {one.away_s:g} s: {one.back} of {one.agents} back, all within {one.back_all_s:.1f} s, "
        f"{one.attempts_peak_1s} attempts in the fullest second"
        for one in rounds
    ]
    return Row(
        fault=fault.title,
        injected=len(rounds),
        recover_p50_s=max(one.back_p50_s for one in rounds),
        recover_max_s=max(one.back_all_s for one in rounds),
        unrecovered=sum(one.back < one.agents for one in rounds),
        sigkills=len(rounds),
        note="; ".join(said),
    )
