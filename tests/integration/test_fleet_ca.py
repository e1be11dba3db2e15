"""The authority as a command and a folder, judged by OpenSSL."""

import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.real import need
from tools.fleet.ca.__main__ import main

NOW = datetime.now(UTC).replace(microsecond=0)
Run = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ca"
    assert main(["init", str(folder)], now=NOW) == 0
    return folder


@pytest.fixture
def ca(folder: Path) -> Run:
    """Run a command on the folder; gives the exit code."""

    def run(command: str, *words: str, now: datetime = NOW) -> int:
        return main([command, str(folder), *words], now=now)

    return run


def verify(folder: Path, certificate: Path, purpose: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        need("openssl", "openssl"),
        "verify",
        "-x509_strict",
        "-purpose",
        purpose,
        "-CAfile",
        str(folder / "ca.pem"),
        "-untrusted",
        str(certificate),  # what its owner shows: the issuing authority's follows its own
    ]
    return subprocess.run([*command, *options, str(certificate)], capture_output=True, text=True, check=False)


def states(said: str) -> dict[str, str]:
    return {line.split()[0]: line.split()[2] for line in said.splitlines()[1:]}


def test_openssl_takes_a_board_as_a_client_and_a_broker_as_a_server_and_neither_as_the_other(
    folder: Path, ca: Run
) -> None:
    assert ca("issue", "door") == 0
    assert ca("issue", "broker", "--role", "server", "--host", "localhost", "--host", "127.0.0.1") == 0

    door, broker = folder / "issued/door.pem", folder / "issued/broker.pem"
    assert verify(folder, door, "sslclient").returncode == 0
    assert verify(folder, broker, "sslserver", "-verify_hostname", "localhost").returncode == 0
    assert verify(folder, broker, "sslserver", "-verify_ip", "127.0.0.1").returncode == 0
    assert "unsuitable certificate purpose" in verify(folder, door, "sslserver").stderr
    assert "unsuitable certificate purpose" in verify(folder, broker, "sslclient").stderr


def test_a_certificate_of_the_authority_signs_nothing_that_openssl_would_take(
    folder: Path, ca: Run, tmp_path: Path
) -> None:
    ca("issue", "door")
    openssl, forged, key = need("openssl", "openssl"), tmp_path / "forged.pem", tmp_path / "forged.key"
    request = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=gate", "-days", "1"]
    signer = ["-CA", str(folder / "issued/door.pem"), "-CAkey", str(folder / "issued/door.key")]
    made = [openssl, "req", "-x509", *request, *signer, "-keyout", str(key), "-out", str(forged)]
    subprocess.run(made, check=True, capture_output=True)

    assert verify(folder, forged, "sslclient", "-untrusted", str(folder / "issued/door.pem")).returncode != 0


def test_python_s_strict_verification_takes_board_and_broker_by_the_root_alone(folder: Path, ca: Run) -> None:
    """What Python 3.13 asks for by default: RFC 5280 to the letter."""
    ca("issue", "door")
    ca("issue", "broker", "--role", "server", "--host", "localhost")
    ends = []
    for side, name in ((ssl.PROTOCOL_TLS_SERVER, "broker"), (ssl.PROTOCOL_TLS_CLIENT, "door")):
        context = ssl.SSLContext(side)
        context.load_cert_chain(folder / f"issued/{name}.pem", folder / f"issued/{name}.key")
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        ends.append(context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ends[0].wrap_bio(to_server, to_client, server_side=True)
    client = ends[1].wrap_bio(to_client, to_server, server_hostname="localhost")

    shaken: set[ssl.SSLObject] = set()
    for _ in range(4):
        for end in (client, server):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
                shaken.add(end)

    assert shaken == {client, server}
    assert server.getpeercert()["subject"] == ((("commonName", "door"),),)  # type: ignore[index]


def test_keys_are_for_their_owner_alone_and_belong_to_their_certificates(folder: Path, ca: Run) -> None:
    ca("issue", "door")

    keys = sorted(folder.rglob("*.key"))
    assert [key.name for key in keys] == ["door.key", "issuing.key", "root.key"]
    assert {oct(key.stat().st_mode & 0o777) for key in keys} == {"0o600"}
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(folder / "issued/door.pem", folder / "issued/door.key")  # raises unless they match


def test_a_name_is_borne_once_until_it_is_revoked(folder: Path, ca: Run, capsys: pytest.CaptureFixture[str]) -> None:
    ca("issue", "door")
    first = (folder / "issued/door.key").read_bytes()
    capsys.readouterr()
    for name in ("door", "Door"):
        assert ca("issue", name) == 65
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("is borne since" in line for line in said)
    assert (folder / "issued/door.key").read_bytes() == first
    assert ca("revoke", "door") == 0
    assert ca("issue", "door") == 0
    assert (folder / "issued/door.key").read_bytes() != first


def test_a_renewed_certificate_is_for_the_same_key_and_the_old_one_stays_good(
    folder: Path, ca: Run, tmp_path: Path
) -> None:
    ca("issue", "broker", "--role", "server", "--host", "broker.example", "--days", "10")
    certificate, key = folder / "issued/broker.pem", (folder / "issued/broker.key").read_bytes()
    old = tmp_path / "old.pem"
    old.write_bytes(certificate.read_bytes())
    assert ca("renew", "broker", "--days", "20", now=NOW + timedelta(days=5)) == 0

    assert certificate.read_bytes() != old.read_bytes()
    assert (folder / "issued/broker.key").read_bytes() == key
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, folder / "issued/broker.key")
    at = int((NOW + timedelta(days=7)).timestamp())
    crl = ("-crl_check", "-CRLfile", str(folder / "ca.crl"), "-attime", str(at), "-verify_hostname", "broker.example")
    assert verify(folder, certificate, "sslserver", *crl).returncode == 0
    assert verify(folder, old, "sslserver", *crl).returncode == 0


