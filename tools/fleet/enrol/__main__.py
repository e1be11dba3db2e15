"""`python -m tools.fleet.enrol DIR`: boards join the fleet of the authority in DIR, and stay in it.

DIR --site a --count 20 --out BUNDLES --broker mqtts://... --url https://...    bundles for twenty boards of a site
DIR --serve --listen HOST:PORT                                                  honour the claims in them
DIR --sign FILE.csr --site a                                                    the same by hand
DIR --renew --broker mqtts://...                                                new certificates for whom it is time
DIR --void CLAIM                                                                a bundle was lost before it was used
DIR --list                                                                      who there is, and what went wrong
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from agent.cli.listener import spawn
from agent.cli.main import Parser
from agent.clock import SystemClock
from agent.delivery.mqtt import MqttLink
from agent.errors import ConfigError, InputError, MaskwatchError, UsageError
from agent.settings import MqttSettings
from tools.fleet.ca.files import replace, told
from tools.fleet.ca.request import read_request
from tools.fleet.ca.store import Store
from tools.fleet.enrol import claims, desk, inventory, listing, renewal
from tools.fleet.enrol.bundle import Contents, provision, write
from tools.fleet.enrol.configuration import Wishes, board_toml, check_url, config_toml
from tools.fleet.enrol.server import Address, serve
from tools.fleet.enrol.wheelhouse import MACHINES, PYTHONS, Cache, Target, given

SERVER = "enrol"
"""The name of the enrolment server's certificate."""

_SITE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COUNT_MAX = 1000
_WAIT_S = 60.0
_WIDTH = 160  # a narrower terminal wraps: a cell that is cut off is one that cannot be copied
_UNAVAILABLE = 69
Now = Callable[[], datetime]


