"""The answer to libvirt's hook: two fresh reads, Node first, server last."""

import asyncio

from respawn.agent.locks import ServerLocks
from respawn.decide.agent import guard
from respawn.model.host import Ask, GuardAnswer
from respawn.model.node import Node
from respawn.model.server import Server
from respawn.ports.cluster import ServerReads
from respawn.ports.errors import NotFound, PortError
from respawn.ports.hypervisor import Host, Journal

DEADLINE = 2.5
"""Seconds; the hook itself gives up at 3. No answer is no."""


class Guard:
    """Asked by the hook through the agent's socket, for every start on this host."""

    def __init__(
        self, *, cluster: ServerReads, host: Host, journal: Journal, locks: ServerLocks
    ) -> None:
        self._cluster, self._host, self._journal, self._locks = cluster, host, journal, locks
        self._open: set[asyncio.Event] = set()
        """One for each question that has no answer yet."""

    async def answer(self, ask: Ask) -> GuardAnswer:
        """Yes or no, within DEADLINE; never raises a port error."""
        answered = asyncio.Event()
        self._open.add(answered)
        try:
            return await self._answer(ask)
        finally:
            self._open.discard(answered)
            answered.set()

    async def answered(self) -> None:
        """Until every question asked before this call is answered: DEADLINE at the most.

        What was said yes to is in the journal by then.
        """
        for question in tuple(self._open):
            await question.wait()

    async def _answer(self, ask: Ask) -> GuardAnswer:
        lock = self._locks.of(ask.uid)
        if lock.locked():
            # safety: R6. A kill is under way, or another question; the hook never waits for it.
            return GuardAnswer(False, "a kill of this server is under way")
        try:
            async with asyncio.timeout(DEADLINE), lock:
                return await self._judge(ask)
        except (PortError, TimeoutError) as lost:
            # safety: what cannot be read admits nothing.
            return GuardAnswer(False, f"the API could not be asked: {lost or 'too slow'}")

    async def _judge(self, ask: Ask) -> GuardAnswer:
        me = await self._host.identity()
        said = guard.check_ask(ask, me)
        if not said.allowed:
            return said
        # safety: R2, these two reads begin after libvirt asked. The Node comes first: a fence that
        # was begun, used and lifted between the two shows in the server, which is read last.
        said = guard.check_node(await self._read_node(me.node), me)
        if not said.allowed:
            return said
        said = guard.check_server(await self._read_server(ask), ask, me)
        if not said.allowed:
            return said
        # safety: S3, one start per epoch: what was admitted before and died needs a new one.
        if not self._journal.admit(ask.uid, ask.epoch):
            return GuardAnswer(False, f"epoch {ask.epoch} was admitted before in this boot")
        return said

    async def _read_node(self, name: str) -> Node | None:
        try:
            return await self._cluster.get_node(name)
        except NotFound:
            return None

    async def _read_server(self, ask: Ask) -> Server | None:
        try:
            return await self._cluster.get_server(ask.namespace, ask.name)
        except NotFound:
            return None
