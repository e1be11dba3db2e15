"""The collector on the shipped cluster, which shares no subscription: devices are divided, instances and nodes die."""

import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.cluster import Client
from tests.collector_parts import Running, payload, topic
from tests.postgres import Postgres
from tests.real import free_port, wait_for
from tools.fleet.cluster import SIZE, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
DEVICES = [f"cam{number}" for number in range(1, 7)]
COLLECTORS = ("collector", "collector-2")
EACH = 50


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def test_two_collectors_on_a_cluster_lose_nothing_when_one_of_them_and_then_a_node_is_killed(
    cluster: Cluster, postgres: Postgres
) -> None:
    url = postgres.new_schema()
    cluster.enrol(*COLLECTORS, *DEVICES)
    pairs = [[str(path) for path in cluster.certificate(name)] for name in COLLECTORS]
    certificate, key = (path.replace("collector", "{instance}") for path in pairs[0])
    assert certificate.replace("{instance}", "collector-2") == pairs[1][0]
    words = ["--ca", str(cluster.ca), "--cert", certificate, "--key", key, "--lease", "4"]
    words += [word for node in range(SIZE) for word in ("--broker", cluster.url(node))]
    port = free_port()
    sent = 0

    def send_more() -> None:
        nonlocal sent
        for device in DEVICES:
            with Client(cluster, 2, device) as board:
                numbers = range(sent + 1, sent + EACH + 1)
                mids = [board.publish(topic(device), payload(number, device=device)) for number in numbers]
                assert board.wait_for_answers(mids)
        sent += EACH
        wanted = [(sent * len(DEVICES),)]
        wait_for(lambda: postgres.execute("SELECT count(*) FROM events", url=url) == wanted, 60, "all events")

    def left_to_the_other() -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            lines = page.read().decode().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("maskwatch_collector_foreign_total")))

    with ExitStack() as stack:
        first = stack.enter_context(Running(cluster.url(0), url, *words, "--metrics", f"127.0.0.1:{port}"))
        second = stack.enter_context(Running(cluster.url(1), url, *words, "--instance", "collector-2"))
        while not left_to_the_other():
            send_more()
        second.kill()
        send_more()
        alone = [("collector",)]
        wait_for(lambda: postgres.execute("SELECT name FROM instances", url=url) == alone, 60, "the inheritance")
        cluster.kill(0)
        send_more()
        code, said = first.stop()

    assert code == 0
    assert "fleet.inherited name=collector-2" in said
