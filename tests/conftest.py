"""Before any test module imports OpenCV: the environment that the agent sets for it, as in a program of ours."""

import agent  # noqa: F401
