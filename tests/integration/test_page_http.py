"""The fleet page over real HTTP: who gets in, and what becomes of what somebody plants in it."""

import csv
import http.client
import io
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from agent.errors import UnavailableError, UsageError
from tests.collector_parts import event, payload
from tests.integration.page_scene import NAME, PASSWORD, Scene, Visitor, sqlite_url
from tests.real import free_port
from tools.fleet.collector.messages import Message, read, sight
from tools.fleet.collector.sqlite import SqliteStore
from tools.fleet.page import accounts, throttle
from tools.fleet.page.__main__ import main
from tools.fleet.page.server import Place

PAGES = ["/", "/devices", "/devices/cam1", "/events", "/missing"]
SHEETS = ["/devices.csv", "/events.csv", "/counts.csv"]
ALL = [*PAGES, *SHEETS, "/metrics", "/devices/nobody", "/events?label=mask"]
EVIL = "</script><img src=x onerror=alert(1)>'\"&{{7919*7907}}"
PRODUCT = "62615533"  # what a template would make of it; no time of day and no number of ours looks so


@pytest.fixture(autouse=True, scope="module")
def cheap_passwords() -> Iterator[None]:
    """Try passwords in no time; what a try costs is in tests/unit/test_page_accounts.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "_N", 2)
        yield


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "events.db")
    yield made
    made.close()


@pytest.fixture
def scene(store: SqliteStore, tmp_path: Path) -> Iterator[Scene]:
    store.commit([event(1), told("cam1", state="online", camera="ok")], now_ms=now_ms())
    with Scene(sqlite_url(tmp_path)) as made:
        yield made


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """Somebody who has logged in to a page whose database is as it is in `scene` and stays so."""
    folder = tmp_path_factory.mktemp("standing")
    store = SqliteStore(folder / "events.db")
    store.commit([event(1), told("cam1", state="online", camera="ok")], now_ms=now_ms())
    store.close()
    with Scene(sqlite_url(folder)) as made:
        yield made.visitor()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def told(device: str, kind: str = "status", **fields: Any) -> Message:
    found = sight(f"maskwatch/lab/{device}/{kind}", json.dumps({"session": 1} | fields).encode())
    assert found is not None
    return found


class Parts(HTMLParser):
    """What a browser makes of a page: its elements, with all attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


# Who gets in.


@pytest.mark.parametrize("path", ALL)
def test_nobody_sees_anything_without_logging_in(standing: Visitor, path: str) -> None:
    answer = Visitor(standing.port).ask(path)

    assert answer.code == 303
    assert answer.headers["location"].startswith("/login?next=/")
    assert "cam1" not in answer.text


def test_what_has_just_come_is_for_who_has_logged_in_alone(scene: Scene) -> None:
    assert scene.visitor(logged_in=False).ask("/live").code == 401


def test_who_knows_the_password_gets_in_and_out_again(scene: Scene) -> None:
    visitor = scene.visitor(logged_in=False)
    entered = visitor.log_in(next="/devices?q=cam")
    assert (entered.code, entered.headers["location"]) == (303, "/devices?q=cam")
    kept = dict(visitor.cookies)
    page = visitor.ask("/")
    assert page.code == 200

    assert visitor.ask("/logout", {"csrf": page.csrf}).code == 303

    assert visitor.ask("/").code == 303
    visitor.cookies = kept
    assert visitor.ask("/").code == 303, "the session has ended, not only its cookie"


def test_the_session_is_a_cookie_that_no_script_reads_and_no_foreign_form_sends(scene: Scene) -> None:
    (session,) = [one for one in scene.visitor(logged_in=False).log_in().set_cookies if one.startswith("maskwatch=")]

    assert re.search(r"; *HttpOnly", session)
    assert re.search(r"; *SameSite=lax", session)


