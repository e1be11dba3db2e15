"""Several collectors on one PostgreSQL database: they share the load, and what a dead one held is not lost."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.collector_parts import InProcess, Running, payload, send, topic
from tests.integration.shipped_mosquitto import Client, ShippedMosquitto, TestAuthority
from tests.postgres import Postgres
from tests.real import Mosquitto, Subscriber, wait_for
from tools.fleet.collector.collector import Batch, Collector
from tools.fleet.collector.postgres import PostgresStore
from tools.fleet.collector.store import Committed

DEVICES = [f"cam{number}" for number in range(12)]
EACH = 40


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker", extra=["max_inflight_messages 1000"]) as running:
        yield running


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_schema()


def start(into: ExitStack, broker: Mosquitto, url: str, name: str, **how: Any) -> InProcess:
    return into.enter_context(InProcess(broker, PostgresStore(url), name=name, **how))


def together(instances: list[InProcess], condition: Callable[[], bool], steps: int = 300) -> None:
    """Step all instances in turns until a condition holds."""
    for _ in range(steps):
        if condition():
            return
        for one in instances:
            one.collector.step()
    raise AssertionError("it did not come to that")


def events(first: int, count: int = EACH) -> list[tuple[str, bytes]]:
    return [(topic(name), payload(number, device=name)) for number in range(first, first + count) for name in DEVICES]


def stored(postgres: Postgres, url: str) -> int:
    return int(postgres.execute("SELECT count(*) FROM events", url=url)[0][0])


def names(postgres: Postgres, url: str) -> list[str]:
    return [name for (name,) in postgres.execute("SELECT name FROM instances ORDER BY name", url=url)]


def division_settled(instances: list[InProcess]) -> bool:
    parts = [
        {name for name in DEVICES if one.collector.fleet is not None and one.collector.fleet.division.is_ours(name)}
        for one in instances
    ]
    return sorted(name for part in parts for name in part) == sorted(DEVICES)


def test_two_instances_share_what_a_broker_divides_between_them(
    broker: Mosquitto, postgres: Postgres, url: str
) -> None:
    with ExitStack() as stack:
        both = [start(stack, broker, url, name) for name in ("a", "b")]
        subscriber = stack.enter_context(Subscriber(broker, topics=("maskwatch/+/+/ack",)))
        send(broker, events(1))
        together(both, lambda: stored(postgres, url) == len(DEVICES) * EACH)

        shares = [one.count("events_stored") for one in both]
        assert sum(shares) == len(DEVICES) * EACH
        assert min(shares) > len(DEVICES) * EACH / 4

        def all_told() -> bool:
            return all(
                max((json.loads(told)["hwm"] for told in subscriber.payloads(topic(name, "ack"))), default=0) == EACH
                for name in DEVICES
            )

        together(both, all_told)


def test_what_lies_in_the_session_of_a_dead_instance_is_inherited(
    broker: Mosquitto, postgres: Postgres, url: str
) -> None:
    with ExitStack() as stack:
        alive = start(stack, broker, url, "alive")
        dead = start(stack, broker, url, "dead")
        together([alive, dead], lambda: len(names(postgres, url)) == 2)
        dead.collector.broker.drop()
        send(broker, events(1))

        together([alive], lambda: stored(postgres, url) == len(DEVICES) * EACH)
        together([alive], lambda: names(postgres, url) == ["alive"])
        send(broker, events(EACH + 1))
        together([alive], lambda: stored(postgres, url) == 2 * len(DEVICES) * EACH)

        assert dead.count("events_stored") == 0


class DiesAfterCommit(Collector):
    def settle(self, batch: Batch) -> Committed:
        committed = self.store.commit(batch.messages, now_ms=0)
        if committed.stored:
            raise KeyboardInterrupt
        return committed


def test_one_that_dies_between_commit_and_answer_leaves_duplicates_and_no_hole(
    broker: Mosquitto, postgres: Postgres, url: str
) -> None:
    with ExitStack() as stack:
        dying = start(stack, broker, url, "dying", make=DiesAfterCommit)
        alive = start(stack, broker, url, "alive")
        together([alive, dying], lambda: len(names(postgres, url)) == 2)
        send(broker, events(1))
        with pytest.raises(KeyboardInterrupt):
            together([dying], lambda: False)
        dying.collector.broker.drop()

        together([alive], lambda: stored(postgres, url) == len(DEVICES) * EACH and alive.count("duplicates") > 0)


def test_on_the_shipped_broker_who_has_the_certificates_of_all_inherits(
    postgres: Postgres, url: str, tmp_path: Path
) -> None:
    authority = TestAuthority(tmp_path / "ca")
    for name in ("collector", "collector-2"):
        certificate, key = authority.issue(name, "collector")
        (tmp_path / f"{name}.pem").write_bytes(certificate.read_bytes())
        (tmp_path / f"{name}.key").write_bytes(key.read_bytes())
    ours = ["--cert", str(tmp_path / "{instance}.pem"), "--key", str(tmp_path / "{instance}.key")]
    words = ["--ca", str(authority.ca), *ours, "--lease", "2"]
    with ShippedMosquitto(tmp_path / "broker", authority) as broker:
        pair = authority.issue("cam1")
        with (
            Running(broker, url, *words) as alive,
            Running(broker, url, *words, "--instance", "collector-2") as dead,
            Client(broker, authority.ca, pair, topics=(topic("cam1", "ack"),)) as device,
        ):
            wait_for(lambda: len(names(postgres, url)) == 2)
            dead.kill()
            for sequence in range(1, EACH + 1):
                device.publish(topic("cam1"), payload(sequence))
            wait_for(lambda: stored(postgres, url) == EACH)
            wait_for(lambda: names(postgres, url) == ["collector"])
            code, said = alive.stop()

    assert code == 0
    assert "fleet.inherited name=collector-2" in said


def test_a_dead_instance_that_comes_back_takes_up_its_share(broker: Mosquitto, postgres: Postgres, url: str) -> None:
    with ExitStack() as stack:
        alive = start(stack, broker, url, "alive")
        with InProcess(broker, PostgresStore(url), name="other"):
            pass
        together([alive], lambda: True)
        other = start(stack, broker, url, "other")
        send(broker, events(1))
        together([alive, other], lambda: stored(postgres, url) == len(DEVICES) * EACH)

        assert other.count("events_stored") > 0


def test_where_the_broker_does_not_share_each_stores_its_own_devices(
    broker: Mosquitto, postgres: Postgres, url: str
) -> None:
    with ExitStack() as stack:
        both = [start(stack, broker, url, name, protocol="3.1.1") for name in ("a", "b")]
        together(both, lambda: division_settled(both))
        send(broker, events(1))
        together(both, lambda: all(one.count("events_stored") + one.count("foreign") == 480 for one in both))

        assert stored(postgres, url) == 480
        assert sum(one.count("duplicates") for one in both) == 0
        assert all(one.count("events_stored") > 0 for one in both)


def test_where_the_broker_does_not_share_a_dead_ones_devices_go_to_the_others(
    broker: Mosquitto, postgres: Postgres, url: str
) -> None:
    with ExitStack() as stack:
        alive, dead = both = [start(stack, broker, url, name, protocol="3.1.1") for name in ("alive", "dead")]
        together(both, lambda: division_settled(both))
        dead.collector.broker.drop()
        send(broker, events(1))

        together([alive], lambda: stored(postgres, url) == len(DEVICES) * EACH)
        together([alive], lambda: names(postgres, url) == ["alive"])
        send(broker, events(EACH + 1))
        together([alive], lambda: stored(postgres, url) == 2 * len(DEVICES) * EACH)

        session = stack.enter_context(InProcess(broker, PostgresStore(url), name="dead", protocol="3.1.1"))
        for _ in range(3):
            session.collector.step()
        assert session.count("foreign") + session.count("duplicates") == 0


def test_events_keep_coming_through_while_instances_come_and_go(
    broker: Mosquitto, postgres: Postgres, url: str
) -> None:
    with ExitStack() as stack:
        first = start(stack, broker, url, "a", protocol="3.1.1")
        for number in range(6):
            with InProcess(broker, PostgresStore(url), name=f"b{number % 2}", protocol="3.1.1") as second:
                send(broker, events(number * 10 + 1, 10))
                together([first, second], lambda: second.collector.broker.is_up, steps=2 + number)
        together([first], lambda: stored(postgres, url) == 6 * 10 * len(DEVICES))


def test_a_database_that_was_away_makes_nobody_dead(broker: Mosquitto, postgres: Postgres, url: str) -> None:
    with ExitStack() as stack:
        both = [start(stack, broker, url, name) for name in ("a", "b")]
        together(both, lambda: len(names(postgres, url)) == 2)
        postgres.execute("UPDATE instances SET seen = seen - interval '1 hour'", url=url)
        for one in both:
            assert one.collector.fleet is not None
            one.collector.fleet._attended_ns = None  # as after so long a time
        send(broker, events(1))
        together(both, lambda: stored(postgres, url) == len(DEVICES) * EACH)

        assert all(one.collector.broker.is_up for one in both)
        assert "already connected" not in broker.log.read_text()


def test_a_broker_that_makes_the_client_id_of_the_user_ends_inheriting_and_loses_nothing(
    postgres: Postgres, url: str, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("secret\n")
    rules = ["use_username_as_clientid true"]
    how = {"password_file": str(tmp_path / "password")}
    with (
        Mosquitto(tmp_path / "tied", extra=rules, users=dict.fromkeys(["a", "b", "sender"], "secret")) as broker,
        ExitStack() as stack,
    ):
        both = [start(stack, broker, url, name, **how) for name in "ab"]
        together(both, lambda: len(names(postgres, url)) == 2)
        dead = both.pop()
        dead.collector.broker.drop()
        sent = 0
        fleet = both[0].collector.fleet
        assert fleet is not None
        while fleet._may_inherit:
            send(broker, events(sent + 1, 5), password="secret")
            sent += 5
            both[0].collector.step()
        both.append(start(stack, broker, url, "b", **how))

        together(both, lambda: stored(postgres, url) == len(DEVICES) * sent)
