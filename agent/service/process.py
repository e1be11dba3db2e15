"""The agent as a process: log, signals, and a look at every thread's stack when it is killed for hanging."""

import faulthandler
import logging
import os
import signal
import sys

from agent.clock import SystemClock, boot_id, new_id
from agent.config import DEFAULT_PATH, Loaded
from agent.service.daemon import Daemon
from agent.service.journal import start_logging
from agent.service.wiring import World

_log = logging.getLogger(__name__)


def serve(loaded: Loaded, *, verbose: bool) -> int:
    """Run the agent until SIGTERM, SIGINT or the end of a medium. Returns the exit code.

    Raises MaskwatchError for what is foreseen to fail at the start.
    """
    faulthandler.enable()  # the watchdog's SIGABRT then says in the journal which thread hung, and where
    start_logging(os.environ, verbose=verbose)
    if loaded.file is None:
        _log.info("config.defaults missing=%s", DEFAULT_PATH)
    daemon = Daemon(loaded, World(clock=SystemClock(), new_id=new_id, boot_id=boot_id(), environ=os.environ))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: daemon.stop(signal.Signals(got).name))
    code = daemon.run()
    if daemon.hanging:
        # Somebody still hangs in a camera's or a resolver's C code. The interpreter's end would cut the thread off in
        # the middle of it, and C++ answers that by aborting the process; all of ours is stored and said.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    return code
