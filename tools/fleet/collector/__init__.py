"""The reference collector: every event of a fleet into one database, acknowledged to its device once it is there."""
