"""The collector between a real mosquitto and its database: what is answered when, and what a death in between costs."""

import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.settings import MqttSettings
from tests.collector_parts import SESSION_S, InProcess, Running, payload, send, topic
from tests.postgres import Postgres
from tests.real import Mosquitto, Pki, Subscriber, free_port, wait_for
from tools.fleet.collector.__main__ import main
from tools.fleet.collector.broker import Broker, Unreached
from tools.fleet.collector.collector import Batch, Collector
from tools.fleet.collector.fleet import EVENTS
from tools.fleet.collector.postgres import PostgresStore
from tools.fleet.collector.sqlite import SqliteStore
from tools.fleet.collector.store import Committed, Store

PER_KILL = 1500
WINDOW = ("max_inflight_messages 1000",)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker", extra=WINDOW) as running:
        yield running


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def events(count: int, *, first: int = 1, device: str = "cam1") -> list[tuple[str, bytes]]:
    return [(topic(device), payload(number, device=device)) for number in range(first, first + count)]


def acks(subscriber: Subscriber, device: str = "cam1") -> list[int]:
    return [json.loads(told)["hwm"] for told in subscriber.payloads(topic(device, "ack"))]


def count(store: Store, what: str = "events") -> int:
    """Count the rows that are there."""
    if isinstance(store, PostgresStore):
        with store._judged():
            return int(store._all(f"SELECT count(*) FROM {what}")[0][0])
    assert isinstance(store, SqliteStore)
    return int(store._one(f"SELECT count(*) FROM {what}", ())[0])


def test_events_are_stored_and_their_device_is_told_how_far(broker: Mosquitto, tmp_path: Path) -> None:
    with Subscriber(broker, topics=("maskwatch/+/+/ack",)) as subscriber:
        with Running(broker, f"sqlite://{tmp_path}/events.db") as collector:
            send(broker, events(50))
            subscriber.wait_for(lambda: acks(subscriber)[-1:] == [50])
            code, _ = collector.stop()
        told = subscriber.payloads(topic(kind="ack"))

    assert code == 0
    assert json.loads(told[-1]) == {"stream": "5eed", "hwm": 50}
    store = SqliteStore(tmp_path / "events.db")
    assert count(store) == 50
    store.close()


def test_what_came_while_no_collector_ran_is_there_when_it_comes_back(broker: Mosquitto, tmp_path: Path) -> None:
    with Running(broker, f"sqlite://{tmp_path}/events.db"):
        pass
    send(broker, events(200))

    with InProcess(broker, SqliteStore(tmp_path / "events.db")) as back:
        back.step_until(lambda: count(back.store) == 200)


