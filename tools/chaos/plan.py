"""Which faults there are, in which lane, and for how much of an hour."""

from tools.chaos.faults import daemon, damage, disk, fleet, kills, network, refusals
from tools.chaos.trial import Fault

FAULTS: tuple[Fault, ...] = (
    Fault(name="agent", title="SIGKILL of an agent", run=kills.agent, lane=0, seconds=3600, smoke=6),
    Fault(name="broker", title="SIGKILL of the broker", run=kills.broker, lane=1, seconds=3600, smoke=2),
    Fault(name="collector", title="SIGKILL of the collector", run=kills.collector, lane=2, seconds=1200, smoke=5),
    Fault(
        name="puback",
        title="SIGKILL of agents and collector, ack_mode puback",
        run=kills.agent_puback,
        lane=2,
        seconds=500,
        smoke=4,
    ),
    Fault(
        name="pair",
        title="two collectors, one killed between commit and acknowledgement",
        run=fleet.two_collectors,
        lane=2,
        seconds=700,
        smoke=2,
    ),
    Fault(name="daemon", title="SIGKILL of the whole agent", run=daemon.whole_agent, lane=2, seconds=700, smoke=2),
    Fault(name="power", title="power cut (ext4)", run=disk.power_cut, lane=3, seconds=1800, smoke=4),
    Fault(
        name="header",
        title="database damage: header",
        run=damage.damage(damage.header, checkpointed=True),
        lane=3,
        seconds=240,
    ),
    Fault(
        name="page",
        title="database damage: a page",
        run=damage.damage(damage.page, checkpointed=True),
        lane=3,
        seconds=240,
    ),
    Fault(
        name="truncation",
        title="database damage: truncation",
        run=damage.damage(damage.truncation, checkpointed=True),
        lane=3,
        seconds=240,
    ),
    Fault(
        name="bit",
        title="database damage: a flipped bit",
        run=damage.damage(damage.flipped_bit, checkpointed=True),
        lane=3,
        seconds=240,
    ),
    Fault(
        name="log",
        title="database damage: garbage in the log",
        run=damage.damage(damage.garbage_log, checkpointed=False),
        lane=3,
        seconds=240,
    ),
    Fault(name="outage", title="a day's outage", run=kills.outage, lane=4, seconds=300),
    Fault(name="frozen", title="SIGSTOP of the broker", run=kills.frozen_broker, lane=4, seconds=600),
    Fault(name="forgets", title="a broker that forgets", run=kills.forgetful_broker, lane=4, seconds=600),
    Fault(name="cut", title="reset inside a PUBACK", run=network.puback_cut, lane=4, seconds=500, smoke=3),
    Fault(name="loss", title="30 % loss", run=network.loss, lane=4, seconds=500),
    Fault(name="unplugged", title="link down", run=network.unplugged, lane=4, seconds=500),
    Fault(name="node", title="a cluster node killed", run=fleet.cluster_node, lane=6, seconds=1800, smoke=0),
    Fault(name="full", title="full disk", run=disk.full, lane=5, seconds=400, smoke=2),
    Fault(name="readonly", title="read-only disk", run=disk.read_only, lane=5, seconds=400),
    Fault(name="clock", title="clock jumps", run=refusals.clock_jumps, lane=5, seconds=300, smoke=3),
    Fault(name="acl", title="ACL refusal", run=refusals.access_list, lane=5, seconds=500),
    Fault(name="nobody", title="no subscriber", run=refusals.no_subscriber, lane=5, seconds=400),
    Fault(name="theft", title="client-id theft", run=refusals.theft, lane=5, seconds=500),
    Fault(
        name="session", title="collector away longer than its session", run=refusals.session_over, lane=5, seconds=500
    ),
)
