"""What several modules share because it takes long to make: the shipped cluster."""

from collections.abc import Iterator

import pytest

from agent.errors import UnavailableError
from tools.fleet.cluster import Cluster


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes, some of which a test may leave dead."""
    try:
        made = Cluster(tmp_path_factory.mktemp("cluster"), devices=["cam1", "cam2"])
    except UnavailableError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture
def cluster(nodes: Cluster) -> Cluster:
    """Three nodes that are all up and know of each other."""
    nodes.heal()
    return nodes
