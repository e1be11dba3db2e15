"""Keys and certificates, judged beside the openssl command; and the question to a real TLS server."""

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.provision import openssl
from deploy.provision.bundle import Claim
from deploy.provision.enrolment import PATIENCE_S, ask_certificate
from deploy.provision.identity import KEY, Identity
from deploy.provision.problem import Exit, Problem
from tests.provision_parts import SERIAL, Authority, FolderBoard, System, make_root, need_root
from tests.real import free_port

IDENTITY = Identity(device=SERIAL, serial=SERIAL, model="Raspberry Pi 4")


@pytest.fixture
def board(tmp_path: Path) -> FolderBoard:
    need_root()
    root = make_root(tmp_path / "root")
    board = FolderBoard(root, System(root))
    board.path("/etc/maskwatch/secrets").mkdir(parents=True)
    board.write(KEY, openssl.make_key(board), mode=0o600)
    return board


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def fault(board: FolderBoard, authority: Authority, chain: str, device: str = SERIAL) -> str:
    return openssl.fault(board, chain, ca=authority.root, key=KEY, device=device)


def test_a_key_is_on_p256_and_only_root_can_read_it(board: FolderBoard) -> None:
    text = subprocess.run(
        ["openssl", "pkey", "-in", board.path(KEY), "-noout", "-text"], capture_output=True, text=True
    )
    assert "NIST CURVE: P-256" in text.stdout
    assert board.path(KEY).stat().st_mode & 0o777 == 0o600
    assert openssl.is_key(board, KEY)
    assert openssl.make_key(board) != openssl.make_key(board)


@pytest.mark.parametrize("kind", ["rsa", "P-384", "rubbish"])
def test_anything_else_is_no_key(board: FolderBoard, kind: str) -> None:
    options = {"rsa": ["RSA"], "P-384": ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]}.get(kind)
    made = b"rubbish"
    if options:
        made = subprocess.run(["openssl", "genpkey", "-algorithm", *options], capture_output=True).stdout
    board.write(KEY, made, mode=0o600)
    assert not openssl.is_key(board, KEY)


def test_a_request_names_the_device_and_is_signed_by_its_key(board: FolderBoard, tmp_path: Path) -> None:
    (tmp_path / "csr").write_text(openssl.make_request(board, KEY, SERIAL))
    words = ["openssl", "req", "-in", str(tmp_path / "csr"), "-noout", "-verify", "-subject", "-text"]
    shown = subprocess.run(words, capture_output=True, text=True)
    assert shown.returncode == 0
    assert f"CN = {SERIAL}" in shown.stdout
    assert f"DNS:{SERIAL}" in shown.stdout


def test_a_certificate_of_ours_for_this_key_and_name_is_good(board: FolderBoard, authority: Authority) -> None:
    chain = authority.certificate(openssl.make_request(board, KEY, SERIAL), SERIAL)
    assert fault(board, authority, chain) == ""


def test_each_other_certificate_is_refused_for_its_own_reason(
    board: FolderBoard, authority: Authority, tmp_path: Path
) -> None:
    request = openssl.make_request(board, KEY, SERIAL)
    good = authority.certificate(request, SERIAL)
    other = Authority(tmp_path / "other", "another fleet")
    assert fault(board, authority, "rubbish") == "is no certificate"
    assert fault(board, authority, good, device="10000000ffffffff") == f"is for {SERIAL}, not 10000000ffffffff"
    elsewhere = authority.certificate(request, "elsewhere")
    assert fault(board, authority, elsewhere) == f"is for {SERIAL} and elsewhere, not {SERIAL}"
    assert fault(board, authority, other.certificate(request, SERIAL)).startswith("is not valid: unable to get")
    leaf = good.split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    assert fault(board, authority, leaf).startswith("is not valid: unable to get")
    expired = authority.certificate(request, SERIAL, days=-1)
    assert fault(board, authority, expired) == "is not valid: certificate has expired"
    server = authority.certificate(request, SERIAL, host=SERIAL)
    assert fault(board, authority, server).startswith("is not valid: un")  # unsupported, unsuitable: by version
    board.write(KEY, openssl.make_key(board), mode=0o600)
    assert fault(board, authority, good) == "belongs to another key"


