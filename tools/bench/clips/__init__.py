"""Real clips with persons marked by eye before the agent's own pipeline: `python -m tools.bench.clips`."""
