"""`python -m tools.chaos.page [--run DIR] [--soak DIR]`: put what long runs wrote into docs/chaos.md."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tools.chaos.rows import Report, markdown
from tools.chaos.soak import Soaked, text

_DOCS = Path(__file__).parents[2] / "docs"


def placed(page: str, name: str, content: str) -> str:
    """Give the page with `content` between its marks of that name. Raises ValueError when it has none."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"no marks of {name!r} in the page")
    return f"{before}{begin}\n{content.strip()}\n\n{end}{after}"


def main(words: Sequence[str]) -> int:
    """Rewrite docs/chaos.md, and chaos.json and soak.json beside it. Gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.chaos.page", description=__doc__, allow_abbrev=False)
    parser.add_argument("--run", type=Path, default=Path(".work/chaos/run"), metavar="DIR")
    parser.add_argument("--soak", type=Path, default=Path(".work/chaos/soak"), metavar="DIR")
    args = parser.parse_args(words)
    page = (_DOCS / "chaos.md").read_text()
    for name, source in (("chaos", args.run / "chaos.json"), ("soak", args.soak / "soak.json")):
        if not source.exists():
            print(f"{source} is not there: the part of {name} stays as it is", file=sys.stderr)
            continue
        written = source.read_bytes()
        if name == "chaos":
            content = markdown(msgspec.json.decode(written, type=Report))
        else:
            content = text(msgspec.json.decode(written, type=Soaked))
        page = placed(page, name, content)
        (_DOCS / source.name).write_bytes(written)
    (_DOCS / "chaos.md").write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
