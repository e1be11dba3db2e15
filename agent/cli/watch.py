"""`maskwatch watch`: a live view of the events of any site; plain lines when nobody looks at a terminal."""

import argparse
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from agent.cli.lines import plain_line, print_plain, summary
from agent.cli.listener import Listener, listen
from agent.cli.live import show
from agent.cli.options import add_config_options, load_settings
from agent.cli.site import Site, count_events
from agent.cli.terminal import STYLES, console, duration
from agent.clock import NS_PER_S, Clock, SystemClock

_STEP_S = 0.25
_NAME_WIDTH = 24


def add_parser(subparsers: Any) -> None:
    """Add the command's options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "watch",
        help="a live view of the events of any site",
        description="Show what the boards of any site tell the broker: live in a terminal, else one line an event.",
    )
    parser.add_argument("--site", default="+", help="only this site")
    parser.add_argument("--device", default="+", help="only this board")
    parser.add_argument("--count", type=int, metavar="N", help="end after N events")
    parser.add_argument("--for", type=float, dest="for_s", metavar="S", help="end after S seconds")
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Show events until stopped."""
    settings = load_settings(args).settings
    clock = SystemClock()
    out = console()
    site = Site(bin_s=60)
    topics = [f"maskwatch/{args.site}/{args.device}/{kind}" for kind in ("events", "status", "telemetry")]
    stop = Limit(clock, count=args.count, for_s=args.for_s)
    # An interrupt is the way to end it.
    with listen(settings.mqtt, topics, clock) as listener, suppress(KeyboardInterrupt):
        if out.is_terminal:
            _watch_live(listener, site, stop, out, clock, settings.mqtt.url)
        else:
            _watch_plain(listener, site, stop, out, clock)
    if out.is_terminal:
        out.print(summary(site))
    return 0


class Limit:
    """When to end by itself."""

    def __init__(self, clock: Clock, *, count: int | None, for_s: float | None) -> None:
        self._clock = clock
        self._left = count
        self._start_ns = clock.now_ns()
        self._for_s = for_s

    @property
    def elapsed_s(self) -> float:
        return (self._clock.now_ns() - self._start_ns) / NS_PER_S

    def counts(self, events: int) -> None:
        """Note events that were shown."""
        if self._left is not None:
            self._left -= events

    @property
    def reached(self) -> bool:
        return (self._left is not None and self._left <= 0) or (
            self._for_s is not None and self.elapsed_s >= self._for_s
        )


def _watch_plain(listener: Listener, site: Site, stop: Limit, out: Console, clock: Clock) -> None:
    while not stop.reached:
        news = site.take_all(listener.step(_STEP_S), clock.now_ns())
        print_plain(out, (plain_line(device, new, name_width=_NAME_WIDTH) for device, new in news))
        stop.counts(count_events(news))


def _watch_live(listener: Listener, site: Site, stop: Limit, out: Console, clock: Clock, url: str) -> None:
    def heading() -> list[Text]:
        line = Text("maskwatch watch", "bold", no_wrap=True, overflow="ellipsis").append(f"  {url}  ", "default")
        line.append(listener.state, STYLES["good" if listener.connected else "bad"])
        return [line.append(f"  {duration(stop.elapsed_s)}  Ctrl-C ends", STYLES["pale"]), Text()]

    with Live(console=out, screen=True, auto_refresh=False) as live:
        while not stop.reached:
            stop.counts(count_events(site.take_all(listener.step(_STEP_S), clock.now_ns())))
            show(live, site, clock.now_ns(), heading)
