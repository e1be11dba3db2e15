"""A disk that fails is left alone for a while, longer each time, and somebody is told."""

import logging
import random

from agent.backoff import Backoff
from agent.clock import Clock
from agent.delivery.complaint import Complaint
from agent.errors import MaskwatchError


class DiskTrouble:
    """What is known of one way of using the disk: reading and writing fail for different reasons."""

    def __init__(self, log: logging.Logger, event: str, *, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._backoff = Backoff(rng, shortest_s=0.2, first_s=1.0, longest_s=30.0)
        self._complaint = Complaint(log, event, clock)
        self.text = ""
        """What is wrong, or an empty string."""
        self.retry_ns: int | None = None
        """When to try again; None while nothing is wrong."""

    @property
    def is_resting(self) -> bool:
        return self.retry_ns is not None and self._clock.now_ns() < self.retry_ns

    def failed(self, error: MaskwatchError) -> None:
        """Take note of a failure."""
        self.text = str(error)
        self._complaint.failing(self.text)
        self.retry_ns = self._clock.now_ns() + self._backoff.next_ns()

    def hindered(self, why: str) -> None:
        """Take note of what is wrong although it works; an empty string when nothing is."""
        if self.retry_ns is None:
            self.text = why

    def works(self) -> None:
        """Take note of a success."""
        if self.retry_ns is not None:
            self.text = ""
            self.retry_ns = None
            self._backoff.reset()
            self._complaint.over()
