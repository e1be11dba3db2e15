"""`python -m tools.chaos.herd`: what a thousand agents do to a broker that comes back, with and without jitter.

The broker is deploy/mosquitto as shipped, killed with all its connections and started again; the agents decide by the
agent's own rule when to try (tools/chaos/herd_member.py). A table, and JSON with --json.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from agent.clock import NS_PER_S, SystemClock
from tools.chaos.herd_member import Orders, name_of
from tools.chaos.leftovers import Leftovers
from tools.chaos.processes import CannotRunError, Child, free_port, need, wait_for
from tools.fleet.ca import authority as ca
from tools.fleet.ca.authority import Role
from tools.fleet.ports import listens
from tools.fleet.shipped import lay_out

_AGENTS_A_PROCESS = 500  # a handshake costs Python 2 ms, and the measuring must not be what is measured
_GATHERED_A_SECOND = 100
_BACK_S = 300.0
_DESCRIPTORS_ASIDE = 100
_WORK = Path(".work/chaos")


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one restart; all of it counts from the instant at which the broker listens again.

    Before that nobody but the agents' own kernels is bothered. Peaks: the fullest second, and the fullest tenth of one.
    cpu_ms: the broker's own, for one agent that came back.
    """

    jitter: bool
    agents: int
    away_s: float
    attempts: int
    attempts_peak_1s: int
    attempts_peak_100ms: int
    accepted_peak_1s: int
    back: int
    back_p50_s: float
    back_all_s: float
    cpu_ms: float


What = Literal["begun", "up", "lost"]


class Herd:
    """Agents in processes of their own. What they tell is collected as it comes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[What, list[int]] = {"begun": [], "up": [], "lost": []}

    def listen(self, pipe: IO[bytes]) -> None:
        """Read what one process tells, until it ends; on a thread of its own."""
        for line in pipe:
            what, instant_ns = msgspec.json.decode(line, type=tuple[What, int])
            with self._lock:
                self._told[what].append(instant_ns)

    @property
    def connected(self) -> int:
        with self._lock:
            return len(self._told["up"]) - len(self._told["lost"])

    def is_back(self, agents: int, killed_ns: int) -> bool:
        """Tell whether all have lost the connection that they had, and have another."""
        with self._lock:
            lost = sum(lost_ns >= killed_ns for lost_ns in self._told["lost"])
        return lost >= agents and self.connected == agents

    def since(self, what: What, instant_ns: int) -> list[int]:
        """Give the instants of what has happened from then on, in order."""
        with self._lock:
            return sorted(told_ns for told_ns in self._told[what] if told_ns >= instant_ns)


class ShippedBroker(Child):
    """deploy/mosquitto on loopback."""

    def __init__(self, leftovers: Leftovers, folder: Path, papers: Path) -> None:
        super().__init__(leftovers, folder.with_suffix(".log"))
        self._program = need("mosquitto", "mosquitto")
        self.port = free_port()
        self._config = lay_out(
            folder,
            port=self.port,
            ca=papers / "ca.pem",
            crl=papers / "ca.crl",
            certificate=papers / "broker.pem",
            key=papers / "broker.key",
        )

    def start(self) -> None:
        """Start, and wait until it listens: the herd is counted from then on, and it is before us in the queue."""
        self.launch([self._program, "-c", self._config])
        wait_for(lambda: listens(self.port), "mosquitto")

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time since it was started."""
        assert self.process is not None
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


def fullest(instants_ns: Sequence[int], span_ns: int) -> int:
    """Give how many instants, in order, lie in the fullest span, whose end does not belong to it."""
    most = first = 0
    for last, instant_ns in enumerate(instants_ns):
        while instants_ns[first] <= instant_ns - span_ns:
            first += 1
        most = max(most, last - first + 1)
    return most


