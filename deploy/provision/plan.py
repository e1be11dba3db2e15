"""The plan: every step, in the order in which a board needs them. Each looks first and then does what is missing."""

from collections.abc import Callable
from dataclasses import dataclass

from .board import Board
from .bundle import Bundle
from .certificate import certificate_step, key_step
from .configuration import configuration_step
from .facts import Facts
from .identity import Identity, identity_step
from .mounts import mounts_step
from .record import Record
from .release import current_step, release_step
from .service import service_step, unit_step
from .step import Step
from .system import devices_step, journal_step, user_step, watchdog_step, wifi_step
from .upgrade import upgrade_step


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be installed, and where. say: tells the user what takes long."""

    board: Board
    record: Record
    bundle: Bundle
    facts: Facts
    identity: Identity
    say: Callable[[str], None]


def install_steps(job: Job) -> list[Step]:
    """Give the steps. Whatever the network can refuse comes before what takes long; the agent's start comes last."""
    board, record, bundle = job.board, job.record, job.bundle
    return [
        identity_step(board, record, job.identity),
        user_step(board, record, bundle),
        devices_step(board, record, bundle),
        key_step(board),
        certificate_step(board, record, bundle, job.identity, job.say),
        release_step(board, bundle),
        upgrade_step(board, record, bundle, job.identity),
        current_step(board, bundle),
        configuration_step(board, record, bundle, job.identity),
        unit_step(board, record, bundle, job.facts),
        journal_step(board, record, bundle),
        mounts_step(board, record, is_wanted=bundle.options.card_care),
        watchdog_step(board, record, bundle),
        wifi_step(board, record, bundle, job.facts),
        service_step(board, record),
    ]
