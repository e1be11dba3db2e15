"""Boards at the enrolment server: a real process, HTTPS on loopback, requests made by OpenSSL."""

import http.client
import json
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from deploy.provision.board import Board
from deploy.provision.bundle import Claim
from deploy.provision.enrolment import ask_certificate
from deploy.provision.identity import Identity
from deploy.provision.problem import Problem
from tests.fleet_parts import EnrolServer, found_fleet, make_csr, make_key, new_claim, utc_now
from tests.real import WITHIN_S, need
from tools.fleet.ca.__main__ import main as ca
from tools.fleet.enrol import inventory
from tools.fleet.enrol.__main__ import main as enrol

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # we say old versions to see them refused


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnrolServer]:
    """A server for all tests that leave it as it is; each uses names of its own."""
    with EnrolServer(found_fleet(tmp_path_factory.mktemp("enrol") / "fleet")) as server:
        yield server


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path / "key.pem")


def signed(folder: Path, name: str) -> list[x509.Certificate]:
    """Give what was ever signed for a name."""
    found = [x509.load_pem_x509_certificate(file.read_bytes()) for file in (folder / "signed").glob("*.pem")]
    return [certificate for certificate in found if certificate.subject.rfc4514_string() == f"CN={name}"]


def test_a_claim_gives_a_certificate_that_openssl_takes_for_the_board_s_own_key(
    server: EnrolServer, key: Path, tmp_path: Path
) -> None:
    reply = server.enrol(new_claim(server.folder, site="hall"), make_csr(key, "10000000abcdef01"), serial="abcdef01")

    assert (reply.status, reply["device"], reply["site"]) == (200, "10000000abcdef01", "hall")
    chain = tmp_path / "device.pem"
    chain.write_text(reply["certificate"])
    assert chain.read_text().count("BEGIN CERTIFICATE") == 2
    trust = ["-CAfile", str(server.folder / "ca.pem"), "-untrusted", str(chain)]
    command = [need("openssl", "openssl"), "verify", "-x509_strict", "-purpose", "sslclient", *trust, str(chain)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(chain, key)  # raises unless they belong together
    device = inventory.read(server.folder).device("10000000abcdef01")
    assert device is not None
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    assert (device.site, device.serial, device.model) == ("hall", "abcdef01", "Raspberry Pi 4 Model B")
    assert (int(device.certificate, 16), device.ends) == (leaf.serial_number, leaf.not_valid_after_utc)
    assert timedelta(days=89) < device.ends - utc_now() <= timedelta(days=90)


def test_the_same_board_asking_again_gets_the_same_certificate(server: EnrolServer, key: Path) -> None:
    claim = new_claim(server.folder)
    first = server.enrol(claim, make_csr(key, "again"))
    second = server.enrol(claim, make_csr(key, "again"))  # another request, the same key

    assert (first.status, second.status) == (200, 200)
    assert second["certificate"] == first["certificate"]
    assert len(signed(server.folder, "again")) == 1


def test_a_claim_that_is_used_gives_nothing_to_another_key_and_the_attempt_is_noted(
    server: EnrolServer, key: Path, tmp_path: Path
) -> None:
    claim = new_claim(server.folder)
    server.enrol(claim, make_csr(key, "honest"))
    thief = make_key(tmp_path / "thief.pem")
    replies = [server.enrol(claim, make_csr(thief, name), serial="thief") for name in ("honest", "other", "other")]

    assert [(reply.status, reply["error"]) for reply in replies] == [(403, "used")] * 3
    assert "honest" in replies[0]["message"]
    assert signed(server.folder, "other") == []
    noted = [one for one in inventory.read(server.folder).incidents if one.claim == claim.split(".")[0]]
    assert [(one.error, one.device, one.serial, one.count) for one in noted] == [
        ("used", "honest", "thief", 1),
        ("used", "other", "thief", 2),
    ]
    assert noted[0].peer == "127.0.0.1"


def test_the_same_key_under_another_name_is_not_the_same_board(server: EnrolServer, key: Path) -> None:
    claim = new_claim(server.folder)
    server.enrol(claim, make_csr(key, "card-1"))

    assert server.enrol(claim, make_csr(key, "card-2"))["error"] == "used"
    copied = server.enrol(new_claim(server.folder), make_csr(key, "card-2"))
    assert (copied.status, copied["error"]) == (409, "device-taken")
    assert "copy" in copied["message"]


@pytest.mark.parametrize("fault", ["expired", "void", "unknown id", "wrong secret", "no claim at all"])
def test_a_claim_that_is_not_good_gives_nothing(server: EnrolServer, key: Path, fault: str) -> None:
    before = utc_now() - timedelta(days=31) if fault == "expired" else utc_now()
    claim = new_claim(server.folder, now=before)
    word, secret = claim.split(".")
    match fault:
        case "void":
            assert enrol([str(server.folder), "--void", word]) == 0
        case "unknown id":
            claim = f"00000000.{secret}"
        case "wrong secret":
            claim = f"{word}.{secret[:-1]}{'A' if secret[-1] != 'A' else 'B'}"
        case "no claim at all":
            claim = ""
    reply = server.enrol(claim, make_csr(key, "nobody"))

    assert (reply.status, reply["error"]) == (403, fault if fault in ("expired", "void") else "unknown")
    assert signed(server.folder, "nobody") == []


def test_a_claim_for_one_board_is_for_no_other(server: EnrolServer, key: Path) -> None:
    claim = new_claim(server.folder, serial="10000000AAAA0001")

    wrong = server.enrol(claim, make_csr(key, "10000000bbbb0001"), serial="10000000bbbb0001")
    assert (wrong.status, wrong["error"]) == (403, "wrong-board")
    right = server.enrol(claim, make_csr(key, "10000000aaaa0001"), serial="10000000AAAA0001")
    assert right.status == 200


def test_a_device_id_that_another_key_has_is_refused_until_it_is_revoked(
    server: EnrolServer, key: Path, tmp_path: Path
) -> None:
    server.enrol(new_claim(server.folder), make_csr(key, "porch"))
    copy, claim = make_key(tmp_path / "copy.pem"), new_claim(server.folder)
    for name in ("porch", "Porch"):
        taken = server.enrol(claim, make_csr(copy, name))
        assert (taken.status, taken["error"]) == (409, "device-taken")
    assert [one.device for one in inventory.read(server.folder).incidents if one.error == "device-taken"][-2:] == [
        "porch",
        "Porch",
    ]

    assert ca(["revoke", str(server.folder), "porch"]) == 0
    assert server.enrol(claim, make_csr(copy, "porch")).status == 200  # the claim was not used up
    crl = x509.load_pem_x509_crl((server.folder / "ca.crl").read_bytes())
    assert (
        len(
            [
                one
                for one in signed(server.folder, "porch")
                if crl.get_revoked_certificate_by_serial_number(one.serial_number)
            ]
        )
        == 1
    )


def test_a_revoked_board_gets_nothing_for_its_old_claim(server: EnrolServer, key: Path) -> None:
    claim = new_claim(server.folder)
    server.enrol(claim, make_csr(key, "stolen"))
    assert ca(["revoke", str(server.folder), "stolen"]) == 0

    reply = server.enrol(claim, make_csr(key, "stolen"))
    assert (reply.status, reply["error"]) == (403, "used")
    assert "revoked" in reply["message"]


def test_a_board_does_not_move_to_another_site_by_itself(server: EnrolServer, key: Path) -> None:
    server.enrol(new_claim(server.folder, site="north"), make_csr(key, "mover"))
    moved = server.enrol(new_claim(server.folder, site="south"), make_csr(key, "mover"))

    assert (moved.status, moved["error"]) == (403, "site")
    device = inventory.read(server.folder).device("mover")
    assert device is not None
    assert device.site == "north"


@pytest.mark.parametrize("name", ["operator", "Collector-7", "a.b", "", "x" * 64])
def test_a_request_for_a_name_that_is_no_device_s_is_refused(server: EnrolServer, key: Path, name: str) -> None:
    claim = new_claim(server.folder)
    csr = make_csr(key, name) if name else make_csr(key, "x").replace("MI", "AA", 1)
    reply = server.enrol(claim, csr)

    if name == "x" * 64:
        assert reply.status == 200  # the longest that there is
    else:
        assert (reply.status, reply["error"]) == (400, "bad-csr")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"garbage", 400),
        (b"\xff" * 100, 400),
        (b'{"claim": 1, "csr": "x"}', 400),
        (b'{"claim": "x"}', 400),
        (b"[" * 16_000, 400),
        (b'{"claim": "00000000.x", "csr": "x", "board": {"serial": null}}', 400),
        (b" " * 16_385, 413),
        (b"x" * 3_000_000, 413),
    ],
)
def test_a_body_that_is_none_is_one_line(server: EnrolServer, body: bytes, status: int) -> None:
    try:
        reply = server.post(body)
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError):
        assert status == 413  # it hung up before it had read all of it
        return
    assert reply.status == status
    assert "\n" not in reply["message"]


