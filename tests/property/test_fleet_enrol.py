"""Whatever boards, thieves and operators do: a name has one key, a key one name, a claim one board."""

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.errors import InputError
from tools.fleet.ca.authority import fingerprint, key_of
from tools.fleet.ca.store import Store
from tools.fleet.enrol import claims, inventory, renewal
from tools.fleet.enrol.desk import Asked, Granted, enrol

NAMES = ("door", "gate", "Door")
SITES = ("a", "b")
KEYS = tuple(ec.derive_private_key(number, ec.SECP256R1()) for number in (11, 22, 33))
CSRS = {
    (number, name): x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    .sign(key, hashes.SHA256())
    .public_bytes(Encoding.PEM)
    .decode()
    for number, key in enumerate(KEYS)
    for name in NAMES
}


class Enrolment(RuleBasedStateMachine):
    """An authority, and everybody who comes to it."""

    def __init__(self) -> None:
        super().__init__()
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nobody cuts the power here: no disk need turn
        self.folder = Path(tempfile.mkdtemp(prefix="maskwatch-enrol-", dir=memory))
        self.now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
        Store.create(self.folder, name="fleet", now=self.now)
        self.words: list[str] = []
        self.users: dict[str, tuple[int, str]] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(site=st.sampled_from(SITES))
    def make_a_claim(self, site: str) -> None:
        known = inventory.read(self.folder)
        claim, words = claims.make(known, site=site, now=self.now, days=30)
        inventory.write(self.folder, known.with_claim(claim))
        self.words.append(words)

    @rule(number=st.integers(0, 9), key=st.integers(0, len(KEYS) - 1), name=st.sampled_from(NAMES))
    def ask(self, number: int, key: int, name: str) -> None:
        if not self.words:
            return
        words = self.words[number % len(self.words)]
        before = len(self.signed())
        answer = enrol(self.folder, Asked(claim=words, csr=CSRS[key, name]), now=self.now).answer
        if not isinstance(answer, Granted):
            assert len(self.signed()) == before
            return
        assert self.users.setdefault(words, (key, name)) == (key, name)
        made = x509.load_pem_x509_certificate(answer.certificate.encode())
        assert fingerprint(key_of(made)) == fingerprint(KEYS[key].public_key())
        assert made.not_valid_after_utc > self.now
        with Store.opened(self.folder) as store:
            assert made.serial_number in store.good()
        again = enrol(self.folder, Asked(claim=words, csr=CSRS[key, name]), now=self.now).answer
        assert again == answer

    @rule(number=st.integers(0, 9))
    def withdraw(self, number: int) -> None:
        if self.words:
            word = self.words[number % len(self.words)].split(".")[0]
            known = inventory.read(self.folder)
            try:
                inventory.write(self.folder, claims.void(known, word, now=self.now))
            except InputError:
                assert self.words[number % len(self.words)] in self.users

    @rule(name=st.sampled_from(NAMES))
    def revoke(self, name: str) -> None:
        with Store.opened(self.folder) as store:
            if any(entry.name == name for entry in store.bearers(name)):
                store.revoke(name, now=self.now)

    @rule(days=st.sampled_from((1, 31, 61, 91)))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule(does_it_say_so=st.booleans())
    def renew(self, does_it_say_so: bool) -> None:
        if self.now > datetime(2030, 1, 1, tzinfo=UTC):  # the issuing authority's own end is another test's matter
            return
        for letter in renewal.letters(self.folder, now=self.now):
            again = [one for one in renewal.letters(self.folder, now=self.now) if one.chain == letter.chain]
            assert [one.pending for one in again] == [letter.pending]  # the same, and not a new one
            if does_it_say_so:
                renewal.confirm(self.folder, letter)
                device = inventory.read(self.folder).device(letter.device.device)
                assert device is not None
                assert (device.certificate, device.ends) == (letter.pending.certificate, letter.pending.ends)

    @invariant()
    def a_name_has_one_key_and_a_key_one_name(self) -> None:
        with Store.opened(self.folder) as store:
            good = [entry for name in NAMES for entry in store.bearers(name)]
        assert len({(entry.name.lower(), entry.name, entry.key) for entry in good}) == len(
            {e.name.lower() for e in good}
        )
        assert len({(entry.name, entry.key) for entry in good}) == len({entry.key for entry in good})

    @invariant()
    def what_the_inventory_calls_a_board_s_own_was_signed_for_it(self) -> None:
        signed = {f"{made.serial_number:x}": made for made in self.signed()}
        for device in inventory.read(self.folder).devices:
            made = signed[device.certificate]
            assert made.subject.rfc4514_string() == f"CN={device.device}"
            assert (made.not_valid_before_utc, made.not_valid_after_utc) == (device.begins, device.ends)

    def signed(self) -> list[x509.Certificate]:
        files = (self.folder / "signed").glob("*.pem")
        return [x509.load_pem_x509_certificate(file.read_bytes()) for file in files]


TestEnrolment = pytest.mark.timeout(300)(Enrolment.TestCase)
TestEnrolment.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
