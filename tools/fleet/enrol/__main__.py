"""`python -m tools.fleet.enrol DIR`: one-time claims, the server that honours them."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from agent.cli.main import Parser
from agent.errors import MaskwatchError
from tools.fleet.ca.store import Store
from tools.fleet.enrol import claims, inventory
from tools.fleet.enrol.server import Address, serve


def main(argv=None):
    p = Parser()
    p.add_argument("folder", type=Path)
    p.add_argument("--serve", action="store_true")
    p.add_argument("--site")
    a = p.parse_args(argv)
    now = lambda: datetime.now(UTC).replace(microsecond=0)
    try:
        if a.serve:
            serve(a.folder, Address(host="127.0.0.1", port=0), name="enrol", now=now)
        else:
            with Store.opened(a.folder):
                inv = inventory.read(a.folder)
                c, w = claims.make(inv, site=a.site, now=now(), days=30)
                inventory.write(a.folder, inv.with_claim(c))
                print(w)
    except MaskwatchError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    return 0


sys.exit(main())
