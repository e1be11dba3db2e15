"""Before any test module imports OpenCV: the environment that the agent sets for it, as in a program of ours."""

from hypothesis import settings

import agent  # noqa: F401

settings.register_profile("maskwatch", deadline=None)  # how long an example takes says nothing on a shared machine
settings.load_profile("maskwatch")
