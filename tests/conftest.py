"""Before any test module: the environment that the agent sets for OpenCV, as in a program of ours, and signals."""

import signal

from hypothesis import settings

import agent  # noqa: F401

settings.register_profile("maskwatch", deadline=None)  # how long an example takes says nothing on a shared machine
settings.load_profile("maskwatch")

# A shell's background job ignores SIGINT, and so would the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