def test_killed_at_random_instants_it_loses_and_doubles_nothing(broker: Mosquitto, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/events.db"
    with Subscriber(broker, topics=("maskwatch/+/+/ack",)) as subscriber, ThreadPoolExecutor(1) as aside:
        in_the_middle = 0
        for before in range(0, 5 * PER_KILL, PER_KILL):
            with Running(broker, url) as collector:
                sending = aside.submit(send, broker, events(PER_KILL, first=before + 1))
                subscriber.wait_for(lambda at=before: max(acks(subscriber), default=0) > at)  # type: ignore[misc]
                collector.kill()
                sending.result()
            in_the_middle += max(acks(subscriber)) < before + PER_KILL
        assert in_the_middle
        with Running(broker, url):
            subscriber.wait_for(lambda: acks(subscriber)[-1:] == [5 * PER_KILL])

    store = SqliteStore(tmp_path / "events.db")
    assert count(store) == 5 * PER_KILL
    store.close()


class DiesAfterCommit(Collector):
    """The order is right, and the process dies between its two halves."""

    def settle(self, batch: Batch) -> Committed:
        committed = self.store.commit(batch.messages, now_ms=0)
        if committed.stored:
            raise KeyboardInterrupt
        return committed


class AnswersFirst(Collector):
    """The order is wrong, and the process dies between its two halves."""

    def settle(self, batch: Batch) -> Committed:
        batch.broker.acknowledge(batch.receipts)
        if batch.messages:
            self.broker.close()
            raise KeyboardInterrupt
        return Committed()


def die(broker: Mosquitto, folder: Path, make: type[Collector]) -> None:
    with InProcess(broker, SqliteStore(folder / "events.db"), make=make) as dying:
        send(broker, events(10))
        with pytest.raises(KeyboardInterrupt):
            dying.step_until(lambda: False)


def test_what_was_committed_and_not_answered_comes_again_and_is_a_duplicate(broker: Mosquitto, tmp_path: Path) -> None:
    die(broker, tmp_path, DiesAfterCommit)

    with InProcess(broker, SqliteStore(tmp_path / "events.db")) as after:
        after.step_until(lambda: after.count("duplicates") > 0 and count(after.store) == 10)
        stored, duplicates = after.count("events_stored"), after.count("duplicates")

    assert stored + duplicates == 10


def test_a_collector_that_answers_before_it_commits_does_lose_events(broker: Mosquitto, tmp_path: Path) -> None:
    die(broker, tmp_path, AnswersFirst)

    with InProcess(broker, SqliteStore(tmp_path / "events.db")) as after:
        send(broker, events(1, device="cam2"))
        after.step_until(lambda: count(after.store) > 0)

        assert count(after.store) < 11


def test_while_the_database_is_away_nothing_is_answered_and_then_all_is_stored(
    broker: Mosquitto, postgres: Postgres
) -> None:
    with InProcess(broker, PostgresStore(postgres.new_schema())) as one:
        with Subscriber(broker, topics=("maskwatch/+/+/ack",)) as subscriber:
            send(broker, events(10))
            one.step_until(lambda: acks(subscriber) == [10])
            postgres.stop()
            send(broker, events(40, first=11))
            one.step_until(lambda: one.count("store_failures") >= 2)
            assert acks(subscriber) == [10]
            postgres.start()
            one.step_until(lambda: acks(subscriber)[-1:] == [50])
        assert count(one.store) == 50


def test_one_that_dies_while_the_database_is_away_has_answered_for_nothing(
    broker: Mosquitto, postgres: Postgres
) -> None:
    url = postgres.new_schema()
    with InProcess(broker, PostgresStore(url)) as dying:
        send(broker, events(1))
        dying.step_until(lambda: dying.count("events_stored") == 1)
        postgres.stop()
        send(broker, events(40, first=2))
        dying.step_until(lambda: dying.count("store_failures") >= 2)
    postgres.start()

    with InProcess(broker, PostgresStore(url)) as after:
        after.step_until(lambda: count(after.store) == 41)


def test_a_full_disk_stops_the_answers_and_nothing_else(broker: Mosquitto, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "events.db")
    pages = store._one("PRAGMA page_count", ())[0]
    with InProcess(broker, store) as one, Subscriber(broker, topics=("maskwatch/+/+/ack",)) as subscriber:
        store._db.execute(f"PRAGMA max_page_count = {pages + 5}")
        send(broker, events(200))
        one.step_until(lambda: one.count("store_failures") >= 2)
        assert max(acks(subscriber), default=0) <= count(store) < 200
        store._db.execute("PRAGMA max_page_count = 100000")
        one.step_until(lambda: acks(subscriber)[-1:] == [200])
        assert count(store) == 200


def test_what_is_no_event_of_ours_holds_nothing_up(broker: Mosquitto, tmp_path: Path) -> None:
    with InProcess(broker, SqliteStore(tmp_path / "events.db")) as one:
        bad = [(topic(), b"nonsense"), (topic("cam2"), payload(1)), (topic(), b"x" * 100_000), (topic(), b"")]
        send(broker, [*bad, *events(3), *bad])
        one.step_until(lambda: count(one.store) == 3 and one.count("rejected") == 8)

        assert count(one.store, "rejected") == 8


def test_a_device_that_comes_online_is_told_where_it_stands(broker: Mosquitto, tmp_path: Path) -> None:
    with (
        InProcess(broker, SqliteStore(tmp_path / "events.db")) as one,
        Subscriber(broker, topics=("maskwatch/+/+/ack",)) as subscriber,
    ):
        send(broker, events(5))
        one.step_until(lambda: acks(subscriber) == [5])
        send(broker, [(topic(kind="status"), b'{"state":"online","session":2,"version":"1"}')])
        one.step_until(lambda: acks(subscriber) == [5, 5])
        send(broker, events(2))
        one.step_until(lambda: acks(subscriber) == [5, 5, 5])


def test_a_device_of_an_earlier_collector_goes_on_and_what_is_not_here_is_counted(
    broker: Mosquitto, tmp_path: Path
) -> None:
    status = b'{"state":"online","session":2,"version":"1","stream":"5eed","acknowledged":1000}'
    with (
        InProcess(broker, SqliteStore(tmp_path / "events.db")) as one,
        Subscriber(broker, topics=("maskwatch/+/+/ack",)) as subscriber,
    ):
        send(broker, [(topic(kind="status"), status), *events(5, first=1001)])
        one.step_until(lambda: acks(subscriber)[-1:] == [1005])

        assert acks(subscriber)[0] == 0
        assert one.count("lost") == 1000


def test_what_a_device_counts_as_done_and_is_still_on_its_way_is_not_lost(broker: Mosquitto, tmp_path: Path) -> None:
    status = b'{"state":"online","session":2,"version":"1","stream":"5eed","acknowledged":5}'
    with (
        InProcess(broker, SqliteStore(tmp_path / "events.db"), doubt_s=3) as one,
        Subscriber(broker, topics=("maskwatch/+/+/ack",)) as subscriber,
    ):
        send(broker, [(topic(kind="status"), status)])
        one.step_until(lambda: acks(subscriber) == [0])
        send(broker, events(5))
        one.step_until(lambda: acks(subscriber)[-1:] == [5])
        one.step_until(lambda: not one.collector._doubtful)

        assert one.count("lost") == 0


def test_when_one_node_cannot_be_reached_the_next_has_its_turn(broker: Mosquitto, tmp_path: Path) -> None:
    nobody = f"mqtt://127.0.0.1:{free_port()}"
    with Running(nobody, f"sqlite://{tmp_path}/events.db", "--broker", broker.url) as collector:
        code, said = collector.stop()

    assert code == 0
    assert "nobody listens there" in said


def test_a_broker_that_restarts_is_found_again(broker: Mosquitto, tmp_path: Path) -> None:
    with InProcess(broker, SqliteStore(tmp_path / "events.db")) as one:
        send(broker, events(5))
        one.step_until(lambda: count(one.store) == 5)
        broker.kill()
        one.step_until(lambda: one.count("connected") == 0)
        broker.start()
        one.step_until(lambda: one.count("connected") == 1)
        send(broker, events(5, first=6))
        one.step_until(lambda: count(one.store) == 10)


def test_an_event_that_the_broker_forgot_with_its_session_is_stored_before_we_connect_again(
    broker: Mosquitto, postgres: Postgres
) -> None:
    with InProcess(broker, PostgresStore(postgres.new_schema())) as one:
        send(broker, events(1))
        one.step_until(lambda: one.count("events_stored") == 1)
        postgres.stop()
        send(broker, events(9, first=2))
        one.step_until(lambda: one.count("store_failures") >= 1)
        broker.kill()
        one.step_until(lambda: one.count("connected") == 0)
        broker.start()
        for _ in range(5):  # or every new connection would bring another window of messages to keep
            one.collector.step()
            assert one.count("connected") == 0
        postgres.start()
        one.step_until(lambda: one.count("events_stored") == 10)


def test_a_second_collector_on_one_file_ends_with_74_and_one_line(broker: Mosquitto, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/events.db"
    with Running(broker, url):
        second = Running(broker, url, "--instance", "other")
        _, said = second.process.communicate(timeout=20)

    assert second.process.returncode == 74
    assert said.count("\n") == 1
    assert "another collector uses this file" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--store", "mysql://x/y", "--broker", "mqtt://localhost"], 2, "is no database"),
        (["--store", "sqlite:///tmp/x.db", "--broker", "http://localhost"], 78, "--broker"),
        (["--store", "sqlite:///tmp/x.db", "--broker", "mqtt://example.org"], 78, "not encrypted"),
        (["--store", "sqlite:///tmp/x.db", "--broker", "mqtts://localhost", "--ca", "/nowhere"], 78, "no such file"),
        (["--store", "sqlite:///tmp/x.db"], 2, "--broker"),
        (["--store", "sqlite:///tmp/x.db", "--broker", "mqtt://localhost", "--lease", "0"], 2, "--lease"),
        (["--store", "sqlite:///tmp/x.db", "--broker", "mqtt://localhost", "--metrics", "here"], 2, "--metrics"),
        (["--store", "sqlite:///proc/x/y.db", "--broker", "mqtt://localhost"], 74, "/proc/x"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_its_exit_code(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code

    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert said in line


def test_the_numbers_are_there_for_prometheus(broker: Mosquitto, tmp_path: Path) -> None:
    port = free_port()
    with Running(broker, f"sqlite://{tmp_path}/events.db", "--metrics", f"127.0.0.1:{port}"):
        send(broker, [*events(3), *events(3, first=5), (topic(), b"nonsense")])

        def scraped() -> dict[str, str]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
                lines = page.read().decode().splitlines()
            return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

        prefix = "maskwatch_collector_"
        wait_for(lambda: scraped()[f"{prefix}events_stored_total"] == "6.0")
        assert scraped()[f"{prefix}rejected_total"] == "1.0"
        assert float(scraped()[f"{prefix}commit_seconds_count"]) >= 1


def test_it_proves_who_it_is_by_a_certificate(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    extra = [f"cafile {pki.ca}", "require_certificate true", "use_identity_as_username true"]
    ours, key = pki.issue("collector")
    with Mosquitto(tmp_path / "broker", extra=extra, certificate=pki.issue("broker")) as broker:
        words = ["--ca", str(pki.ca), "--cert", str(ours), "--key", str(key)]
        with Running(broker, f"sqlite://{tmp_path}/events.db", *words) as collector:
            code, _ = collector.stop()

    assert code == 0
    assert "u'collector'" in broker.log.read_text()


def test_what_had_come_by_a_connection_that_broke_is_not_thrown_away(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "forgetful") as broker:
        ours = Broker([MqttSettings(url=broker.url)], client_id="collector", session_s=SESSION_S)
        ours.connect()
        ours.subscribe([EVENTS])
        send(broker, events(3))
        wait_for(lambda: ours.keeps(0.01) and len(ours._received) == 3)
        broker.kill()
        wait_for(lambda: not ours.keeps(0.01))

        with pytest.raises(Unreached):
            ours.wait(0)
        assert [one.payload for one in ours.drop()] == [payload(1), payload(2), payload(3)]


def test_an_answer_from_an_earlier_connection_acknowledges_nothing(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "forgetful") as broker:
        ours = Broker([MqttSettings(url=broker.url)], client_id="collector", session_s=SESSION_S)
        ours.connect()
        ours.subscribe([EVENTS])
        send(broker, events(1))
        wait_for(lambda: ours.keeps(0.01) and bool(ours._received))
        (old,) = ours.wait(0)
        broker.kill()  # it forgets the session, and numbers its messages from 1 again
        broker.start()
        for _ in range(2):
            ours.connect()
            ours.subscribe([EVENTS])
            if not ours.had_session:
                send(broker, events(1, first=2))
            wait_for(lambda: ours.keeps(0.01) and bool(ours._received))
            (new,) = ours.wait(0)
            assert new.receipt is not None
            assert old.receipt is not None
            assert (new.payload, new.receipt.token) == (payload(2), old.receipt.token)
            ours.acknowledge([old.receipt])
        ours.drop()
