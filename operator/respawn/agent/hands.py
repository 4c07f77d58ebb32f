"""Carries out the agent's steps on the local libvirt. Each reads the API afresh first."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress

from respawn.agent.locks import ServerLocks
from respawn.agent.owners import Owners
from respawn.agent.pausing import Pausing
from respawn.agent.starting import Starting
from respawn.agent.state import AgentState
from respawn.decide.agent import carry_out, pause
from respawn.model.conditions import Reason
from respawn.model.host import (
    AgentStep,
    ConfirmEnd,
    Create,
    Exit,
    Incarnation,
    Kill,
    Look,
    Resume,
    ShutDown,
    Suspend,
)
from respawn.model.node import FencePhase, Node
from respawn.model.placement import Phase
from respawn.model.server import Server
from respawn.model.storage import Pool
from respawn.ports.clock import Clock
from respawn.ports.cluster import ServerReads
from respawn.ports.errors import NotFound
from respawn.ports.hypervisor import Host, Hypervisor
from respawn.ports.images import Epochs

WORD = 1.0
"""Seconds after a domain is gone in which libvirt may still tell how it ended: its event comes by
another connection than the look that misses the domain."""


class Hands:
    """One method per step; every one raises the port errors."""

    def __init__(
        self, *, state: AgentState, cluster: ServerReads, hypervisor: Hypervisor, host: Host,
        epochs: Epochs, locks: ServerLocks, clock: Clock, pools: Callable[[], Mapping[str, Pool]],
    ) -> None:  # fmt: skip
        self._state, self._cluster, self._hypervisor = state, cluster, hypervisor
        self._host, self._locks, self._clock = host, locks, clock
        self.owners = Owners(state, cluster)
        self._starting = Starting(
            state=state, cluster=cluster, hypervisor=hypervisor, epochs=epochs, pools=pools
        )
        self._pausing = Pausing(
            state=state, cluster=cluster, hypervisor=hypervisor, owners=self.owners, clock=clock
        )
        self._words: defaultdict[tuple[str, int], asyncio.Event] = defaultdict(asyncio.Event)

    async def do(self, step: AgentStep) -> None:
        """Carry out `step`, and look at its server again."""
        match step:
            case Create():
                await self._starting.create(step)
            case ShutDown():
                await self._shut_down(step)
            case Kill():
                await self.kill(step.uid)
            case ConfirmEnd():
                await self._confirm_end(step)
            case Suspend():
                await self._pausing.suspend(step)
            case Resume():
                await self._pausing.resume(step)
        await self.look(step.uid)

    async def look(self, uid: str) -> Look:
        """A fresh look, remembered, once it is known how the domain ended if it is gone."""
        look = await self._look(uid)
        if look.absent:
            await self._learn_ending(uid)
        self._state.looks[uid] = look
        details = await self._hypervisor.details(look)
        if details is not None:
            self._state.details[uid] = details
        return look

    def heard(self, gone: Exit) -> None:
        """How an incarnation has ended. What was known of it already stands."""
        known = self._state.exits.get(gone.uid)
        unsaid = (gone.epoch, Reason.VANISHED)
        if known is None or known.epoch < gone.epoch or (known.epoch, known.reason) == unsaid:
            self._state.exits[gone.uid] = gone
        self._words.pop((gone.uid, gone.epoch), asyncio.Event()).set()

    async def _look(self, uid: str) -> Look:
        # safety: R3, a domain in *any* state is present: it is listed before its hook is asked.
        return await self._hypervisor.look(uid)

    async def _learn_ending(self, uid: str) -> None:
        """libvirt's event, or else what it wrote down, or else nobody saw how.

        The reason decides whether the server is started again, so a guess costs a user something.
        """
        epoch = carry_out.untold(self._state.view(), uid)
        if epoch is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(WORD):
                await self._words[uid, epoch].wait()
        if carry_out.untold(self._state.view(), uid) == epoch:
            reason = await self._hypervisor.recorded_ending(uid, epoch)
            self.heard(Exit(uid, epoch, reason or Reason.VANISHED))

    async def _shut_down(self, step: ShutDown) -> None:
        look = await self._look(step.uid)
        if look.domain is None or look.domain.epoch != step.epoch:
            return
        domain = look.domain
        fresh = await self.owners.read(domain)
        # safety: the guest is asked, not ended; and only while a fresh read says that it must end.
        if carry_out.must_end(fresh, look.domain, self._state.me.node):
            this, now = (step.uid, step.epoch), self._clock.now().mono
            self._state.shutdowns.setdefault(this, now)
            self._state.presses[this] = now
            await self._hypervisor.shut_down(look.domain)

    async def kill(self, uid: str) -> bool:
        """R6: under the lock, look, *then* read, then end exactly what was looked at.

        False when nothing was there, or nothing may be killed.
        """
        async with self._locks.of(uid):
            look = await self._look(uid)
            if look.domain is None:
                return False
            if await self._is_host_fenced():
                # Said before it is done: libvirt's word of our own kill comes after.
                self.heard(Exit(uid, look.domain.epoch, Reason.HOST_FENCED))
            elif not await self._may_kill(look.domain):
                return False
            # safety: this incarnation and no other; a start of the next one is refused as long as
            # the lock is held.
            await self._hypervisor.kill(look.domain)
            return True

    async def _is_host_fenced(self) -> bool:
        """Whether a fresh read says that whatever runs here is poisoned."""
        if await self._is_banned():
            return True
        node = await self._cluster.get_node(self._state.me.node)
        self._state.put_node(node)
        # safety: S4, on a fenced host nothing may survive, Placed here or not.
        return _fenced_now(node, self._state.me.boot_id)

    async def _may_kill(self, domain: Incarnation) -> bool:
        try:
            fresh = await self.owners.read(domain)
        except NotFound:
            # safety: no object is no order to kill.
            return False
        self._state.put_server(fresh)
        return carry_out.must_end(fresh, domain, self._state.me.node) and not self._has_grace(
            fresh, domain
        )

    def _has_grace(self, server: Server, domain: Incarnation) -> bool:
        p = server.placement
        if p.phase is not Phase.REVOKED or p.epoch != domain.epoch or not p.grace:
            return False
        begun = self._state.shutdowns.get((domain.uid, domain.epoch))
        return begun is None or self._clock.now().mono < begun + p.grace

    async def _is_banned(self) -> bool:
        """Whether this host is blocklisted, read now if the last reading said so."""
        if not pause.is_banned(self._state.view()):
            return False
        begun = self._clock.now().mono
        self._state.touch(blocklist=await self._host.blocklist(), blocklist_at=begun)
        return pause.is_banned(self._state.view())

    async def _confirm_end(self, step: ConfirmEnd) -> None:
        """Proof (d): read as Revoked, and only then seen absent (R1, R3)."""
        server = self._state.servers.get(step.uid)
        if server is None:
            return
        async with self._locks.of(step.uid):
            fresh = await self._cluster.get_server(server.namespace, server.name)
            self._state.put_server(fresh)
            p, me = fresh.placement, self._state.me
            revoked = (p.phase, p.epoch, p.node) == (Phase.REVOKED, step.epoch, me.node)
            if fresh.uid != step.uid or not revoked or p.boot_id != me.boot_id:
                return
            # safety: the look begins after that read, in any state and at the processes too.
            look = await self._look(step.uid)
            if look.absent:
                self._state.ended[step.uid] = step.epoch


def _fenced_now(node: Node, boot_id: str) -> bool:
    registered = node.registration
    return (
        node.fence.phase is FencePhase.FENCED
        and registered is not None
        and registered.boot_id == boot_id
    )
