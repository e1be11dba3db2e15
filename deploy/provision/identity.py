"""Who this board is. A card that was copied from another board is found out by its new board's serial number."""

import hashlib
import re
from dataclasses import dataclass

from .board import Board
from .problem import Exit, Problem
from .record import HOME, Record
from .step import Action, Call, Step

STATE = "/var/lib/maskwatch"
KEY = f"{HOME}/secrets/key.pem"
ROOT = f"{HOME}/ca.pem"
CERTIFICATE = f"{STATE}/device.pem"
_SERIAL = "/proc/device-tree/serial-number"
_PRODUCT = "/sys/class/dmi/id/product_uuid"
_MACHINE_ID = "/etc/machine-id"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """device: the id, exactly as the agent makes it. serial: the hardware's own number, empty where it has none."""

    device: str
    serial: str
    model: str


def identify(board: Board) -> Identity:
    """Name this board: a Pi's serial number, else digits made from the machine id. Raises Problem without both."""
    model = board.text("/proc/device-tree/model") or board.text("/sys/class/dmi/id/product_name")
    serial = board.text(_SERIAL).lower()
    if re.fullmatch(r"[0-9a-f-]{8,36}", serial):
        return Identity(device=serial, serial=serial, model=model)
    machine_id = board.text(_MACHINE_ID)
    if not re.fullmatch(r"[0-9a-f]{32}", machine_id):
        raise Problem(
            "neither a serial number nor a machine id",
            where=_MACHINE_ID,
            remedy="run systemd-machine-id-setup",
            code=Exit.UNFIT,
        )
    device = hashlib.sha256(b"maskwatch" + machine_id.encode()).hexdigest()[:12]
    return Identity(device=device, serial=board.text(_PRODUCT).lower(), model=model)


def is_copy(identity: Identity, record: Record) -> bool:
    """Tell whether what is installed here was installed on another board."""
    if not record.device:
        return False
    other_hardware = bool(identity.serial and record.serial and identity.serial != record.serial)
    return other_hardware or identity.device != record.device


def refuse_copy(identity: Identity, record: Record, *, adopt: bool) -> None:
    """Raise Problem for a copied card, unless it is to become a board of its own and can."""
    if not is_copy(identity, record):
        return
    if not adopt:
        raise Problem(
            f"this card is a copy: it was provisioned as {record.device}, on another board than this one",
            where=f"{HOME}/installed.json",
            remedy="add --adopt to make this a board of its own, with a new key and a new claim (a new bundle)",
            code=Exit.UNFIT,
        )
    if identity.device == record.device:
        raise Problem(
            f"the id {record.device} is made from the machine id, which was copied too",
            where=_MACHINE_ID,
            remedy="rm /etc/machine-id && systemd-machine-id-setup, then run it with --adopt again",
            code=Exit.UNFIT,
        )


def identity_step(board: Board, record: Record, identity: Identity) -> Step:
    """Give the step that remembers who this board is, and first takes what was another board's out of the way."""

    def wrong() -> list[str]:
        if is_copy(identity, record):
            return [f"the card was {record.device}'s, the board is {identity.device}"]
        known = (record.device, record.serial) == (identity.device, identity.serial)
        return [] if known else [f"{identity.device} is not remembered yet"]

    def actions() -> list[Action]:
        found: list[Action] = []
        if is_copy(identity, record):
            old = record.device
            found.append(
                Call(
                    plan=f"stop the agent, set the outbox of {old} aside, remove its key and certificate",
                    past=f"set the outbox of {old} aside, removed its key and certificate",
                    work=lambda: _set_aside(board, old),
                )
            )
        found.append(
            Call(plan=f"remember {identity.device}", past=f"this is {identity.device}", work=lambda: _remember())
        )
        return found

    def _remember() -> None:
        record.device, record.serial = identity.device, identity.serial

    return Step(name="identity", wrong=wrong, actions=actions, restarts=True)


def _set_aside(board: Board, old: str) -> None:
    """Take the other board's outbox and identity away. Done again after an interruption it goes on where it was."""
    if board.is_there("/etc/systemd/system/maskwatch.service"):
        board.run("systemctl", "stop", "maskwatch.service")
    board.remove(KEY)
    if board.is_there(f"{HOME}/config.toml"):  # it names the other board
        board.move(f"{HOME}/config.toml", f"{HOME}/config.toml.of-{old}")
    aside = f"{STATE}/of-{old}"
    if board.is_folder(STATE):
        if not board.is_folder(aside):
            board.folder(aside, mode=0o700)
        for name in board.names(STATE):
            if name.startswith("outbox"):
                board.move(f"{STATE}/{name}", f"{aside}/{name}")
    board.remove(CERTIFICATE)
