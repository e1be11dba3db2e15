"""Delivery: from the hand-over to the disk to the broker, driven by one thread calling `step`."""

import random
from collections.abc import Callable
from typing import Any

import msgspec

from agent.clock import Clock
from agent.delivery.handover import HandOver
from agent.delivery.link import Link, Trouble
from agent.delivery.outbox import Outbox
from agent.delivery.topics import Identity
from agent.events.state import CameraState, Command, Telemetry
from agent.settings import MqttSettings, ReportSettings


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A valid command from somebody, and where its answer goes."""

    command: Command
    reply_topic: str
    correlation: bytes | None = None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How delivery is doing; read from any thread. trouble, sentence: why there is no connection or progress now."""

    stored: int = 0
    acknowledged: int = 0
    backlog: int = 0
    session: int = 0
    connected_since_ns: int | None = None
    trouble: Trouble | None = None
    sentence: str = ""
    storage: str = ""


class Delivery:
    """The delivery thread's whole world. Only `say`, `reply`, `figures` and the hand-over are for other threads."""

    figures: Figures

    def __init__(
        self,
        *,
        identity: Identity,
        mqtt: MqttSettings,
        report: ReportSettings,
        hand_over: HandOver,
        outbox: Outbox,
        link: Link,
        clock: Clock,
        rng: random.Random,
        telemetry: Callable[[], Telemetry | None],
        frames_coming: Callable[[], bool],
    ) -> None:
        """telemetry: asked every report.telemetry_every_s. frames_coming: while true, draining is capped."""
        raise NotImplementedError

    def step(self, timeout_s: float) -> list[Request]:
        """Do what is due, waiting up to `timeout_s` for something to do; gives the commands that arrived.

        Never raises for what a broker or a network does. A disk that fails is told in `figures.storage` and retried.
        """
        raise NotImplementedError

    def say(self, *, camera: CameraState | None = None, reason: str | None = None) -> None:
        """Tell what the status is to say from now on; published when it changes. None: as before; "": no reason."""
        raise NotImplementedError

    def reply(self, request: Request, *, ok: bool, message: str = "", result: dict[str, Any] | None = None) -> None:
        """Answer a command."""
        raise NotImplementedError

    def replay(self, first: int) -> int:
        """Send again what the outbox still holds from `first` on; gives the first sequence there is (0: none)."""
        raise NotImplementedError

    def drain(self, within_s: float) -> bool:
        """Store everything handed over, then publish until all is acknowledged or the time is over; True if all is."""
        raise NotImplementedError

    def close(self, reason: str) -> None:
        """Say goodbye (retained status offline with the reason), disconnect, mark a clean stop."""
        raise NotImplementedError
