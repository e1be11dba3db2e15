"""`python -m tools.fleet.collector --broker URL --store URL ...`: an instance until SIGTERM."""

import argparse
import logging
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from agent.clock import Clock, SystemClock
from agent.errors import ConfigError, MaskwatchError, UsageError
from agent.settings import MqttSettings
from tools.fleet.collector.broker import Broker
from tools.fleet.collector.collector import Collector
from tools.fleet.collector.fleet import LEASE_S, Fleet, Roll
from tools.fleet.collector.metrics import Metrics
from tools.fleet.collector.sqlite import SqliteStore
from tools.fleet.collector.store import Store, parse_url

if TYPE_CHECKING:
    from tools.fleet.page.server import PageServer

_NAME = "python -m tools.fleet.collector"
_KEEPALIVE_S = 30
_INSTANCE = "{instance}"
_SECONDS_MAX = 2**32 - 2  # MQTT 5.0 section 3.1.2.11.2: one more would be for ever


def main(words: Sequence[str], make: Callable[..., Collector] = Collector) -> int:
    """Run one instance. make: the collector's class. Returns the exit code; failures are one line on stderr."""
    try:
        return _run(make_parser().parse_args(words), make)
    except MaskwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _run(args: argparse.Namespace, make: Callable[..., Collector]) -> int:
    _start_logging()
    clock, metrics = SystemClock(), Metrics()

    def dial(name: str) -> Broker:
        return Broker([_mqtt(args, url, name) for url in args.broker], client_id=name, session_s=int(args.session))

    broker = dial(args.instance)
    if args.metrics:
        metrics.serve(*_address("--metrics", args.metrics))
    store = open_store(args.store)
    page = _open_page(args, clock, metrics) if args.page else None
    fleet = None
    if isinstance(store, Roll):
        fleet = Fleet(name=args.instance, roll=store, dial=dial, clock=clock, lease_s=args.lease)
    collector = make(broker=broker, store=store, fleet=fleet, clock=clock, rng=random.Random(), metrics=metrics)
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    said = False
    while not stopping:
        collector.step()
        if collector.was_ready and not said:
            said = True
            print("collector ready", flush=True)
    if page is not None:
        page.stop()
    collector.close()
    return 0


def _open_page(args: argparse.Namespace, clock: Clock, metrics: Metrics) -> "PageServer":
    from tools.fleet.page.serve import serve  # a collector without a page does without a web server
    from tools.fleet.page.server import Place

    host, port = _address("--page", args.page, host="127.0.0.1")
    place = Place(host=host, port=port, origin=args.page_origin)
    metrics.is_served = True
    return serve(store=args.store, place=place, zone=args.page_zone, clock=clock, metrics=metrics.text)


def open_store(url: str) -> Store:
    """Open the database that a URL names. Raises UsageError, StorageError, UnavailableError, NotPermittedError."""
    found = parse_url(url)
    if isinstance(found, Path):
        return SqliteStore(found)
    from tools.fleet.collector.postgres import PostgresStore  # a single instance does without the driver

    return PostgresStore(found)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=_NAME, remedy=f"see {_NAME} --help")


def make_parser() -> argparse.ArgumentParser:
    """Make the command line's parser; it raises UsageError."""
    parser = _Parser(prog=_NAME, description="Stores the events of a fleet and acknowledges them.", allow_abbrev=False)
    parser.add_argument(
        "--broker",
        required=True,
        action="append",
        metavar="URL",
        help="mqtts://host[:8883] or mqtt://localhost[:1883]; again for each node of a cluster",
    )
    parser.add_argument("--ca", default="", metavar="FILE", help="who signs the broker's certificate, PEM")
    parser.add_argument("--cert", default="", metavar="FILE", help="our certificate, PEM; {instance} in it is the name")
    parser.add_argument("--key", default="", metavar="FILE", help="its key, PEM")
    parser.add_argument("--username", default="", metavar="U")
    parser.add_argument("--password-file", default="", metavar="FILE", help="its first line is the password")
    parser.add_argument("--plaintext", action="store_true", help="allow mqtt:// beyond this machine")
    parser.add_argument(
        "--store", required=True, metavar="URL", help="sqlite:///path/events.db or postgresql://host/name"
    )
    parser.add_argument("--metrics", default="", metavar="HOST:PORT", help="answer Prometheus here")
    parser.add_argument("--page", default="", metavar="[HOST:]PORT", help="the fleet page, on loopback unless said")
    parser.add_argument(
        "--page-origin", default="", metavar="URL", help="https://..., where a proxy with TLS serves the page"
    )
    parser.add_argument("--page-zone", default="UTC", metavar="ZONE", help="whose hours and days, like Europe/Madrid")
    parser.add_argument("--instance", default="collector", metavar="NAME", help="our MQTT client id; one each")
    parser.add_argument(
        "--session",
        type=_seconds,
        default=7 * 86_400,
        metavar="SECONDS",
        help="how long the broker keeps our session without us",
    )
    parser.add_argument(
        "--lease", type=_seconds, default=LEASE_S, metavar="SECONDS", help="silence after which an instance is dead"
    )
    return parser


def _mqtt(args: argparse.Namespace, url: str, instance: str) -> MqttSettings:
    """Give how an instance logs in: as ourselves, or as a dead one whose session is inherited."""
    told = {
        "url": url,
        "ca_file": args.ca,
        "cert_file": args.cert.replace(_INSTANCE, instance),
        "key_file": args.key.replace(_INSTANCE, instance),
        "username": args.username.replace(_INSTANCE, instance),
        "password_file": args.password_file.replace(_INSTANCE, instance),
        "plaintext": args.plaintext,
        "keepalive_s": _KEEPALIVE_S,
    }
    try:
        return msgspec.convert(told, MqttSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), where=f"--broker {url}", remedy=f"see {_NAME} --help") from error


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= _SECONDS_MAX:
        raise ValueError
    return value


def _address(option: str, text: str, *, host: str = "0.0.0.0") -> tuple[str, int]:
    """Give host and port. host: for an address that names none."""
    told, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UsageError(f"{option} {text!r} is no HOST:PORT", where=_NAME, remedy="like 127.0.0.1:9464")
    return told.strip("[]") or host, int(port)


def _start_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger("tools.fleet")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