def main(argv: Sequence[str] | None = None, *, now: Now = lambda: datetime.now(UTC).replace(microsecond=0)) -> int:
    """Run one command; gives the exit code (agent.errors). now: the clock, read as often as it is needed."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(_parser().parse_args(words), now)
    except SystemExit as end:  # --help ends so
        return int(end.code or 0)
    except MaskwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _run(args: argparse.Namespace, now: Now) -> int:
    folder: Path = args.folder
    if args.serve:
        serve(folder, args.listen, name=SERVER, now=now)
    elif args.sign is not None:
        _sign(folder, args.sign, site=_needed(args, "site"), now=now())
    elif args.renew:
        return _renew(args, now)
    elif args.void is not None:
        with Store.opened(folder):
            inventory.write(folder, claims.void(inventory.read(folder), args.void, now=now()))
        print(f"{args.void}: nobody can use it now")
    elif args.list:
        with Store.opened(folder) as store:
            tables = list(listing.tables(inventory.read(folder), store.entries(now=now()), now()))
        console = Console(soft_wrap=True, width=max(Console().width, _WIDTH))
        for table in tables:
            console.print(table)
        if not tables:
            print("no boards yet, and no claims")
    else:
        _make(args, now())
    return 0


def _make(args: argparse.Namespace, now: datetime) -> None:
    """Write bundles, with claims if there is a server to honour them."""
    site, out = _needed(args, "site"), Path(_needed(args, "out"))
    serials = args.serial or [""] * args.count
    overlay = Wishes(
        site=site, broker=_needed(args, "broker"), camera=args.camera, ack_mode=args.ack_mode, overlay=args.config
    )
    config, board = config_toml(overlay), board_toml(args.board)
    if args.url is None and len(serials) > 1:
        raise UsageError(
            "without claims one bundle does for all boards", where="--count", remedy="name the server with --url"
        )
    with Store.opened(args.folder) as store:
        ca = store.ca_path.read_bytes()
        if args.url is not None:
            _check_server(store, check_url(args.url))
    cache = Cache(args.cache)
    ours = given(args.wheel) if args.wheel else cache.ours()
    targets = [
        Target(machine=machine, python=python)
        for machine in args.machine or MACHINES[:1]
        for python in args.python or PYTHONS
    ]
    contents = Contents(
        site=site,
        targets=targets,
        wheels=[wheel for target in targets for wheel in cache.for_target(target)],
        pip=cache.pip(),
        ours=ours,
        ca=ca,
        config=config,
        board=board,
        provision=provision(),
    )
    if args.url is None:
        write(out / site, contents, claim=None, now=now)
        print(f"{out / site}: for any board; carry its request here, and --sign it")
        return
    for serial in serials:
        with Store.opened(args.folder):  # not for longer: the server may be at work
            known = inventory.read(args.folder)
            claim, words = claims.make(known, site=site, serial=serial, now=now, days=args.days)
            inventory.write(args.folder, known.with_claim(claim))
        expires = f"{claim.expires:%Y-%m-%dT%H:%M:%SZ}"
        place = out / f"{site}-{claim.id}"
        write(place, contents, claim={"url": args.url.rstrip("/"), "claim": words, "expires": expires}, now=now)
        print(f"{place}: for {f'board {claim.serial}' if serial else 'one board'}; good until {expires[:10]}")


def _check_server(store: Store, host: str) -> None:
    """Raises InputError when the certificate that boards will see is for other names: better now than on each."""
    server = store.bearers(SERVER)
    if server and host not in server[-1].hosts:
        raise InputError(
            f"the server's certificate is for {', '.join(server[-1].hosts)}",
            where=f"--url, {host}",
            remedy=f"name one of these, or revoke {SERVER} and issue it with --host {host}",
        )
    if not server:
        command = f"python -m tools.fleet.ca issue {store.folder} {SERVER} --role server --host {host}"
        print(f"before --serve: {command}", file=sys.stderr)


def _sign(folder: Path, file: Path, *, site: str, now: datetime) -> None:
    with told(file):
        request = read_request(file.read_bytes(), where=str(file))
        granted = desk.enrol_by_hand(folder, request, site=site, now=now)
        place = file.with_name(f"{granted.device}.pem")
        replace(place, granted.certificate.encode())
    print(f"{place}: for {granted.device} at site {site}; carry it to the board")


def _renew(args: argparse.Namespace, now: Now) -> int:
    folder: Path = args.folder
    found = renewal.letters(folder, now=now())
    if not found:
        print("nobody is due")
        return 0
    operator = folder / "issued" / "operator"
    try:
        settings = MqttSettings(
            url=_needed(args, "broker"),
            ca_file=str(args.ca or folder / "ca.pem"),
            cert_file=str(args.cert or operator.with_suffix(".pem")),
            key_file=str(args.key or operator.with_suffix(".key")),
        )
    except ValueError as error:
        raise ConfigError(str(error), where="--broker", remedy="write mqtts://HOST:8883") from error
    link = MqttLink(settings, client_id=f"renew-{os.getpid()}", spawn=spawn)
    urgent = 0
    for letter, result in renewal.deliver(link, found, clock=SystemClock(), wait_s=args.wait):
        if result.outcome == "renewed":
            renewal.confirm(folder, letter)
            print(f"{result.device.device}: renewed until {letter.pending.ends:%Y-%m-%d}; {result.message}")
            continue
        urgent += result.is_urgent(now())
        said = f"is away; its certificate ends on {result.device.ends:%Y-%m-%d}, and the next pass tries again"
        print(f"{result.device.device}: {said if result.outcome == 'away' else f'refuses: {result.message}'}")
    return _UNAVAILABLE if urgent else 0


def _needed(args: argparse.Namespace, option: str) -> str:
    value = getattr(args, option)
    if value is None:
        raise UsageError(f"--{option} is missing", where="enrol", remedy="see python -m tools.fleet.enrol --help")
    return str(value)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m tools.fleet.enrol",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", metavar="DIR", type=Path, help="the authority's folder (tools.fleet.ca)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--serve", action="store_true", help="answer boards, until SIGTERM")
    what.add_argument("--sign", metavar="FILE.csr", type=Path, help="writes DEVICE.pem beside it")
    what.add_argument("--renew", action="store_true", help="one pass; for a timer")
    what.add_argument("--void", metavar="CLAIM", help="the eight digits in a bundle's name")
    what.add_argument("--list", action="store_true", help="devices, claims, incidents")
    add("--site", type=_site, help="the site of the boards")
    add("--count", type=_count, default=1, help="how many bundles; default: %(default)s")
    add("--serial", action="append", help="a bundle for this board alone; may be repeated, in place of --count")
    add("--out", metavar="FOLDER", type=Path, help="where the bundles go")
    add("--broker", metavar="URL", help="mqtts://HOST:8883")
    add("--url", help="of the enrolment server, https://HOST:8443; without it requests are carried by hand")
    add("--days", type=_count, default=claims.EXPIRES_DAYS, help="how long a claim is good; default: %(default)s")
    add("--camera", metavar="SOURCE", help="camera.source of the boards")
    add("--ack-mode", choices=("puback", "collector"), help="mqtt.ack_mode of the boards")
    add("--config", metavar="FILE.toml", type=Path, help="more settings of the agent")
    add("--board", metavar="FILE.toml", type=Path, help="what the operating system is set to")
    add("--machine", action="append", choices=MACHINES, help=f"default: {MACHINES[0]}; may be repeated")
    add("--python", action="append", choices=PYTHONS, help="default: all; may be repeated")
    add("--wheel", metavar="FILE.whl", type=Path, help="the agent; default: built of this checkout")
    add("--cache", metavar="FOLDER", type=Path, default=_cache(), help="of what is downloaded; default: %(default)s")
    add("--listen", metavar="HOST:PORT", type=_address, default="0.0.0.0:8443", help="default: %(default)s")
    add("--cert", metavar="PEM", type=Path, help="an operator's; default: DIR/issued/operator.pem")
    add("--key", metavar="PEM", type=Path, help="default: DIR/issued/operator.key")
    add("--ca", metavar="PEM", type=Path, help="of the broker; default: DIR/ca.pem")
    add("--wait", metavar="S", type=float, default=_WAIT_S, help="for boards' replies; default: %(default)s")
    return parser


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskwatch" / "wheels"


def _site(word: str) -> str:
    if not _SITE.fullmatch(word):
        raise argparse.ArgumentTypeError(f"{word!r} is not 1 to 64 letters, digits, _ or -")
    return word


def _count(word: str) -> int:
    count = int(word)
    if not 1 <= count <= _COUNT_MAX:
        raise argparse.ArgumentTypeError(f"{count}; give 1 to {_COUNT_MAX}")
    return count


def _address(word: str) -> Address:
    host, _, port = word.rpartition(":")
    if not (host and port.isdecimal() and int(port) < 65_536):
        raise argparse.ArgumentTypeError(f"{word!r} is not HOST:PORT")
    return Address(host=host.strip("[]"), port=int(port))


if __name__ == "__main__":
    sys.exit(main())
