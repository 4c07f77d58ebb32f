"""What the agent makes of what it hears of ends, and whose it takes a domain for."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.decide.agent.builders import ME, UID
from tests.unit.decide.builders import node, revoked, server

from respawn.agent.hands import Hands
from respawn.agent.locks import ServerLocks
from respawn.agent.state import AgentState
from respawn.model.conditions import Reason
from respawn.model.host import Exit, Incarnation, Look
from respawn.model.node import Node
from respawn.model.server import Server

VANISHED = Exit(UID, 2, Reason.VANISHED)
FENCED = Exit(UID, 2, Reason.HOST_FENCED)
DIED = Exit(UID, 2, Reason.QEMU_DIED)


@pytest.mark.parametrize(
    ("words", "believed"),
    [
        ((DIED,), DIED),
        ((VANISHED, DIED), DIED),
        ((FENCED, DIED), FENCED),  # libvirt takes our own kill for a death
        ((DIED, VANISHED), DIED),
        ((Exit(UID, 1, Reason.DESTROYED), DIED), DIED),
        ((DIED, Exit(UID, 1, Reason.DESTROYED)), DIED),
    ],
)
def test_the_first_real_word_about_the_newest_epoch_stands(
    words: tuple[Exit, ...], believed: Exit
) -> None:
    nothing: Any = None
    state = AgentState(ME, nothing)
    hands = Hands(
        state=state, cluster=nothing, hypervisor=nothing, host=nothing, epochs=nothing,
        locks=nothing, clock=nothing, pools=dict,
    )  # fmt: skip
    for word in words:
        hands.heard(word)
    assert state.exits == {UID: believed}


class Outside:
    """API, libvirt and host at once: a QEMU whose mark nobody can read, libvirtd being down."""

    def __init__(self, known: Server | None) -> None:
        self.domain = Incarnation(UID, 2, ME.boot_id, pid=7)
        self.known, self.asked, self.killed = known, list[tuple[str, str]](), list[Incarnation]()

    async def look(self, uid: str) -> Look:
        return Look(uid, self.domain, processes=(7,))

    async def kill(self, incarnation: Incarnation) -> None:
        self.killed.append(incarnation)

    async def get_node(self, _: str) -> Node:
        return node()

    async def get_server(self, namespace: str, name: str) -> Server:
        self.asked.append((namespace, name))
        assert self.known is not None and name == self.known.name
        return self.known


def hands_on(outside: Outside) -> Hands:
    journal: Any = SimpleNamespace(admitted=frozenset)
    state = AgentState(ME, journal)
    if outside.known is not None:
        state.put_server(outside.known)
    anything: Any = outside
    return Hands(
        state=state, cluster=anything, hypervisor=anything, host=anything, epochs=anything,
        locks=ServerLocks(), clock=anything, pools=dict,
    )  # fmt: skip


def test_a_qemu_without_a_readable_mark_is_the_server_that_is_known_by_its_uid() -> None:
    gone = server(placement=revoked(2))
    outside = Outside(gone)
    assert asyncio.run(hands_on(outside).kill(UID))
    assert outside.killed == [outside.domain]
    assert outside.asked == [(gone.namespace, gone.name)]


def test_of_whom_nobody_knows_the_api_is_not_asked() -> None:
    """A name that is empty would be the list of all servers."""
    outside = Outside(None)
    hands = hands_on(outside)
    asyncio.run(hands.owners.identify(Look(UID, outside.domain)))
    assert not asyncio.run(hands.kill(UID))
    assert not outside.asked and not outside.killed