def test_behind_a_proxy_with_tls_the_cookie_is_for_that_host_alone(store: SqliteStore, tmp_path: Path) -> None:
    with Scene(sqlite_url(tmp_path), origin="https://fleet.example.org") as scene:
        visitor = scene.visitor(logged_in=False)
        form = visitor.ask("/login", headers={"Host": "fleet.example.org"})
        values = {"csrf": form.csrf, "name": NAME, "password": PASSWORD}
        answer = visitor.ask("/login", values, headers={"Origin": "https://fleet.example.org"})

    assert answer.code == 303
    (session,) = [one for one in answer.set_cookies if one.startswith("__Host-maskwatch=")]
    assert {"Secure", "Path=/", "HttpOnly"} <= {part.strip() for part in session.split(";")}
    assert "max-age" in answer.headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("name", "password"),
    [
        (NAME, "wrong horse battery"),
        (NAME, ""),
        ("nobody", PASSWORD),
        ("", ""),
        ("ana' OR '1'='1", "x' OR '1'='1"),
        ("ana\0", PASSWORD),
        (NAME, PASSWORD + "\0"),
        (NAME.upper(), PASSWORD),
        ("\u202eana", "\ud7ff"),
    ],
)
def test_a_wrong_name_or_password_is_told_in_the_same_words(scene: Scene, name: str, password: str) -> None:
    visitor = scene.visitor(logged_in=False)

    answer = visitor.log_in(name, password)

    assert answer.code == 401
    assert "Name or password is wrong." in answer.text
    assert visitor.ask("/").code == 303


def test_after_some_wrong_tries_even_the_right_password_has_to_wait(scene: Scene) -> None:
    visitor = scene.visitor(logged_in=False)
    codes = [visitor.log_in(password="wrong horse battery").code for _ in range(throttle._EACH + 1)]

    assert codes == [401] * throttle._EACH + [429]
    answer = visitor.log_in()
    assert (answer.code, answer.headers["retry-after"]) == (429, "60")


def test_right_tries_are_not_counted(scene: Scene) -> None:
    for _ in range(throttle._EACH + 2):
        scene.visitor()


def test_a_login_without_the_token_of_its_form_is_refused_before_the_password_is_looked_at(scene: Scene) -> None:
    other = scene.visitor(logged_in=False).ask("/login")
    for csrf in ("", "0" * 64, other.csrf, "é"):
        visitor = scene.visitor(logged_in=False)
        visitor.ask("/login")
        assert visitor.ask("/login", {"csrf": csrf, "name": NAME, "password": PASSWORD}).code == 403
    without = scene.visitor(logged_in=False)
    assert without.ask("/login", {"csrf": other.csrf, "name": NAME, "password": PASSWORD}).code == 403


def test_a_foreign_form_logs_nobody_out(scene: Scene) -> None:
    visitor = scene.visitor()
    right = visitor.ask("/").csrf

    assert visitor.ask("/logout", {}).code == 403
    assert visitor.ask("/logout", {"csrf": "0" * 64}).code == 403
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{scene.port + 1}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert visitor.ask("/logout", {"csrf": right}, headers=headers).code == 403

    assert visitor.ask("/").code == 200


def test_a_session_that_somebody_made_up_is_none(scene: Scene) -> None:
    for token in ("x", "' OR 1=1 --", "a" * 5000, "%00", "é".encode("latin-1").decode("latin-1")):
        visitor = Visitor(scene.port)
        visitor.cookies = {"maskwatch": token}
        assert visitor.ask("/").code == 303


def test_another_password_ends_the_sessions_of_the_old_one(scene: Scene) -> None:
    visitor = scene.visitor()

    scene.accounts.put(NAME, "another horse battery")

    assert visitor.ask("/").code == 303
    assert visitor.log_in(password=PASSWORD).code == 401
    assert visitor.log_in(password="another horse battery").code == 303


def test_the_database_holds_neither_passwords_nor_tokens(scene: Scene, store: SqliteStore) -> None:
    visitor = scene.visitor()

    rows = store._db.execute("SELECT * FROM page_users").fetchall()
    rows += store._db.execute("SELECT * FROM page_sessions").fetchall()

    assert rows
    assert PASSWORD not in str(rows)
    assert visitor.cookies["maskwatch"] not in str(rows)


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "/a\r\nX: y"]
)
def test_the_login_leads_to_a_page_of_ours_whatever_it_was_asked_for(scene: Scene, target: str) -> None:
    answer = scene.visitor(logged_in=False).log_in(next=target)

    assert answer.headers["location"] == "/"
    assert "X" not in answer.headers


