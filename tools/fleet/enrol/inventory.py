"""The inventory: DIR/inventory.json, who was given what. Claims, devices, and what was tried with what is not good.

One file, replaced whole while the authority's lock is held: a change has happened or it has not. Of a claim's secret
only a digest is in it, and of a device's key only the fingerprint.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from agent.errors import InputError
from tools.fleet.ca.files import replace, told

ClaimState = Literal["open", "used", "expired", "void"]
Item = TypeVar("Item")

_INCIDENTS_A_CLAIM_MAX = 20  # whoever holds a claim may try for ever; the file has an end


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """Who has used a claim. key: the fingerprint of its public key."""

    device: str
    key: str
    at: datetime


class Claim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The right to one certificate.

    digest: SHA-256 of the secret, hexadecimal. serial: of the one board that may use it; empty: any.
    """

    id: str
    digest: str
    site: str
    serial: str = ""
    made: datetime
    expires: datetime
    void: datetime | None = None
    used: Use | None = None

    def state(self, now: datetime) -> ClaimState:
        """Tell what can still be done with it."""
        if self.used is not None:
            return "used"
        if self.void is not None:
            return "void"
        return "open" if now < self.expires else "expired"


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that is signed and not yet confirmed by its device."""

    certificate: str
    begins: datetime
    ends: datetime


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A board. claim: empty where its request was carried by hand. certificate: the serial number, hexadecimal."""

    device: str
    site: str
    serial: str = ""
    model: str = ""
    claim: str = ""
    enrolled: datetime
    certificate: str
    begins: datetime
    ends: datetime
    pending: Pending | None = None


class Incident(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that should not happen to an honest board. error: the word of the refusal."""

    error: str
    device: str
    key: str
    claim: str = ""
    serial: str = ""
    model: str = ""
    peer: str = ""
    first: datetime
    last: datetime
    count: int = 1


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Its methods give a changed one."""

    format: Literal[1] = 1
    devices: tuple[Device, ...] = ()
    claims: tuple[Claim, ...] = ()
    incidents: tuple[Incident, ...] = ()

    def device(self, name: str) -> Device | None:
        return next((device for device in self.devices if device.device == name), None)

    def claim(self, claim_id: str) -> Claim | None:
        return next((claim for claim in self.claims if claim.id == claim_id), None)

    def with_device(self, device: Device) -> "Inventory":
        """Add a device, or put it in the place of what was known of it."""
        devices = _replaced(self.devices, device, lambda known: known.device == device.device)
        return msgspec.structs.replace(self, devices=devices)

    def with_claim(self, claim: Claim) -> "Inventory":
        """Add a claim, or put it in the place of what was known of it."""
        return msgspec.structs.replace(self, claims=_replaced(self.claims, claim, lambda known: known.id == claim.id))

    def with_incident(self, incident: Incident) -> "Inventory":
        """Note what was tried; the same thing again is counted. Some twenty kinds for each claim, and no more."""

        def is_same(known: Incident) -> bool:
            what = (known.error, known.device, known.key, known.claim)
            return what == (incident.error, incident.device, incident.key, incident.claim)

        known = next(filter(is_same, self.incidents), None)
        if known is None:
            if sum(one.claim == incident.claim for one in self.incidents) >= _INCIDENTS_A_CLAIM_MAX:
                return self
        else:
            incident = msgspec.structs.replace(incident, first=known.first, count=known.count + 1)
        return msgspec.structs.replace(self, incidents=_replaced(self.incidents, incident, is_same))


def path_of(folder: Path) -> Path:
    """Give where the inventory of an authority is."""
    return folder / "inventory.json"


def read(folder: Path) -> Inventory:
    """Read the inventory of an authority; empty where there is none yet. Raises InputError, NotPermittedError."""
    path = path_of(folder)
    with told(folder):
        try:
            return msgspec.json.decode(path.read_bytes(), type=Inventory)
        except FileNotFoundError:
            return Inventory()
        except msgspec.DecodeError as error:
            raise InputError(
                f"not an inventory: {error}", where=str(path), remedy="bring back the backup of this folder"
            ) from error


def write(folder: Path, inventory: Inventory) -> None:
    """Put the inventory onto the disk; the caller holds the authority's lock. Raises StorageError."""
    with told(folder):
        replace(path_of(folder), msgspec.json.format(msgspec.json.encode(inventory), indent=1) + b"\n", mode=0o600)


def _replaced(items: tuple[Item, ...], new: Item, is_it: Callable[[Item], bool]) -> tuple[Item, ...]:
    if not any(map(is_it, items)):
        return (*items, new)
    return tuple(new if is_it(item) else item for item in items)
