"""A guest that was paused runs on only if a fresh read says that it is still this host's."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.decide.agent.builders import ME, UID
from tests.unit.decide.builders import fenced, node, now, placed, revoked, server

from respawn.agent.owners import Owners
from respawn.agent.pausing import Pausing
from respawn.agent.state import AgentState
from respawn.model.host import DomainState, Incarnation, Look, Resume
from respawn.model.node import Node
from respawn.model.server import Server


class Outside:
    """API and libvirt, with a server that the agent paused."""

    def __init__(self, node: Node, server: Server, *, by_us: bool = True, epoch: int = 1) -> None:
        self.node, self.server, self.resumed = node, server, list[Incarnation]()
        it = Incarnation(UID, epoch, ME.boot_id, server.namespace, server.name)
        self.seen = Look(UID, it, DomainState.PAUSED, paused_by_us=by_us)

    async def look(self, _: str) -> Look:
        return self.seen

    async def resume(self, incarnation: Incarnation) -> None:
        self.resumed.append(incarnation)

    async def get_node(self, _: str) -> Node:
        return self.node

    async def get_server(self, _: str, __: str) -> Server:
        return self.server


def resumed(outside: Outside, *, api_answers: bool = True, ceph_answers: bool = True) -> bool:
    journal: Any = SimpleNamespace(admitted=frozenset)
    state, mono = AgentState(ME, journal), now().mono
    # The picture is the former one: placed here, not fenced.
    state.put_node(node())
    state.touch(
        renewed_at=mono, beaten_at=mono, begun_at=mono - 60,
        ceph_since=mono - 2 if ceph_answers else None,
        blocklist=frozenset(), blocklist_at=mono - 1, api_answers=api_answers,
    )  # fmt: skip
    ports: Any = outside
    clock: Any = SimpleNamespace(now=now)
    pausing = Pausing(
        state=state, cluster=ports, hypervisor=ports, owners=Owners(state, ports), clock=clock
    )
    asyncio.run(pausing.resume(Resume(UID, 1, "contact is back")))
    return bool(outside.resumed)


HERE = server(placement=placed())


def test_what_is_still_placed_here_runs_on() -> None:
    assert resumed(Outside(node(), HERE))


@pytest.mark.parametrize(
    "outside",
    [
        Outside(node(), server(placement=revoked())),
        Outside(node(), server(placement=placed(2))),
        Outside(node(fence=fenced()), HERE),
        Outside(node(), HERE, by_us=False),
        Outside(node(), HERE, epoch=2),
    ],
    ids=["revoked", "placed anew", "host fenced", "paused by a person", "another epoch"],
)
def test_what_is_not_stays_paused(outside: Outside) -> None:
    assert not resumed(outside)


def test_without_the_api_the_word_of_ceph_decides() -> None:
    """Such a host is replaced through the blocklist alone, and that does not name it."""
    assert resumed(Outside(node(), server(placement=revoked())), api_answers=False)


def test_without_a_word_of_ceph_nothing_runs_on() -> None:
    assert not resumed(Outside(node(), HERE), ceph_answers=False)