def test_a_body_without_an_end_is_cut_off(tmp_path: Path) -> None:
    with EnrolServer(found_fleet(tmp_path / "fleet")) as server:
        with raw(server) as door:
            door.sendall(b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            answer = b""
            with suppress(ConnectionError, ssl.SSLError):
                for _ in range(100):  # 100 kB of a body that says of itself only that it goes on
                    door.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
                answer = door.recv(4096)
            assert answer == b"" or b" 413 " in answer
        assert server.wait_for_line(lambda line: "status" in line)["error"] == "too-large"


def test_there_is_one_address_and_one_method(server: EnrolServer) -> None:
    assert server.post(b"{}", path="/").status == 404
    assert server.post(b"{}", path="/v1/enrol/../../ca.pem").status == 404
    with raw(server) as door:
        door.sendall(b"GET /v1/enrol HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 405 " in door.recv(4096)


def test_what_a_board_says_of_itself_stays_on_one_line(server: EnrolServer, key: Path) -> None:
    server.enrol(new_claim(server.folder), make_csr(key, "rude"), serial="a\x1b[2J\nb", model="M" * 300)
    device = inventory.read(server.folder).device("rude")

    assert device is not None
    assert device.serial == "a[2Jb"
    assert device.model == "M" * 64


def raw(server: EnrolServer, maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLSocket:
    """Connect, and send nothing yet."""
    context = ssl.create_default_context(cafile=server.folder / "ca.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # or OpenSSL itself would not offer the old ones
    context.maximum_version = maximum
    plain = socket.create_connection(("localhost", server.port), timeout=WITHIN_S)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except OSError:
        plain.close()
        raise


def test_a_board_trusts_no_server_of_another_authority_and_none_of_another_name(
    server: EnrolServer, tmp_path: Path
) -> None:
    other = found_fleet(tmp_path / "other")
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        server.post(b"{}", ca=other / "ca.pem")
    with pytest.raises(urllib.error.URLError, match="IP address mismatch"):
        server.post(b"{}", host="127.0.0.1")


@pytest.mark.parametrize(("version", "works"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
def test_nothing_older_than_tls_1_2_is_spoken(server: EnrolServer, version: str, works: bool) -> None:
    try:
        with raw(server, ssl.TLSVersion[version]) as door:
            assert works
            assert door.version() == version.replace("_", ".")
    except (ssl.SSLError, ConnectionError):
        assert not works


def test_twenty_boards_at_once_are_twenty_boards(server: EnrolServer, tmp_path: Path) -> None:
    boards = [(new_claim(server.folder), make_csr(make_key(tmp_path / f"{n}.pem"), f"at-once-{n}")) for n in range(20)]
    with ThreadPoolExecutor(20) as crowd:
        replies = list(crowd.map(lambda board: server.enrol(*board), boards))

    assert {reply.status for reply in replies} == {200}
    known = inventory.read(server.folder)
    assert len({d.certificate for d in known.devices if d.device.startswith("at-once-")}) == 20


def test_twenty_thieves_at_once_share_one_certificate(server: EnrolServer, tmp_path: Path) -> None:
    claim = new_claim(server.folder)
    requests = [make_csr(make_key(tmp_path / f"{n}.pem"), f"thief-{n}") for n in range(20)]
    with ThreadPoolExecutor(20) as crowd:
        replies = list(crowd.map(lambda csr: server.enrol(claim, csr), requests))

    assert sorted(reply.status for reply in replies) == [200] + [403] * 19
    assert sum(len(signed(server.folder, f"thief-{n}")) for n in range(20)) == 1
    noted = [one for one in inventory.read(server.folder).incidents if one.claim == claim.split(".")[0]]
    assert len(noted) == 19


def test_the_log_has_a_line_for_each_request_and_no_secret(server: EnrolServer, key: Path) -> None:
    claim = new_claim(server.folder)
    word, secret = claim.split(".")
    server.enrol(claim, make_csr(key, "logged"))
    server.enrol(f"{word}.{secret[:-2]}xx", make_csr(key, "logged"))
    server.enrol(secret, make_csr(key, "logged"))
    server.post(f'{{"claim": "{claim}"'.encode())

    good = server.wait_for_line(lambda line: line.get("device") == "logged")
    assert {key: good[key] for key in ("status", "claim", "site", "peer")} == {
        "status": 200,
        "claim": word,
        "site": "a",
        "peer": "127.0.0.1",
    }
    server.wait_for_line(lambda line: line.get("error") == "bad-request")
    said = json.dumps(server.lines)
    assert not any(part in said for part in (secret, secret[:-2], "BEGIN"))
    assert server.errors.read_text() == ""


def test_an_orderly_stop_ends_with_0(tmp_path: Path) -> None:
    with EnrolServer(found_fleet(tmp_path / "fleet")) as server:
        assert server.terminate() == 0
        assert server.errors.read_text() == ""


SHORT = "import tools.fleet.enrol.server as s; s._BODY_S, s._CONNECTION_S = 0.2, 0.6"


@pytest.mark.parametrize("sent", ["nothing", "half a header", "half a body", "a drop at a time"])
def test_who_is_slow_is_hung_up_on_and_delays_nobody(tmp_path: Path, key: Path, sent: str) -> None:
    folder = found_fleet(tmp_path / "fleet")
    claim = new_claim(folder)
    with EnrolServer(folder, first=SHORT) as server:
        slow = [raw(server) for _ in range(30)]
        for door in slow:
            if sent == "half a header":
                door.sendall(b"POST /v1/enrol HTTP/1.1\r\nHost:")
            elif sent in ("half a body", "a drop at a time"):
                door.sendall(b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{")
        assert server.enrol(claim, make_csr(key, "quick")).status == 200
        for door in slow:
            with door:
                assert drain(door, drip=sent == "a drop at a time")


def drain(door: ssl.SSLSocket, *, drip: bool) -> bool:
    """Read until the server hangs up; drip: and send meanwhile."""
    door.settimeout(0.05 if drip else WITHIN_S)
    end = time.monotonic() + WITHIN_S
    with suppress(ConnectionError, ssl.SSLError):
        while time.monotonic() < end:
            try:
                if not door.recv(4096):
                    return True
            except TimeoutError:
                door.sendall(b" ")
        return False
    return True


KILLED_AT = """
import os, signal
import tools.fleet.ca.files as files
import tools.fleet.ca.store, tools.fleet.enrol.inventory
whole, count = files.replace, {count}
def replace(path, content, *, mode=0o644):
    global count
    count -= 1
    if count == 0 and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    whole(path, content, mode=mode)
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
tools.fleet.ca.store.replace = tools.fleet.enrol.inventory.replace = replace
"""


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_a_server_killed_between_two_steps_leaves_a_claim_that_completes(
    tmp_path: Path, key: Path, count: int, before: bool
) -> None:
    """The steps are the two files that an enrolment writes: the certificate, then the inventory."""
    folder = found_fleet(tmp_path / "fleet")
    claim = new_claim(folder)
    with EnrolServer(folder, first=KILLED_AT.format(count=count, before=before)) as server:
        with pytest.raises((urllib.error.URLError, OSError)):
            server.enrol(claim, make_csr(key, "door"))
        assert server.process.wait(WITHIN_S) == -signal.SIGKILL
    halfway = signed(folder, "door")
    assert len(halfway) == (0 if (count, before) == (1, True) else 1)
    with EnrolServer(folder) as server:
        thief = make_key(tmp_path / "thief.pem")
        if halfway:  # whoever comes first with another key is not let in by what is half done
            assert server.enrol(claim, make_csr(thief, "door"))["error"] in ("device-taken", "used")
        reply = server.enrol(claim, make_csr(key, "door"))
        assert reply.status == 200
        assert server.enrol(claim, make_csr(thief, "gate"))["error"] == "used"
    assert len(signed(folder, "door")) == 1
    known = inventory.read(folder)
    assert [(device.device, device.claim) for device in known.devices] == [("door", claim.split(".")[0])]
    assert known.claims[0].state(utc_now()) == "used"


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "code", "what"),
    [
        (lambda folder: (folder / "issued/enrol.pem").unlink(), 78, "--role server --host"),
        (lambda folder: (folder / "inventory.json").write_text("{"), 65, "bring back the backup"),
        (lambda folder: (folder / "issuing.key").write_text("x"), 65, "bring back the backup"),
        (lambda folder: (folder / "issued/enrol.key").write_text("x"), 65, "not a certificate with its key"),
        (lambda folder: (folder / "ca.pem").unlink(), 65, "no authority here"),
    ],
)
def test_a_server_that_cannot_serve_says_why_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Spoil, code: int, what: str
) -> None:
    folder = found_fleet(tmp_path / "fleet")
    spoil(folder)

    assert enrol([str(folder), "--serve", "--listen", "127.0.0.1:0"]) == code
    said = capsys.readouterr().err
    assert what in said
    assert said.count("\n") == 1


def test_a_port_that_is_taken_and_a_certificate_that_has_ended_are_one_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = found_fleet(tmp_path / "fleet")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert enrol([str(folder), "--serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}"]) == 69
    late = utc_now() + timedelta(days=400)
    assert enrol([str(folder), "--serve", "--listen", "127.0.0.1:0"], now=lambda: late) == 78
    said = capsys.readouterr().err.splitlines()
    assert "--listen" in said[0]
    assert "tools.fleet.ca renew" in said[1]


@pytest.fixture
def identity() -> Identity:
    return Identity(device="10000000cafe0001", serial="10000000cafe0001", model="Raspberry Pi 5 Model B Rev 1.0")


def ask(server: EnrolServer, words: str, csr: str, identity: Identity, *, host: str = "localhost") -> str:
    """Ask with the program that boards have."""
    claim = Claim(url=f"https://{host}:{server.port}", claim=words, expires="2026-12-21T00:00:00Z")
    return ask_certificate(Board(), claim, server.folder / "ca.pem", csr, identity, lambda _: None)


def test_the_board_s_own_program_gets_its_certificate(server: EnrolServer, key: Path, identity: Identity) -> None:
    csr = make_csr(key, identity.device)
    chain = ask(server, new_claim(server.folder, serial=identity.serial), csr, identity)

    device = inventory.read(server.folder).device(identity.device)
    assert device is not None
    assert device.model == identity.model
    assert int(device.certificate, 16) == x509.load_pem_x509_certificate(chain.encode()).serial_number


def test_the_board_s_own_program_says_why_it_got_none(server: EnrolServer, key: Path, identity: Identity) -> None:
    csr, words = make_csr(key, identity.device), new_claim(server.folder)
    server.enrol(words, make_csr(make_key(key.with_name("thief.pem")), "thief-board"))
    with pytest.raises(Problem, match=r"used on .* by thief-board"):
        ask(server, words, csr, identity)
    with pytest.raises(Problem, match="certificate is not good"):
        ask(server, new_claim(server.folder), csr, identity, host="127.0.0.1")
