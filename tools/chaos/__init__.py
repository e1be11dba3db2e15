"""The fault suite: what breaks under a delivery, on purpose, and what became of every event (docs/chaos.md)."""
