"""What readers of the shipped cluster get, and what they do not: deploy/rabbitmq/README.md says how to live with it.

A test here that asserts a lack is there to be rewritten, with that page, by who upgrades to a RabbitMQ without it.
"""

import pytest

from tests.cluster import Client
from tools.fleet.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.mark.parametrize("node", range(3))
def test_a_reader_who_is_there_hears_a_status_from_any_node(cluster: Cluster, node: int) -> None:
    with Client(cluster, node, "operator") as reader, Client(cluster, 0, "cam1") as device:
        assert reader.subscribe("maskwatch/#")
        device.deliver(status("cam1"), b"here I am", retain=True)
        assert reader.got(b"here I am")


def test_a_reader_who_was_away_in_a_session_hears_a_status_after_its_node_died(cluster: Cluster) -> None:
    with Client(cluster, 1, "operator"):  # ends the session of the test before
        pass
    with Client(cluster, 1, "operator", keep=True) as reader:
        assert reader.subscribe("maskwatch/+/+/status")
    with Client(cluster, 0, "cam1") as device:
        device.deliver(status("cam1"), b"while you were away", retain=True)
    cluster.kill(0)
    with Client(cluster, 2, "operator", keep=True) as reader:
        assert reader.session_present
        assert reader.got(b"while you were away")


@pytest.mark.parametrize("node", range(3))
def test_a_reader_who_comes_late_gets_no_retained_status_by_a_wildcard(cluster: Cluster, node: int) -> None:
    with Client(cluster, 0, "cam1") as device:
        assert device.send(status("cam1"), b"retained", retain=True) is not None
    with Client(cluster, node, "operator") as reader, Client(cluster, 0, "cam2") as other:
        assert reader.subscribe("maskwatch/#")
        other.deliver(status("cam2"), b"later", retain=True)
        assert reader.got(b"later")
        assert reader.payloads(status("cam1")) == []


@pytest.mark.parametrize(("node", "expected"), [(0, [b"retained"]), (1, []), (2, [])])
def test_who_names_the_topic_gets_the_retained_status_on_the_node_that_took_it(
    cluster: Cluster, node: int, expected: list[bytes]
) -> None:
    with Client(cluster, 0, "cam1") as device:
        assert device.send(status("cam1"), b"retained", retain=True) is not None
    with Client(cluster, node, "operator") as reader, Client(cluster, 0, "cam2") as other:
        assert reader.subscribe(status("cam1"))
        assert reader.subscribe(status("cam2"))
        other.deliver(status("cam2"), b"later", retain=True)
        assert reader.got(b"later")
        assert reader.payloads(status("cam1")) == expected


def test_the_will_of_a_device_whose_connection_breaks_reaches_readers_on_other_nodes(cluster: Cluster) -> None:
    with Client(cluster, 2, "operator") as reader, Client(cluster, 0, "cam1", will=(status("cam1"), b"gone")) as device:
        assert reader.subscribe("maskwatch/#")
        device.deliver(status("cam1"), b"here")
        device.break_off()
        assert reader.got(b"gone")


def test_the_will_of_a_device_dies_with_the_node_that_it_hangs_on(cluster: Cluster) -> None:
    with Client(cluster, 2, "operator") as reader, Client(cluster, 0, "cam1", will=(status("cam1"), b"gone")) as device:
        assert reader.subscribe("maskwatch/#")
        device.deliver(status("cam1"), b"here")
        cluster.kill(0)
        assert device.wait_until_lost()
        cluster.heal()
        with Client(cluster, 0, "cam2") as other:
            other.deliver(status("cam2"), b"later")
        assert reader.got(b"later")
        assert b"gone" not in reader.payloads()


def status(device: str) -> str:
    """Give a topic that no other module's tests leave anything on: the nodes remember what is retained."""
    return f"maskwatch/readers/{device}/status"
