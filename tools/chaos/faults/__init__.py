"""The faults: one function each, (World, Budget) -> Row, with a rig of its own."""
