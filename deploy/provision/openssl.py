"""Keys, requests and certificates by the openssl command, which every Debian has: Python alone cannot make them.

A key is made and kept in the pipe between openssl and the file that only root can read.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from .board import Board, Done
from .problem import Exit, Problem


def make_key(board: Board) -> bytes:
    """Make a private key on the curve P-256, PEM."""
    done = board.ask("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    return _expect(done, "PRIVATE KEY", "openssl genpkey").encode()


def make_request(board: Board, key: str, device: str) -> str:
    """Make a signing request, PEM, for the key in a file of the board."""
    place = str(board.path(key))
    subject = ("-subj", f"/CN={device}", "-addext", f"subjectAltName=DNS:{device}")
    return _expect(board.ask("openssl", "req", "-new", "-key", place, *subject), "CERTIFICATE REQUEST", "openssl req")


def is_key(board: Board, key: str) -> bool:
    """Tell whether a file of the board holds a private key on P-256."""
    done = board.ask("openssl", "pkey", "-in", str(board.path(key)), "-noout", "-text_pub")
    return done.code == 0 and "prime256v1" in done.out


def fault(board: Board, chain: str, *, ca: Path, key: str, device: str) -> str:
    """Say why a certificate is not this device's, or give an empty string.

    chain: PEM, the leaf first, then those that issued it. ca: the root, trusted alone. key: a file of the board.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "chain.pem"
        file.write_text(chain)
        return _fault(board, str(file), ca=str(ca), key=str(board.path(key)), device=device)


def _fault(board: Board, file: str, *, ca: str, key: str, device: str) -> str:
    wanted = board.ask("openssl", "pkey", "-in", key, "-pubout")
    found = board.ask("openssl", "x509", "-in", file, "-noout", "-pubkey")
    if found.code != 0:
        return "is no certificate"
    if wanted.code != 0 or wanted.out != found.out:
        return "belongs to another key"
    names = board.ask(
        "openssl", "x509", "-in", file, "-noout", "-subject", "-nameopt", "RFC2253", "-ext", "subjectAltName"
    )
    common = re.search(r"^subject=(?:.*,)?CN=([^,+\n]*)", names.out, re.M)
    other = re.findall(r"DNS:([^,\s]+)", names.out)
    named = {*(common.groups() if common else ()), *other}
    if named != {device}:
        return f"is for {' and '.join(sorted(named)) or 'nobody'}, not {device}"
    trust = ("-CAfile", ca, "-no-CApath", "-no-CAstore", "-untrusted", file, "-purpose", "sslclient")
    verified = board.ask("openssl", "verify", *trust, file)
    if verified.code == 0:
        return ""
    why = re.search(r"error \d+ at \d+ depth lookup: ?(.*)", verified.out + verified.err)
    return f"is not valid: {why[1] if why else verified.last_line}"


def _expect(done: Done, kind: str, where: str) -> str:
    if done.code != 0 or f"-----BEGIN {kind}-----" not in done.out:
        raise Problem(done.last_line, where=where, remedy="apt-get install --reinstall openssl", code=Exit.UNAVAILABLE)
    return done.out