# What every answer has.


@pytest.mark.parametrize("path", [*ALL, "/login", "/static/page.css", "/nothing", "/live"])
def test_every_answer_carries_the_policy(standing: Visitor, path: str) -> None:
    answers = [Visitor(standing.port).ask(path)]
    if path != "/live":  # it goes on
        answers.append(standing.ask(path))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"]
        assert answer.headers["server"] is None


def test_pages_are_kept_by_no_cache(standing: Visitor) -> None:
    assert {standing.ask(path).headers["cache-control"] for path in PAGES} == {"no-store"}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_script_or_style_that_the_policy_would_refuse(standing: Visitor, path: str) -> None:
    page = Parts(standing.see(path))

    assert [about for tag, about in page.tags if tag == "script"] == [{"src": "/static/live.js", "defer": None}]
    assert "style" not in [tag for tag, _ in page.tags]
    assert not [name for _, about in page.tags for name in about if name.startswith("on") or name == "style"]
    loaded = [about.get("src") or about.get("href") for tag, about in page.tags if tag in ("script", "link", "img")]
    assert all(one and one.startswith("/static/") for one in loaded)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "[::1", "a@b:c"])
def test_a_name_that_somebody_pointed_at_us_is_no_way_in(standing: Visitor, host: str) -> None:
    assert standing.ask("/", headers={"Host": host}).code in (400, 421)


def test_a_form_that_is_too_large_is_refused_unread(standing: Visitor) -> None:
    assert standing.ask("/login", body=b"x" * 5000).code == 413
    link = http.client.HTTPConnection("127.0.0.1", standing.port, timeout=20)
    link.request("POST", "/login", iter([b"x" * 5000]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert link.getresponse().status == 413
    link.close()


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"a=%ff", b"&".join(b"a%d=1" % number for number in range(50)), b"csrf", b""]
)
def test_a_form_that_is_none_is_refused(standing: Visitor, body: bytes) -> None:
    assert Visitor(standing.port).ask("/login", body=body).code in (400, 403)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "OPTIONS", "PATCH"])
def test_other_methods_do_nothing(standing: Visitor, method: str) -> None:
    assert standing.ask("/", method=method, headers={"Content-Length": "0"}).code in (405, 501)


def test_bytes_that_are_no_http_end_nothing_but_their_connection(standing: Visitor) -> None:
    for junk in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"\r\n" * 100):
        with socket.create_connection(("127.0.0.1", standing.port), timeout=20) as link:
            link.sendall(junk)
            link.shutdown(socket.SHUT_WR)
            while link.recv(4096):
                pass

    assert standing.ask("/").code == 200


# What somebody plants.


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/devices/../../etc/passwd",
        "/devices/..%2f..%2fetc%2fpasswd",
        "/devices/cam1'%20OR%201=1",
        "/devices/%00",
        "/devices/%3Cscript%3E",
    ],
)
def test_a_path_leads_nowhere_else(standing: Visitor, path: str) -> None:
    answer = standing.ask(path)

    assert answer.code in (400, 404)
    assert "root:" not in answer.text
    assert "import" not in answer.text
    assert "<script>" not in answer.text.replace("<script src", "")


@pytest.mark.parametrize(
    "name", ["site", "device", "label", "type", "state", "sort", "page", "by", "since", "until", "before"]
)
@pytest.mark.parametrize("value", ["' OR 1=1 --", "1;DROP TABLE events", EVIL, "%00", "\u202e", "-1", "9" * 30])
def test_a_filter_that_is_none_is_told_so_and_asked_of_no_database(standing: Visitor, name: str, value: str) -> None:
    for path in ("/events", "/", "/devices", "/events.csv"):
        answer = standing.ask(f"{path}?{name}={value if value == '%00' else quote(value)}")
        assert answer.code in (200, 400), (path, answer.code, answer.text)
        assert "<img" not in answer.text
        assert PRODUCT not in Parts(answer.text).text
    assert "cam1" in standing.see("/events")


