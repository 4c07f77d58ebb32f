"""Carries out the agent's steps on the local libvirt. Each reads the API afresh first."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress

from respawn.agent.locks import ServerLocks
from respawn.agent.state import AgentState
from respawn.decide.agent import carry_out, guard, pause
from respawn.model.conditions import Reason
from respawn.model.host import (
    AgentStep,
    Ask,
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
from respawn.model.storage import EpochMark, Pool
from respawn.ports.clock import Clock
from respawn.ports.cluster import ServerReads
from respawn.ports.errors import Conflict, NotFound, Refused
from respawn.ports.hypervisor import DomainOrder, Host, Hypervisor
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
        self._host, self._epochs, self._locks = host, epochs, locks
        self._clock, self._pools = clock, pools
        self._words: defaultdict[tuple[str, int], asyncio.Event] = defaultdict(asyncio.Event)

    async def do(self, step: AgentStep) -> None:
        """Carry out `step`, and look at its server again."""
        match step:
            case Create():
                await self._create(step)
            case ShutDown():
                await self._shut_down(step)
            case Kill():
                await self.kill(step.uid)
            case ConfirmEnd():
                await self._confirm_end(step)
            case Suspend():
                await self._suspend(step)
            case Resume():
                await self._resume(step)
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

    async def identify(self, look: Look) -> None:
        """Whose domain is it, if no watch has told? A server of another host may have left one."""
        domain = look.domain
        if domain is None or domain.uid in self._state.servers:
            return
        with suppress(NotFound):
            fresh = await self._whose(domain)
            if fresh.uid == domain.uid:
                self._state.put_server(fresh)

    async def _whose(self, domain: Incarnation) -> Server:
        """The server it says it is of, read now; or, its mark being unreadable, that of its UID.

        Raises NotFound also when nobody knows the name: to ask for none would be to ask for all.
        """
        if domain.name:
            return await self._cluster.get_server(domain.namespace, domain.name)
        known = self._state.servers.get(domain.uid)
        if known is None:
            raise NotFound(f"whose {domain.uid} is can not be told")
        return await self._cluster.get_server(known.namespace, known.name)

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

    # Start.

    async def _create(self, step: Create) -> None:
        server = self._state.servers.get(step.uid)
        this = (step.uid, step.epoch)
        if server is None or this in self._state.creating:
            return
        self._state.creating.add(this)
        # What was seen before the create says nothing after it: until the next look, nothing is
        # known, and nothing may be called vanished.
        self._state.looks.pop(step.uid, None)
        try:
            await self._create_placed(server, step)
        finally:
            self._state.creating.discard(this)

    async def _create_placed(self, server: Server, step: Create) -> None:
        """4a and 4b ourselves first: it spares libvirt a start that the hook would refuse."""
        me = await self._host.identity()
        ask = Ask(step.uid, step.epoch, me.boot_id, server.namespace, server.name)
        if not guard.check_node(await self._cluster.get_node(me.node), me).allowed:
            return
        fresh = await self._cluster.get_server(server.namespace, server.name)
        self._state.put_server(fresh)
        if not guard.check_server(fresh, ask, me).allowed:
            return
        said = guard.check_mark(await self._mark(fresh), ask)
        if not said.allowed:
            # Not tried again: an image's epoch only rises.
            self._state.exits[step.uid] = Exit(
                step.uid, step.epoch, Reason.START_FAILED, said.reason
            )
            return
        # safety: Placed here, at this epoch and boot, read just now; libvirt's hook asks again.
        # No lock is held: R6.
        try:
            await self._hypervisor.create(DomainOrder(fresh, me, self._pools()))
        except Refused as refused:
            self._failed(step, str(refused))
        except Conflict:
            return  # a domain is there already: the look that follows shows which

    async def _mark(self, server: Server) -> EpochMark | None:
        """The epoch of its root image; None: it has no image, and QEMU will say so."""
        root = server.root
        pool = self._pools().get(root.pool) if root else None
        if root is None or pool is None:
            return None
        with suppress(NotFound):
            return await self._epochs.read_epoch(pool, root.image)
        return None

    def _failed(self, step: Create, message: str) -> None:
        this = (step.uid, step.epoch)
        count = self._state.failures.get(this, 0) + 1
        self._state.failures[this] = count
        if this in self._state.journal.admitted() or count >= carry_out.CREATES:
            self._state.exits[step.uid] = Exit(step.uid, step.epoch, Reason.START_FAILED, message)

    # Stop.

    async def _shut_down(self, step: ShutDown) -> None:
        look = await self._look(step.uid)
        if look.domain is None or look.domain.epoch != step.epoch:
            return
        domain = look.domain
        fresh = await self._whose(domain)
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
            fresh = await self._whose(domain)
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

    # Pause.

    async def _suspend(self, step: Suspend) -> None:
        look = await self._look(step.uid)
        # safety: a paused guest loses nothing; S6 wants it paused before it could be replaced.
        if look.domain is not None and look.domain.epoch == step.epoch:
            await self._hypervisor.suspend(look.domain)

    async def _resume(self, step: Resume) -> None:
        look = await self._look(step.uid)
        domain = look.domain
        if domain is None or domain.epoch != step.epoch or not look.paused_by_us:
            return
        if not await self._still_ours(domain):
            return
        # safety: its placement was read as ours just now, or the API is unreachable; and Ceph's
        # blocklist, read since contact came back, does not name this host.
        if pause.may_resume(self._state.view(), self._clock.now().mono):
            await self._hypervisor.resume(domain)

    async def _still_ours(self, domain: Incarnation) -> bool:
        """Fresh reads, if the API answers; without it Ceph's word alone decides."""
        if not self._state.contact.api_answers:
            return True
        node, fresh = await asyncio.gather(
            self._cluster.get_node(self._state.me.node),
            self._whose(domain),
        )
        self._state.put_node(node)
        self._state.put_server(fresh)
        return node.fence.phase is FencePhase.OK and not carry_out.must_end(
            fresh, domain, self._state.me.node
        )


def _fenced_now(node: Node, boot_id: str) -> bool:
    registered = node.registration
    return (
        node.fence.phase is FencePhase.FENCED
        and registered is not None
        and registered.boot_id == boot_id
    )
