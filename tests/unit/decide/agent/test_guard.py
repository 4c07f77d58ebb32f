from dataclasses import replace

import pytest
from tests.unit.decide.agent.builders import ME, UID
from tests.unit.decide.builders import fenced, node, placed, revoked, server

from respawn.decide.agent import guard
from respawn.model.host import Ask
from respawn.model.node import Fence, FencePhase, HostStatus, NodeSpec, Registration
from respawn.model.placement import Phase, Placement
from respawn.model.storage import EpochMark

ASK = Ask(UID, 1, "boot-1", "customer-a", "web-1")


@pytest.mark.parametrize(
    ("ask", "allowed"),
    [
        (ASK, True),
        (replace(ASK, operation="migrate"), False),
        (replace(ASK, operation="restore"), False),
        (replace(ASK, boot_id="boot-0"), False),
    ],
)
def test_what_needs_no_read(ask: Ask, allowed: bool) -> None:
    assert guard.check_ask(ask, ME).allowed is allowed


def ended(boot: str):
    """A person has said that this boot is over."""
    return node(spec=replace(node().spec, ended_boots=(boot,)))


def registered(boot: str, *addresses: str):
    host = HostStatus(registration=Registration("machine-host-1", boot, addresses))
    return node(host=host, spec=NodeSpec(storage=()))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        (node(), True),
        (None, False),
        (node(fence=Fence(FencePhase.OK, 7)), True),
        (node(fence=fenced(FencePhase.FENCING)), False),
        (node(fence=fenced(FencePhase.FENCED)), False),
        (node(fence=fenced(FencePhase.LIFTING)), False),
        (node(host=HostStatus()), False),
        (registered("boot-0", "198.51.100.11"), False),
        (registered("boot-1", "198.51.100.11"), True),
        (registered("boot-1", "198.51.100.77"), False),
        (ended("boot-1"), False),
        (ended("boot-0"), True),
    ],
)
def test_the_first_read(host, allowed: bool) -> None:
    said = guard.check_node(host, ME)
    assert said.allowed is allowed and said.reason


@pytest.mark.parametrize(
    ("mark", "allowed"),
    [(None, True), (0, True), (1, True), (2, False)],
)
def test_what_the_root_image_says(mark: int | None, allowed: bool) -> None:
    said = guard.check_mark(None if mark is None else EpochMark(mark, 7), ASK)
    assert said.allowed is allowed and said.reason


def test_an_address_that_no_fence_would_cover_refuses_the_start() -> None:
    moved = replace(ME, storage=("198.51.100.11", "198.51.100.12"))
    assert not guard.check_node(node(), moved).allowed
    assert not guard.check_node(node(), replace(ME, storage=())).allowed


@pytest.mark.parametrize(
    ("it", "allowed"),
    [
        (server(placement=placed()), True),
        (None, False),
        (replace(server(placement=placed()), uid="uid-reborn"), False),
        (server(placement=placed(2)), False),
        (server(placement=placed(0)), False),
        (server(placement=placed(node="host-2")), False),
        (server(placement=placed(boot="boot-2")), False),
        (server(placement=revoked()), False),
        (server(placement=Placement(Phase.FREE, 1)), False),
        (server(placement=Placement(Phase.DELETED, 1)), False),
    ],
)
def test_the_second_read(it, allowed: bool) -> None:
    said = guard.check_server(it, ASK, ME)
    assert said.allowed is allowed and said.reason