def judge(herd: Herd, *, jitter: bool, agents: int, away_s: float, listening_ns: int, cpu_s: float) -> Round:
    """Sum up what the herd has told since the broker listens again."""
    begun, up = herd.since("begun", listening_ns), herd.since("up", listening_ns)
    after_s = [(instant_ns - listening_ns) / NS_PER_S for instant_ns in up] or [_BACK_S]
    return Round(
        jitter=jitter,
        agents=agents,
        away_s=away_s,
        attempts=len(begun),
        attempts_peak_1s=fullest(begun, NS_PER_S),
        attempts_peak_100ms=fullest(begun, NS_PER_S // 10),
        accepted_peak_1s=fullest(up, NS_PER_S),
        back=herd.connected,
        back_p50_s=round(after_s[len(after_s) // 2], 2),
        back_all_s=round(after_s[-1], 2),
        cpu_ms=round(1000 * cpu_s / max(1, len(up)), 2),
    )


def measure(leftovers: Leftovers, folder: Path, *, agents: int, aways_s: Sequence[float], jitter: bool) -> list[Round]:
    """Restart a herd's broker once for each time that it is to be away; a round for each.

    A herd of its own for each restart: agents remember for a minute that their connection did not last.
    Raises CannotRunError where mosquitto or descriptors are missing, TimeoutError when the herd cannot be gathered.
    """
    return [
        restart(leftovers, folder / f"away-{number}", agents=agents, away_s=away_s, jitter=jitter)
        for number, away_s in enumerate(aways_s)
    ]


def restart(leftovers: Leftovers, folder: Path, *, agents: int, away_s: float, jitter: bool) -> Round:
    """Gather a herd, kill its broker, start it again after a while and wait until all are back."""
    clock = SystemClock()
    _allow_descriptors(agents)
    papers = write_papers(folder / "papers", agents)
    broker = ShippedBroker(leftovers, folder / "broker", papers)
    with gathered(leftovers, broker, papers, agents, jitter=jitter, folder=folder) as herd:
        killed_ns = clock.now_ns()
        broker.kill()
        time.sleep(away_s)
        broker.start()
        listening_ns = clock.now_ns()
        end_s = time.monotonic() + _BACK_S
        while not herd.is_back(agents, killed_ns) and time.monotonic() < end_s:
            time.sleep(0.02)
        return judge(herd, jitter=jitter, agents=agents, away_s=away_s, listening_ns=listening_ns, cpu_s=broker.cpu_s)


def write_papers(folder: Path, agents: int) -> Path:
    """Found an authority and give a certificate to the broker and to each agent; all in one folder, which it gives."""
    folder.mkdir(parents=True)
    now = datetime.now(UTC)
    root = ca.found("herd", now=now, days=2)
    authority = ca.appoint(root, "herd issuing", now=now, days=2)
    (folder / "ca.pem").write_bytes(ca.pem(root.certificate))
    (folder / "ca.crl").write_bytes(ca.pem(ca.revocation_list(authority, (), now=now)))
    for name in ("broker", *(name_of(number) for number in range(agents))):
        key = ca.new_key()
        role: Role = "server" if name == "broker" else "device"
        hosts = ("localhost",) if name == "broker" else ()
        made = ca.sign(authority, key.public_key(), name=name, role=role, hosts=hosts, now=now, days=1)
        (folder / f"{name}.pem").write_bytes(ca.pem(made) + ca.pem(authority.certificate))
        (folder / f"{name}.key").write_bytes(ca.pem_of_key(key))
    return folder


@contextmanager
def gathered(
    leftovers: Leftovers, broker: ShippedBroker, papers: Path, agents: int, *, jitter: bool, folder: Path
) -> Iterator[Herd]:
    """Start the broker and a herd, and wait until all are connected; ends them all."""
    herd = Herd()
    members: list[_Member] = []
    with ExitStack() as stack:
        broker.start()
        stack.callback(broker.kill)
        for first in range(0, agents, _AGENTS_A_PROCESS):
            count = min(_AGENTS_A_PROCESS, agents - first)
            orders = Orders(
                port=broker.port,
                papers=str(papers),
                first=first,
                count=count,
                seed=first,
                jitter=jitter,
                gather_s=count / _GATHERED_A_SECOND,
            )
            member = _Member(leftovers, folder / f"member-{first}.log", orders, herd)
            members.append(member)
            stack.callback(member.kill)
            member.start()

        def are_gathered() -> bool:
            for member in members:
                if not member.is_alive:
                    raise TimeoutError(f"a part of the herd ended: {member.log.read_text()[-500:]}")
            return herd.connected == agents

        wait_for(are_gathered, f"{agents} connections", 30 + 4 * agents / _GATHERED_A_SECOND)
        yield herd


class _Member(Child):
    def __init__(self, leftovers: Leftovers, log: Path, orders: Orders, herd: Herd) -> None:
        super().__init__(leftovers, log)
        self._orders = orders
        self._herd = herd

    def start(self) -> None:
        orders = msgspec.json.encode(self._orders).decode()
        process: subprocess.Popen[bytes] = self.launch(
            [sys.executable, "-m", "tools.chaos.herd_member", orders], piped=True
        )
        pipe = process.stdout
        assert pipe is not None
        threading.Thread(target=lambda: self._herd.listen(pipe), daemon=True).start()


def _allow_descriptors(agents: int) -> None:
    wanted = agents + _DESCRIPTORS_ASIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise CannotRunError(f"needs {wanted} descriptors a process, and {hard} are allowed: ulimit -Hn {wanted}")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def table(rounds: Sequence[Round]) -> Table:
    """Lay the rounds out, one a line."""
    result = Table(title=f"{rounds[0].agents} agents and a broker that comes back", title_justify="left")
    for head in ("away", "jitter", "connects", "in 1 s", "in 0.1 s", "taken in 1 s", "half back", "all back", "CPU"):
        result.add_column(head, justify="right")
    for row in rounds:
        all_back = f"{row.back_all_s:.1f} s" if row.back == row.agents else f"{row.back} of {row.agents}"
        result.add_row(
            f"{row.away_s:g} s",
            "yes" if row.jitter else "no",
            f"{row.attempts}",
            f"{row.attempts_peak_1s}",
            f"{row.attempts_peak_100ms}",
            f"{row.accepted_peak_1s}",
            f"{row.back_p50_s:.1f} s",
            all_back,
            f"{row.cpu_ms:.2f} ms",
        )
    return result


def main(words: Sequence[str]) -> int:
    """Measure, print, write. 0: all came back each time; 1: not; 69: it cannot be measured here."""
    parser = argparse.ArgumentParser(prog="python -m tools.chaos.herd", description=__doc__, allow_abbrev=False)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--away", type=float, nargs="+", default=[0.0, 30.0], metavar="S", help="default: 0 30")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(words)
    rounds: list[Round] = []
    try:
        with Leftovers(_WORK / "left") as leftovers:
            for jitter in (True, False):
                with tempfile.TemporaryDirectory(prefix="maskwatch-herd-") as folder:
                    rounds += measure(leftovers, Path(folder), agents=args.agents, aways_s=args.away, jitter=jitter)
    except (CannotRunError, TimeoutError) as error:
        print(f"herd: {error}", file=sys.stderr)
        return 69
    Console().print(table(rounds))
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(rounds), indent=1) + b"\n")
    return 0 if all(row.back == row.agents for row in rounds) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
