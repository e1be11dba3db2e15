"""`python -m tools.fleet.ca COMMAND DIR`: the certificate authority in a folder. One line for each thing done.

init DIR [--root PLACE]                     found an authority; carry PLACE/root.key away
issue DIR NAME [--role ROLE] [--host H]     key and certificate for a board, a program or a broker
renew DIR NAME                              the same key for some more days
revoke DIR NAME                             take back all that bears the name; copy ca.crl to the broker
list DIR                                    who there is, the first to expire first
reissue DIR [--root PLACE] [--new-key]      the issuing authority for some more years; it needs the root's key
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.cli.main import Parser
from agent.errors import MaskwatchError
from tools.fleet.ca.authority import DEVICE_DAYS, OTHER_DAYS, ROLES, check_role
from tools.fleet.ca.store import ISSUING_DAYS, ROOT_DAYS, Listed, Store

_SOON_DAYS = 30


def main(argv: Sequence[str] | None = None, *, now: datetime | None = None) -> int:
    """Run one command; gives the exit code (agent.errors). now: the clock's word where none is given."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser().parse_args(words)
        _run(args, now or datetime.now(UTC).replace(microsecond=0))
    except SystemExit as end:  # --help ends so
        return int(end.code or 0)
    except MaskwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _run(args: argparse.Namespace, now: datetime) -> None:
    if args.command == "init":
        made = Store.create(args.folder, root=args.root, name=args.name, now=now, days=args.days)
        print(
            f"{made.ca_path}: founded; it issues until {made.ends:%Y-%m-%d}; keep the folder where no board reaches it"
        )
        key = (args.root or args.folder / "root") / "root.key"
        print(f"{key}: the root's key; carry it away, to a place that is not online: only reissue needs it")
        return
    with Store.opened(args.folder) as store:
        match args.command:
            case "issue":
                role = check_role(args.role)
                entry = store.issue(args.name, role=role, hosts=args.host, now=now, days=args.days)
                pair = f"{store.certificate_of(entry.name)}, {store.key_of(entry.name)}"
                print(f"{entry.name} ({entry.role}): {pair}; good until {entry.ends:%Y-%m-%d}")
            case "renew":
                entry = store.renew(args.name, now=now, days=args.days)
                print(f"{entry.name}: {store.certificate_of(entry.name)}; good until {entry.ends:%Y-%m-%d}")
            case "revoke":
                count = store.revoke(args.name, now=now)
                print(f"{args.name}: {count} revoked; copy {store.crl_path} to the broker and restart it")
            case "reissue":
                ends = store.reissue(args.root or args.folder / "root", now=now, days=args.days, new_key=args.new_key)
                print(f"{store.folder / 'issuing.pem'}: good until {ends:%Y-%m-%d}")
                if args.new_key:
                    print(f"all certificates are taken back; copy {store.crl_path} to the broker and restart it")
            case _:
                Console(soft_wrap=True).print(_table(store.entries(now=now), now))


def _table(listed: Sequence[Listed], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("name", "role", "state", "ends", "days"):
        table.add_column(column, justify="right" if column == "days" else "left", no_wrap=True)
    for item in listed:
        days = (item.entry.ends - now).days
        soon = item.state == "valid" and days < _SOON_DAYS
        table.add_row(
            item.entry.name,
            item.entry.role,
            item.state,
            f"{item.entry.ends:%Y-%m-%d}",
            str(days),
            style="yellow" if soon else "" if item.state == "valid" else "red",
        )
    return table


def _parser() -> Parser:
    parser = Parser(prog="python -m tools.fleet.ca", description="The certificate authority of a fleet, in a folder.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    init = commands.add_parser("init", help="found an authority")
    issue = commands.add_parser("issue", help="key and certificate for a board, a program or a broker")
    renew = commands.add_parser("renew", help="the same key for some more days")
    revoke = commands.add_parser("revoke", help="take back all certificates of a name")
    reissue = commands.add_parser("reissue", help="the issuing authority for some more years, by the root")
    listed = commands.add_parser("list", help="who there is, and until when")
    for command in (init, issue, renew, revoke, listed, reissue):
        command.add_argument("folder", metavar="DIR", type=Path, help="the authority's folder")
    for command in (issue, renew, revoke):
        command.add_argument("name", metavar="NAME", help="the device id, or the name of a program or broker")
    init.add_argument("--name", default="maskwatch fleet", help="what certificates call the authority")
    init.add_argument("--days", type=_days, default=ROOT_DAYS, help="the root's; default: %(default)s")
    reissue.add_argument("--days", type=_days, default=ISSUING_DAYS, help="default: %(default)s")
    reissue.add_argument("--new-key", action="store_true", help="the old key is known to somebody: take all back")
    for command in (init, reissue):
        command.add_argument("--root", metavar="PLACE", type=Path, help="the folder of root.key; default: DIR/root")
    for command in (issue, renew):
        command.add_argument("--days", type=_days, help=f"default: {DEVICE_DAYS} for a board, {OTHER_DAYS} else")
    issue.add_argument("--role", default="device", help=f"one of {', '.join(ROLES)}; default: device")
    issue.add_argument("--host", action="append", default=[], help="a name or address of a server; may be repeated")
    return parser


def _days(word: str) -> int:
    days = int(word)
    if not 1 <= days <= 36_500:
        raise argparse.ArgumentTypeError(f"{days} days; give 1 to 36500")
    return days


if __name__ == "__main__":
    sys.exit(main())