def test_revoking_a_name_takes_back_its_older_certificates_too(folder: Path, ca: Run, tmp_path: Path) -> None:
    ca("issue", "door")
    ca("issue", "gate")
    old = tmp_path / "old.pem"
    old.write_bytes((folder / "issued/door.pem").read_bytes())
    ca("renew", "door")
    assert ca("revoke", "door") == 0

    crl = ("-crl_check", "-CRLfile", str(folder / "ca.crl"))
    assert "certificate revoked" in verify(folder, old, "sslclient", *crl).stderr
    assert "certificate revoked" in verify(folder, folder / "issued/door.pem", "sslclient", *crl).stderr
    assert verify(folder, folder / "issued/gate.pem", "sslclient", *crl).returncode == 0
    assert ca("revoke", "gate") == 0
    assert "certificate revoked" in verify(folder, old, "sslclient", *crl).stderr  # the list only grows


def test_the_list_tells_who_expires_first_and_who_is_out(ca: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for name, days in (("late", "300"), ("soon", "20"), ("gone", "1"), ("stolen", "100")):
        ca("issue", name, "--days", days)
    ca("revoke", "stolen")
    capsys.readouterr()
    assert ca("list", now=NOW + timedelta(days=2)) == 0

    said = capsys.readouterr().out
    assert states(said) == {"gone": "expired", "soon": "valid", "stolen": "revoked", "late": "valid"}
    assert [line.split()[0] for line in said.splitlines()[1:]] == ["gone", "soon", "stolen", "late"]
    assert [line.split()[-1] for line in said.splitlines()[1:]] == ["-1", "18", "98", "298"]


def test_a_name_issued_anew_after_a_revocation_is_listed_as_good(ca: Run, capsys: pytest.CaptureFixture[str]) -> None:
    ca("issue", "door", "--days", "100")
    ca("revoke", "door")
    ca("issue", "door", "--days", "50")
    capsys.readouterr()
    ca("list")

    assert states(capsys.readouterr().out) == {"door": "valid"}


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["init", "{folder}"], 65, "there is an authority already"),
        (["list", "{folder}/none"], 65, "no authority here"),
        (["issue", "{folder}", "a+b"], 65, "not a name that fits into a topic"),
        (["issue", "{folder}", "collector"], 65, "rights of a collector"),
        (["issue", "{folder}", "x", "--role", "colector"], 65, "did you mean 'collector'"),
        (["issue", "{folder}", "x", "--role", "server"], 65, "add --host"),
        (["issue", "{folder}", "x", "--days", "99999"], 2, "--days"),
        (["issue", "{folder}"], 2, "NAME"),
        (["renew", "{folder}", "dor"], 65, "did you mean 'door'"),
        (["revoke", "{folder}", "nobody"], 65, "nobody bears this name"),
        (["init", "{folder}/ca.pem/below"], 65, "Not a directory"),
        (["frobnicate", "{folder}"], 2, "frobnicate"),
        (["reissue", "{folder}", "--root", "{folder}/none"], 65, "--root"),
        (["reissue", "{folder}", "--days", "9999"], 65, "2046"),
        (["init", "{folder}/other", "--root", "{folder}/root"], 65, "there is a root already"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_exit_code(
    folder: Path, ca: Run, capsys: pytest.CaptureFixture[str], words: list[str], code: int, what: str
) -> None:
    ca("issue", "door")
    capsys.readouterr()
    assert main([word.format(folder=folder) for word in words]) == code

    said = capsys.readouterr()
    assert what in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_damaged_authority_is_one_line(folder: Path, ca: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "issuing.key").write_text("garbage")
    assert ca("issue", "door") == 65
    assert "bring back the backup" in capsys.readouterr().err


def test_an_issue_cut_short_before_anything_was_signed_can_be_done_again(folder: Path, ca: Run) -> None:
    (folder / "issued/door.key").write_text("half a k")  # and power failed
    assert ca("issue", "door") == 0
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(folder / "issued/door.pem", folder / "issued/door.key")


def test_an_issue_cut_short_after_it_was_signed_is_completed_by_renew(folder: Path, ca: Run) -> None:
    ca("issue", "door")
    (folder / "issued/door.pem").unlink()  # as if power had failed before the last file
    assert ca("issue", "door") == 65
    assert ca("renew", "door") == 0
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(folder / "issued/door.pem", folder / "issued/door.key")


def test_the_root_s_key_is_needed_for_nothing_but_to_sign_the_issuing_authority_anew(
    folder: Path, ca: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawer = tmp_path / "drawer"
    (folder / "root").rename(drawer)
    ca("issue", "door")
    ca("issue", "gate")
    ca("revoke", "gate")
    ca("renew", "door")
    later = NOW + timedelta(days=1700)
    capsys.readouterr()
    assert ca("issue", "late", "--role", "server", "--host", "x", now=later) == 65  # it would outlive who signs it
    assert "reissue" in capsys.readouterr().err
    assert ca("reissue") == 65
    assert "--root" in capsys.readouterr().err
    assert ca("reissue", "--root", str(drawer), now=later) == 0
    assert ca("issue", "late", "--role", "server", "--host", "x", now=later) == 0

    at = str(int((NOW + timedelta(days=30)).timestamp()))
    crl = ("-crl_check", "-CRLfile", str(folder / "ca.crl"), "-attime")
    assert verify(folder, folder / "issued/door.pem", "sslclient", *crl, at).returncode != 0  # the list is of later
    at = str(int((later + timedelta(days=30)).timestamp()))
    assert verify(folder, folder / "issued/late.pem", "sslserver", *crl, at).returncode == 0
    capsys.readouterr()
    ca("list")
    assert states(capsys.readouterr().out) == {"door": "valid", "gate": "revoked", "late": "valid"}


def test_a_new_key_of_the_issuing_authority_takes_back_all_that_the_old_one_signed(
    folder: Path, ca: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    ca("issue", "door")
    old = (folder / "issued/door.pem").read_bytes()
    assert ca("reissue", "--new-key", now=NOW + timedelta(days=1)) == 0
    assert ca("issue", "door", now=NOW + timedelta(days=1)) == 0

    crl = ("-crl_check", "-CRLfile", str(folder / "ca.crl"), "-attime", str(int(NOW.timestamp()) + 2 * 86_400))
    assert verify(folder, folder / "issued/door.pem", "sslclient", *crl).returncode == 0
    (folder / "issued/door.pem").write_bytes(old)
    assert "unable to get certificate CRL" in verify(folder, folder / "issued/door.pem", "sslclient", *crl).stderr
    capsys.readouterr()
    ca("list")
    assert states(capsys.readouterr().out) == {"door": "valid"}  # the new one


def test_another_fleet_s_root_signs_nothing_here(folder: Path, ca: Run, tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "other")], now=NOW) == 0
    before = (folder / "issuing.pem").read_bytes()
    assert ca("reissue", "--root", str(tmp_path / "other/root")) == 65
    assert (folder / "issuing.pem").read_bytes() == before


@pytest.mark.parametrize(("words", "days"), [([], 90), (["--role", "server", "--host", "x"], 365)])
def test_a_board_s_certificate_is_good_for_90_days_and_a_server_s_for_365(
    ca: Run, capsys: pytest.CaptureFixture[str], words: list[str], days: int
) -> None:
    capsys.readouterr()
    for command in ("issue", "renew"):
        assert ca(command, "it", *(words if command == "issue" else ())) == 0
        assert capsys.readouterr().out.endswith(f"good until {NOW + timedelta(days=days):%Y-%m-%d}\n")


def test_two_at_once_never_sign_one_name_twice(folder: Path) -> None:
    command = [sys.executable, "-m", "tools.fleet.ca", "issue", str(folder), "door"]
    racing = [subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for _ in range(4)]

    assert sorted(process.wait(60) for process in racing) == [0, 65, 65, 65]
    assert len(list((folder / "signed").iterdir())) == 1
