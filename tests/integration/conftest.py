"""The node that the sandbox gallery attacks."""

from collections.abc import Iterator

import pytest

from tests.integration.gallery import Node


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(tmp_path_factory.mktemp("aot"))


@pytest.fixture
def node(one_node: Node) -> Iterator[Node]:
    """A runtime with a neighbour loaded, which must answer after each attack as before."""
    one_node.neighbour_answers()
    yield one_node
    one_node.neighbour_answers()
