"""What the agent costs on a Raspberry Pi, without one: `python -m tools.arm`.

The board's wheels run in Debian arm64 under QEMU's user emulation: their answers are compared with this machine's, and
a plugin counts their instructions. No part of it needs root.
"""