def test_an_unknown_filter_is_told_so(standing: Visitor) -> None:
    answer = standing.ask("/events?colour=red")

    assert answer.code == 400
    assert "colour" in answer.text


def planted(device: str = "cam1") -> list[Message]:
    """Make messages with markup wherever a message has room for words."""
    person = {"person": "1-1", "label": EVIL, "reason": EVIL}
    found = [
        read(
            f"maskwatch/lab/{device}/events",
            payload(
                9,
                device=device,
                kind="maskwatch.outbox.reset.v1",
                data={
                    "old_stream": "a",
                    "saved": 1,
                    "last_sequence": 2,
                    "why": EVIL[:100] + "\u202e\u0007",
                },
            ),
        ),
        read(f"maskwatch/lab/{device}/events", payload(10, device=device, kind="maskwatch.person.new.v1", data=person)),
        read(f"maskwatch/lab/{device}/events", payload(11, device=device, kind="=cmd|'/c_calc'!A.1<b>", data=person)),
        told(device, state="online", camera="<i>ok", reason=EVIL + "\u202e\u0000", version=EVIL),
        told(device, "telemetry", camera=EVIL[:20], accelerator=EVIL),
    ]
    assert all(found)
    return [one for one in found if one is not None]


@pytest.mark.parametrize("path", PAGES)
def test_markup_that_a_device_sends_is_text(scene: Scene, store: SqliteStore, path: str) -> None:
    visitor = scene.visitor()
    before = Parts(visitor.see(path))
    store.commit(planted(), now_ms=now_ms())

    page = visitor.see(path)

    after = Parts(page)
    assert {tag for tag, _ in after.tags} - {tag for tag, _ in before.tags} <= {
        "circle",
        "text",
        "time",
        "i",
        "nav",
        "p",
        "ol",
        "li",
        "ul",
    }
    assert not [about for tag, about in after.tags if tag in ("img", "b") and about]
    assert "\u202e" not in page
    assert "\u0007" not in page
    assert PRODUCT not in after.text
    assert EVIL[:20] in after.text or path in ("/missing", "/events")


def test_a_cell_that_a_sheet_would_run_is_text(scene: Scene, store: SqliteStore) -> None:
    store.commit([*planted("-1_cmd"), told("-1_cmd", state="offline", reason="@SUM(1)*cmd")], now_ms=now_ms())
    visitor = scene.visitor()

    for path in ("/events.csv", "/devices.csv"):
        rows = list(csv.reader(io.StringIO(visitor.see(path))))
        assert len({len(row) for row in rows}) == 1
        cells = [cell for row in rows for cell in row]
        assert "'-1_cmd" in cells
        assert not [
            cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r", "-")) and not _is_number(cell)
        ]
    assert "'=cmd|'/c_calc'!A.1<b>" in [
        cell for row in csv.reader(io.StringIO(visitor.see("/events.csv"))) for cell in row
    ]


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"-?[0-9.]+", cell) is not None


# What it shows.


def test_a_sheet_of_events_has_all_that_match_and_the_messages_as_they_came(scene: Scene, store: SqliteStore) -> None:
    store.commit([event(number, device="cam2") for number in range(1, 1201)], now_ms=now_ms())
    answer = scene.visitor().ask("/events.csv?device=cam2")

    rows = list(csv.DictReader(io.StringIO(answer.text)))

    assert answer.headers["content-disposition"] == 'attachment; filename="maskwatch-events.csv"'
    assert [int(row["sequence"]) for row in rows] == list(range(1200, 0, -1))
    assert json.loads(rows[0]["message"])["sequence"] == "000000001200"


def test_an_event_of_a_device_whose_clock_is_not_set_is_shown_when_it_came_and_said_to_be(
    scene: Scene, store: SqliteStore
) -> None:
    store.commit([event(1, device="cam2", wall_ms=None)], now_ms=now_ms())
    visitor = scene.visitor()

    page = visitor.see("/events?device=cam2")
    (row,) = csv.DictReader(io.StringIO(visitor.see("/events.csv?device=cam2")))

    assert "≈" in page
    assert row["time"] == ""
    assert row["arrived"]


