"""The shipped cluster under load: what was acknowledged arrives, whichever node dies."""

import pytest

from tests.cluster import Client, Load, Refused, collect, events, open_session
from tests.real import wait_for
from tools.fleet.cluster import SIZE, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("killed", "place"), [(0, "the session was opened"), (1, "the publisher hangs on")])
def test_what_was_acknowledged_arrives_though_a_node_dies_under_load(cluster: Cluster, killed: int, place: str) -> None:
    open_session(cluster, 0)
    with Load(cluster, [1, 2]) as load:
        load.wait_for(500)
        cluster.kill(killed)
        load.wait_for(500)
    assert load.connections == (2 if killed == 1 else 1), place
    arrived = collect(cluster, 2, load.acknowledged)
    assert load.acknowledged <= set(arrived)


def test_what_was_acknowledged_arrives_though_the_collectors_own_node_dies(cluster: Cluster) -> None:
    open_session(cluster, 0)
    with Client(cluster, 0, "collector", keep=True) as collector:
        with Load(cluster, [1, 2]) as load:
            load.wait_for(500)
            cluster.kill(0)
            assert collector.wait_until_lost()
            load.wait_for(500)
        before = {int(payload) for payload in collector.payloads()}
    assert before
    after = collect(cluster, 2, load.acknowledged - before)
    assert load.acknowledged <= before | set(after)


def test_events_come_in_order_with_all_nodes_up(cluster: Cluster) -> None:
    open_session(cluster, 0)
    with Load(cluster, [1]) as load:
        load.wait_for(500)
    arrived = collect(cluster, 2, load.acknowledged)
    assert arrived == sorted(arrived)
    assert len(arrived) == len(set(arrived))


def test_nothing_is_acknowledged_while_two_nodes_are_dead_and_all_goes_on_when_they_are_back(cluster: Cluster) -> None:
    open_session(cluster, 2)
    for node in (0, 1):
        cluster.kill(node)
    answers = []
    for number in range(3):
        try:
            with Client(cluster, 2, "cam1") as client:  # it may well be let in
                answers.append(client.send(events("cam1"), b"%d" % number, within_s=5))
        except Refused:
            answers.append(None)
    assert answers == [None, None, None]
    cluster.start_nodes([0, 1])
    wait_for(lambda: sends(cluster, 2, 100), 60, "an acknowledgement with all nodes back")
    collect(cluster, 0, {100})


def test_two_nodes_go_on_after_the_power_failed_for_all_three(cluster: Cluster) -> None:
    open_session(cluster, 0)
    with Load(cluster, [0, 1]) as load:
        load.wait_for(500)
        for node in range(SIZE):
            cluster.kill(node)
        cluster.start_nodes([0, 1])
        load.wait_for(200)
    assert load.acknowledged <= set(collect(cluster, 1, load.acknowledged))


def test_sessions_and_what_they_hold_outlast_an_orderly_stop_of_all_nodes(cluster: Cluster) -> None:
    open_session(cluster, 0)
    with Load(cluster, [0]) as load:
        load.wait_for(300)
    for node in range(SIZE):
        cluster.stop(node)
    cluster.heal()
    assert load.acknowledged <= set(collect(cluster, 2, load.acknowledged))


def test_a_node_whose_disk_is_lost_is_replaced_as_the_readme_says(cluster: Cluster) -> None:
    open_session(cluster, 0)
    cluster.kill(2)
    cluster.lose_disk(2)
    with Load(cluster, [0]) as load:
        load.wait_for(200)
        cluster.run("rabbitmqctl", "-q", "forget_cluster_node", "rabbit2@localhost")
        cluster.heal()
        cluster.run("rabbitmq-queues", "-q", "grow", "rabbit2@localhost", "all")
        load.wait_for(200)
    wait_for(lambda: cluster.has_on_disk(2, "mqtt-subscription-collectorqos1"))
    cluster.kill(0)
    assert load.acknowledged <= set(collect(cluster, 2, load.acknowledged))


def test_a_collector_that_dies_over_and_over_before_it_commits_loses_nothing(cluster: Cluster) -> None:
    """RabbitMQ 4 drops a message of a quorum queue after 20 deliveries in vain, unless its policy says otherwise."""
    open_session(cluster, 0)
    with Client(cluster, 1, "cam1") as device:
        for number in range(20):
            assert device.send(events("cam1"), b"%d" % number) == 0
    for _ in range(25):
        with Client(cluster, 0, "collector", keep=True, commits=False) as collector:
            assert collector.got(b"19")
            collector.break_off()
    assert set(collect(cluster, 0, set(range(20)))) == set(range(20))


def test_an_event_that_nobody_waits_for_is_answered_with_a_word_that_says_so(cluster: Cluster) -> None:
    with Client(cluster, 0, "collector"), Client(cluster, 1, "cam1") as device:  # the collector's session is gone
        wait_for(lambda: device.send(events("cam1"), b"1") == 16)


def sends(cluster: Cluster, node: int, number: int) -> bool:
    """Tell whether a node takes an event."""
    try:
        with Client(cluster, node, "cam1") as client:
            return client.send(events("cam1"), b"%d" % number, within_s=5) == 0
    except Refused:
        return False
