"""`python -m tools.fleet.page user NAME --store URL`: who may look at the fleet page, and by which password."""

import argparse
import getpass
import sys
from collections.abc import Sequence
from typing import NoReturn

from agent.clock import SystemClock
from agent.errors import MaskwatchError, UsageError
from tools.fleet.page.accounts import Accounts
from tools.fleet.page.database import open_database

_NAME = "python -m tools.fleet.page"


def main(words: Sequence[str]) -> int:
    """Make, change or remove a user. Returns the exit code; failures are one line on stderr."""
    try:
        args = make_parser().parse_args(words)
        database = open_database(args.store)
        accounts = Accounts(database, SystemClock())
        if args.remove:
            accounts.remove(args.name)
        else:
            accounts.put(args.name, _password())
        database.close()
    except MaskwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{args.name} may look no more" if args.remove else f"{args.name} may look")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Make the command line's parser; it raises UsageError."""
    parser = _Parser(prog=_NAME, description="Who may look at the fleet page.", allow_abbrev=False)
    user = parser.add_subparsers(dest="what", required=True, metavar="user").add_parser(
        "user", help="make a user or change the password, asked for twice; from a pipe, its first line", prog=_NAME
    )
    user.add_argument("name", metavar="NAME")
    user.add_argument("--store", required=True, metavar="URL", help="the collector's database")
    user.add_argument("--remove", action="store_true", help="remove the user instead")
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=_NAME, remedy=f"see {_NAME} user --help")


def _password() -> str:
    """Ask for a password. Raises UsageError."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise UsageError("the two are not the same", where="password", remedy="try again")
    return first


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