def test_a_database_that_is_away_is_one_sentence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = scene.visitor()

    def away(*_: object) -> None:
        raise UnavailableError("connection refused", where="postgresql://x/y", remedy="check the server")

    monkeypatch.setattr(scene.database, "rows", away)
    answer = visitor.ask("/")

    assert answer.code == 503
    assert "does not answer" in answer.text
    assert "postgresql://x/y" not in answer.text, "hosts and users are nobody's business before the login"


def test_without_a_collector_that_reads_the_broker_the_page_says_that_it_is_old(
    scene: Scene, store: SqliteStore
) -> None:
    visitor = scene.visitor()
    store.attest("one", connected=True, now_ms=now_ms())
    assert "No collector" not in visitor.see("/")

    store.attest("one", connected=False, now_ms=now_ms())

    assert "No collector reads the broker" in visitor.see("/")


def test_the_numbers_for_prometheus_are_there_too(standing: Visitor) -> None:
    assert "maskwatch_collector_events_stored_total" in standing.see("/metrics")


# The commands.


def run(*words: str, stdin: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.fleet.page", *words], input=stdin, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


def test_a_user_is_made_changed_and_removed_by_a_command(scene: Scene, tmp_path: Path) -> None:
    store = ("--store", sqlite_url(tmp_path))

    assert run("user", "eva", *store, stdin="a long enough one\n") == (0, "")
    assert scene.visitor(logged_in=False).log_in("eva", "a long enough one").code == 303
    assert run("user", "eva", *store, "--remove") == (0, "")
    assert scene.visitor(logged_in=False).log_in("eva", "a long enough one").code == 401


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (["user", "eva"], "short\n", "take 12 to 256"),
        (["user", "no name!"], "a long enough one\n", "is no name"),
        (["user", "eva", "--remove"], "", "there is no user 'eva'"),
        (["user"], "", "NAME"),
        ([], "", "user"),
    ],
)
def test_a_wrong_word_of_the_command_is_one_line(
    words: list[str],
    stdin: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))

    assert main([*words, "--store", sqlite_url(tmp_path)]) == 2

    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert said in line


@pytest.mark.parametrize(
    ("host", "origin", "said"),
    [
        ("0.0.0.0", "", "in clear"),
        ("192.168.1.5", "", "in clear"),
        ("127.0.0.1", "http://fleet.example.org", "no address of a page"),
        ("127.0.0.1", "https://fleet.example.org/page", "no address of a page"),
    ],
)
def test_a_place_where_passwords_would_travel_in_clear_is_refused(host: str, origin: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Place(host=host, port=free_port(), origin=origin)


def test_who_comes_in_and_who_does_not_is_in_the_log_in_one_line_each(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tools.fleet.page")
    scene.visitor(logged_in=False).log_in("eva\nana page.entered", "wrong horse battery")
    scene.visitor()

    said = [record.getMessage() for record in caplog.records if record.name.startswith("tools.fleet.page")]
    assert said == [
        "page.refused name='eva\\nana page.entered' address=127.0.0.1",
        "page.entered name=ana address=127.0.0.1",
    ]


def test_behind_a_proxy_tries_are_counted_by_whom_the_proxy_names_and_else_by_nobodys_word(
    store: SqliteStore, tmp_path: Path
) -> None:
    def codes(scene: Scene) -> list[int]:
        found = []
        for number in range(throttle._EACH + 1):
            visitor = scene.visitor(logged_in=False)
            values = {"csrf": visitor.ask("/login").csrf, "name": NAME, "password": "wrong horse battery"}
            found.append(visitor.ask("/login", values, headers={"X-Forwarded-For": f"9.9.9.9, 10.0.0.{number}"}).code)
        return found

    with Scene(sqlite_url(tmp_path), origin="https://fleet.example.org") as behind:
        assert codes(behind) == [401] * (throttle._EACH + 1)
    with Scene(sqlite_url(tmp_path)) as alone:
        assert codes(alone) == [401] * throttle._EACH + [429]
