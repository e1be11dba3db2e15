"""Runs the command: `python3 -m deploy.provision`, or the package at the root of a zip file's `__main__`."""

import sys

from .command import main

sys.exit(main())
