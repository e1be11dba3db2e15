"""Claims: one-time rights to a certificate. `<id>.<secret>`; whoever knows the secret may use it, once."""

import hmac
import re
import secrets
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from agent.errors import InputError, nearest
from tools.fleet.enrol.inventory import Claim, Inventory

_SECRET_BYTES = 24  # 192 bits: nobody guesses one, and a plain digest is enough to keep it by
_CLAIM = re.compile(r"([0-9a-f]{8})\.([A-Za-z0-9_-]{22,64})")
EXPIRES_DAYS = 30


def make(inventory: Inventory, *, site: str, serial: str = "", now: datetime, days: int) -> tuple[Claim, str]:
    """Make a claim unlike any other; gives what is kept of it, and the words for the board: they are nowhere else."""
    known = {claim.id for claim in inventory.claims}
    claim_id = next(word for word in iter(lambda: secrets.token_hex(4), "") if word not in known)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    expires = now + timedelta(days=days)
    claim = Claim(id=claim_id, digest=_digest(secret), site=site, serial=serial.lower(), made=now, expires=expires)
    return claim, f"{claim_id}.{secret}"


def find(inventory: Inventory, words: str) -> Claim | None:
    """Give the claim whose id and secret these are; None says nothing of which of them is wrong."""
    parts = _CLAIM.fullmatch(words)
    if parts is None:
        return None
    claim = inventory.claim(parts[1])
    if claim is None or not hmac.compare_digest(claim.digest, _digest(parts[2])):
        return None
    return claim


def void(inventory: Inventory, claim_id: str, *, now: datetime) -> Inventory:
    """Let nobody use a claim any more. Raises InputError for one that is unknown or used."""
    claim = inventory.claim(claim_id)
    if claim is None:
        known = (one.id for one in inventory.claims)
        raise InputError(f"no such claim{nearest(claim_id, known)}", where=claim_id, remedy="see --list")
    if claim.used is not None:
        remedy = f"take back the certificate: python -m tools.fleet.ca revoke DIR {claim.used.device}"
        raise InputError(f"{claim.used.device} has used it", where=claim_id, remedy=remedy)
    return inventory.with_claim(msgspec.structs.replace(claim, void=claim.void or now))


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
