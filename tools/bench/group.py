"""Runs one group of measurements and prints its rows as JSON: `python -m tools.bench.group NAME FOLDER [--full]`."""

import sys
from collections.abc import Callable

import msgspec

from tools.bench.broker import NoBrokerError
from tools.bench.rows import Options, Row


def _nets(options: Options) -> list[Row]:
    from tools.bench.nets import measure

    return measure(options)


def _frames(options: Options) -> list[Row]:
    from tools.bench.frames import measure

    return measure(options)


def _growth(options: Options) -> list[Row]:
    from tools.bench.frames import measure_growth

    return measure_growth(options)


def _start(options: Options) -> list[Row]:
    from tools.bench.start import measure

    return measure(options)


def _delivery(options: Options) -> list[Row]:
    from tools.bench.delivery import measure

    return measure(options)


def _collector(options: Options) -> list[Row]:
    from tools.bench.collector import measure

    return measure(options)


def _install(options: Options) -> list[Row]:
    from tools.bench.install import measure

    return measure(options)


# Imported only when run: a group's process holds what it measures and nothing else.
GROUPS: dict[str, Callable[[Options], list[Row]]] = {
    "nets": _nets,
    "frames": _frames,
    "growth": _growth,
    "start": _start,
    "delivery": _delivery,
    "collector": _collector,
    "install": _install,
}


def main(words: list[str]) -> int:
    """Measure one group. Returns the exit code; 3 with a line on stderr when something that it needs is missing."""
    name, folder = words[:2]
    try:
        rows = GROUPS[name](Options(folder=folder, full="--full" in words))
    except NoBrokerError as error:
        print(error, file=sys.stderr)
        return 3
    print(msgspec.json.encode(rows).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
