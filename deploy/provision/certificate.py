"""The key, made here and never shown, and its certificate: by the bundle's claim, or carried by hand."""

from collections.abc import Callable

from . import openssl
from .board import Board
from .bundle import Bundle
from .enrolment import ask_certificate
from .identity import CERTIFICATE, KEY, ROOT, STATE, Identity
from .problem import Exit, Problem
from .record import HOME, Record
from .step import Action, Call, Folder, Step, Write, due, rights

_USER = "maskwatch"


def key_step(board: Board) -> Step:
    """Give the step that makes the key where there is none."""
    folder = Folder(path=f"{HOME}/secrets", mode=0o700)

    def wrong() -> list[str]:
        if board.read(KEY) is None:
            return [f"{KEY} is missing"]
        if not openssl.is_key(board, KEY):
            return [f"{KEY} is no key on P-256"]
        return [why] if (why := folder.needed(board) or rights(board, KEY, 0o600, "root")) else []

    def actions() -> list[Action]:
        found: list[Action] = [folder]
        data = board.read(KEY)
        if data is None or not openssl.is_key(board, KEY):
            found.append(
                Call(
                    plan=f"make a key on P-256 with openssl and write {KEY} (0600 root)",
                    past=f"made {KEY}",
                    work=lambda: board.write(KEY, openssl.make_key(board), mode=0o600),
                    files=(KEY,),
                )
            )
        elif rights(board, KEY, 0o600, "root"):
            found.append(
                Call(
                    plan=f"make {KEY} root's alone (0600)",
                    past=f"made {KEY} root's alone",
                    work=lambda: board.write(KEY, data, mode=0o600),
                )
            )
        return found

    return Step(name="key", wrong=wrong, actions=actions, restarts=True)


def certificate_step(
    board: Board, record: Record, bundle: Bundle, identity: Identity, say: Callable[[str], None]
) -> Step:
    """Give the step that sees to a certificate which belongs to the key, names this device and is valid."""
    root = Write(path=ROOT, data=bundle.data("ca.pem"))
    folder = Folder(path=STATE, mode=0o700, owner=_USER)
    request = f"{HOME}/{identity.device}.csr"

    def fault(chain: str) -> str:
        return openssl.fault(board, chain, ca=bundle.ca, key=KEY, device=identity.device)

    def certificate_fault() -> str:
        chain = board.read(CERTIFICATE)
        if chain is None:
            return f"{CERTIFICATE} is missing"
        if why := fault(chain.decode(errors="replace")):
            return f"{CERTIFICATE} {why}"
        return rights(board, CERTIFICATE, 0o644, _USER)

    def wrong() -> list[str]:
        return [why for why in (root.needed(board), folder.needed(board), certificate_fault()) if why]

    def actions() -> list[Action]:
        found = due("certificate", board, record, (root, folder))
        if certificate_fault():
            found.append(_source())
        return found

    def _source() -> Action:
        files = (CERTIFICATE,)
        carried = _carried(board, bundle, identity.device)
        if carried is not None:
            place, chain = carried
            plan, past = f"check {place} and write {CERTIFICATE}", f"wrote {CERTIFICATE} from {place}"
            return Call(plan=plan, past=past, work=lambda: _install(chain, place), files=files)
        if bundle.claim is not None:
            url = bundle.claim.url
            plan = f"ask {url} for a certificate with the bundle's claim and write {CERTIFICATE}"
            return Call(plan=plan, past=f"wrote {CERTIFICATE}, issued by {url}", work=_claim, files=files)
        plan = f"write a signing request, {request}, to be carried to the authority by hand"
        return Call(plan=plan, past=f"wrote {request}", work=_carry, files=(request,))

    def _claim() -> None:
        assert bundle.claim is not None
        csr = openssl.make_request(board, KEY, identity.device)
        _install(ask_certificate(board, bundle.claim, bundle.ca, csr, identity, say), bundle.claim.url)

    def _install(chain: str, source: str) -> None:
        if why := fault(chain):
            raise Problem(
                f"the certificate from there {why}", where=source, remedy="have a new one issued", code=Exit.UNFIT
            )
        board.write(CERTIFICATE, chain.encode(), owner=_USER)
        board.remove(request)
        record.files.pop(request, None)

    def _carry() -> None:
        data = openssl.make_request(board, KEY, identity.device).encode()
        board.write(request, data)
        place = request
        beside = bundle.beside / f"{identity.device}.csr"
        try:
            beside.write_bytes(data)
            place = str(beside)
        except OSError:  # a bundle on a read-only medium
            pass
        raise Problem(
            "the bundle has no claim, so the certificate comes by hand",
            where=place,
            remedy=f"sign it with `python -m tools.fleet.enrol DIR --sign {identity.device}.csr --site "
            f"{bundle.manifest.site}`, put {identity.device}.pem beside the bundle, and run the same command again",
            code=Exit.LATER,
        )

    return Step(name="certificate", wrong=wrong, actions=actions, restarts=True)


def _carried(board: Board, bundle: Bundle, device: str) -> tuple[str, str] | None:
    """Find a certificate that was carried here. Returns where, and its text."""
    for place in (bundle.folder, bundle.beside, board.path(HOME)):
        file = place / f"{device}.pem"
        if file.is_file():
            return str(file), file.read_text(errors="replace")
    return None
