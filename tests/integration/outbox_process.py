"""An outbox in a process of its own, made to lose its disk: `python -m tests.integration.outbox_process DIR FIRST`.

Stores numbered events from FIRST on, one to three at a time, acknowledges some, and prints the last number of each
group once `append` has returned. Ends with the outbox's own line and exit code.
"""

import random
import sys
from pathlib import Path

from agent.errors import MaskwatchError
from tests.delivery_parts import counted, open_outbox


def main(directory: str, first: str) -> int:
    rng = random.Random(int(first))
    try:
        outbox = open_outbox(Path(directory))
        number = int(first)
        while True:
            group = rng.randrange(1, 4)
            outbox.append([counted(number + more) for more in range(group)])
            number += group
            print(number - 1, flush=True)
            if rng.random() < 0.2:
                outbox.next_session()
            if outbox.backlog > 400:  # leave some that a cut must not lose
                outbox.acknowledge(outbox.stream, outbox.acknowledged + 300)
    except MaskwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
