"""Who may look: names with hashed passwords, and the sessions of those who have logged in, all in the database.

So all instances on one database know them. Of a session's token the database has a hash only: who reads the database
cannot go on in anybody's name.
"""

import hashlib
import hmac
import re
import secrets

from agent.clock import NS_PER_MS, Clock
from agent.errors import UsageError
from tools.fleet.page.database import Database

PASSWORD_MIN, PASSWORD_MAX = 12, 256
SESSION_MS = 12 * 3_600_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_N, _R, _P = 2**15, 8, 1  # 32 MiB and about 0.1 s a try (RFC 7914; the parameters are kept with each hash)
_MEMORY = 2 * 128 * _N * _R


class Accounts:
    """Names and sessions. Methods raise what the database raises."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._nobody = hash_password(secrets.token_hex(16))

    def put(self, name: str, password: str) -> None:
        """Make a user, or give one another password; it ends the sessions. Raises UsageError."""
        if _NAME.fullmatch(name) is None:
            raise UsageError(f"{name!r} is no name", where="user", remedy="letters, digits and ._@-, 64 at most")
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            what = f"a password of {len(password)} characters"
            raise UsageError(what, where="user", remedy=f"take {PASSWORD_MIN} to {PASSWORD_MAX}")
        if not password.isprintable():
            raise UsageError("a password with control characters", where="user", remedy="take another")
        self._database.change(
            "INSERT INTO page_users (name, secret) VALUES (:name, :secret) "
            "ON CONFLICT (name) DO UPDATE SET secret = excluded.secret",
            {"name": name, "secret": hash_password(password)},
        )
        self._database.change("DELETE FROM page_sessions WHERE name = :name", {"name": name})

    def remove(self, name: str) -> None:
        """Remove a user and its sessions. Raises UsageError for one who is not there."""
        if not self._database.rows("SELECT 1 FROM page_users WHERE name = :name", {"name": name}):
            raise UsageError(f"there is no user {name!r}", where="user", remedy="check the name")
        for table in ("page_users", "page_sessions"):
            self._database.change(f"DELETE FROM {table} WHERE name = :name", {"name": name})

    def check(self, name: str, password: str) -> bool:
        """Tell whether a password is right; it takes as long for a name that is not there."""
        query = "SELECT secret FROM page_users WHERE name = :name"
        found = self._database.rows(query, {"name": name}) if _NAME.fullmatch(name) else []
        secret = found[0][0] if found else self._nobody
        # To scrypt a password and the same one with zero bytes behind it are one (RFC 2104 pads with them).
        return is_right(password, secret) and bool(found) and password.isprintable()

    def fresh(self) -> str:
        """Give a token of nobody."""
        return secrets.token_urlsafe(32)

    def begin(self, name: str) -> str:
        """Begin a session; give its token."""
        token, now_ms = self.fresh(), self._clock.wall_ns() // NS_PER_MS
        self._database.change("DELETE FROM page_sessions WHERE expires_ms < :now", {"now": now_ms})
        self._database.change(
            "INSERT INTO page_sessions (token, name, expires_ms) VALUES (:token, :name, :expires)",
            {"token": _digest(token), "name": name, "expires": now_ms + SESSION_MS},
        )
        return token

    def who(self, token: str) -> str | None:
        """Give the name behind a token, None for one that is not known any more."""
        now_ms = self._clock.wall_ns() // NS_PER_MS
        found = self._database.rows(
            "SELECT name FROM page_sessions WHERE token = :token AND expires_ms > :now",
            {"token": _digest(token), "now": now_ms},
        )
        return found[0][0] if found else None

    def end(self, token: str) -> None:
        """End a session."""
        self._database.change("DELETE FROM page_sessions WHERE token = :token", {"token": _digest(token)})


def csrf_of(token: str) -> str:
    """Give what a form must carry to be believed: only who knows the cookie can make it (OWASP: double submit)."""
    return hmac.new(token.encode(), b"maskwatch form", hashlib.sha256).hexdigest()


def hash_password(password: str) -> str:
    """Give `scrypt$N$r$p$salt$hash`, salt and hash in hexadecimal digits."""
    salt = secrets.token_bytes(16)
    return f"scrypt${_N}${_R}${_P}${salt.hex()}${_scrypt(password, salt, _N, _R, _P).hex()}"


def is_right(password: str, secret: str) -> bool:
    """Tell whether a password is the one that a hash was made of."""
    _, n, r, p, salt, expected = secret.split("$")
    found = _scrypt(password, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, bytes.fromhex(expected))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
