"""The budgets of the product, measured: `python -m tools.bench` prints measured, budget and verdict, and writes JSON.

Each group of measurements runs in a process of its own (tools.bench.group), so that none warms, slows or fattens
another; what cannot be measured on this machine is named with the reason, never left out.
"""