@dataclass
class Server:
    """An enrolment server that answers as it is told. asked: what came."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)

    def next(self, body: dict[str, Any]) -> tuple[int, bytes]:
        self.asked.append(body)
        return self.answers.pop(0)


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, data = told.next(body | {"path": self.path})
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "https://localhost:1/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server("localhost"))
    door = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    door.socket = context.wrap_socket(door.socket, server_side=True)
    told.url = f"https://localhost:{door.server_port}"
    thread = threading.Thread(target=door.serve_forever, args=(0.02,))
    thread.start()
    yield told
    door.shutdown()
    thread.join()
    door.server_close()


def claim(url: str) -> Claim:
    return Claim(url=url, claim="c1.secret", expires="2099-01-01T00:00:00Z")


@pytest.fixture
def ask(board: FolderBoard, authority: Authority) -> Callable[..., str]:
    def ask(url: str, ca: Path | None = None, said: list[str] | None = None) -> str:
        say = (said if said is not None else []).append
        return ask_certificate(board, claim(url), ca or authority.root, "the request", IDENTITY, say)

    return ask


def granted(device: str = SERIAL) -> tuple[int, bytes]:
    return 200, json.dumps({"certificate": "the chain", "device": device, "site": "a"}).encode()


def test_a_claim_and_a_request_go_there_and_the_chain_comes_back(server: Server, ask: Callable[..., str]) -> None:
    server.answers = [granted()]
    assert ask(server.url) == "the chain"
    assert server.asked == [
        {
            "claim": "c1.secret",
            "csr": "the request",
            "board": {"serial": SERIAL, "model": "Raspberry Pi 4"},
            "path": "/v1/enrol",
        }
    ]


@pytest.mark.parametrize("status", [400, 403, 409])
def test_a_refusal_is_shown_in_the_server_s_own_words(server: Server, ask: Callable[..., str], status: int) -> None:
    server.answers = [(status, json.dumps({"error": "used", "message": "the claim was used; make a new one"}).encode())]
    with pytest.raises(Problem) as caught:
        ask(server.url)
    assert "the claim was used; make a new one" in str(caught.value)
    assert "c1.secret" not in str(caught.value)
    assert caught.value.code == Exit.NOT_PERMITTED
    assert len(server.asked) == 1


def test_a_server_in_trouble_is_asked_again(server: Server, ask: Callable[..., str], board: FolderBoard) -> None:
    server.answers = [(503, b""), (500, b"{}"), granted()]
    said: list[str] = []
    assert ask(server.url, said=said) == "the chain"
    assert [line.partition(": ")[2] for line in said] == [
        "it is in trouble (503); trying again for up to 120 s",
        "it is in trouble (500); trying again for up to 117 s",
    ]
    assert board.slept_s == 6.0


def test_an_absent_network_is_waited_for_and_in_the_end_said(ask: Callable[..., str], board: FolderBoard) -> None:
    said: list[str] = []
    with pytest.raises(Problem, match=r"no answer within 120 s: .*refused") as caught:
        ask(f"https://127.0.0.1:{free_port()}", said=said)
    assert [line.rpartition(" for ")[2] for line in said] == [f"up to {rest_s} s" for rest_s in (120, 90, 60, 30)]
    assert caught.value.code == Exit.UNAVAILABLE
    assert PATIENCE_S - 6 <= board.slept_s <= PATIENCE_S


def test_a_server_of_another_authority_learns_nothing(
    server: Server, ask: Callable[..., str], tmp_path: Path, board: FolderBoard
) -> None:
    other = Authority(tmp_path / "other", "another fleet")
    with pytest.raises(Problem, match="its certificate is not good: unable to get local issuer") as caught:
        ask(server.url, ca=other.root)
    assert caught.value.code == Exit.UNAVAILABLE
    assert (server.asked, board.slept_s) == ([], 0.0)


def test_a_server_of_another_name_learns_nothing(server: Server, ask: Callable[..., str]) -> None:
    with pytest.raises(Problem, match="its certificate is not good"):
        ask(server.url.replace("localhost", "127.0.0.1"))
    assert server.asked == []


@pytest.mark.parametrize(
    "answer", [(200, b"<html>"), (200, b"[]"), (302, b""), granted("10000000ffffffff"), (200, b"{}")]
)
def test_an_answer_that_is_none_is_said(server: Server, ask: Callable[..., str], answer: tuple[int, bytes]) -> None:
    server.answers = [answer]
    with pytest.raises(Problem) as caught:
        ask(server.url)
    assert caught.value.code in (Exit.UNAVAILABLE, Exit.NOT_PERMITTED)
    assert len(server.asked) == 1


def test_a_proxy_of_the_environment_is_not_asked(
    server: Server, ask: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    server.answers = [granted()]
    assert ask(server.url) == "the chain"


def test_an_authority_file_without_a_certificate_is_the_bundle_s_fault(
    server: Server, ask: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(Problem, match="holds no certificate"):
        ask(server.url, ca=tmp_path / "empty")
