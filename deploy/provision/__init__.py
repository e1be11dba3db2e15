"""From a blank card to a trusted sensor: the one idempotent command on a board. Standard library only."""
