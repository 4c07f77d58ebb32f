"""What a placement asks of the Node that it was decided for, as read right before."""

from dataclasses import replace

import pytest
from tests.unit.decide.builders import node

from respawn.runtime.server_executor import _usable
from respawn.runtime.settling import Outdated


def test_a_healthy_node_may_be_placed_on() -> None:
    assert _usable(node()) == node()


def test_a_node_that_is_being_deleted_gets_no_server() -> None:
    with pytest.raises(Outdated, match="being deleted"):
        _usable(replace(node(), deleting=True))


def test_an_unregistered_node_gets_no_server() -> None:
    with pytest.raises(Outdated, match="no registration"):
        _usable(replace(node(), host=replace(node().host, registration=None)))
