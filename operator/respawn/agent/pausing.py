"""S6 on the local libvirt: a guest that is cut off is paused, and resumed only when it is safe."""

import asyncio

from respawn.agent.owners import Owners
from respawn.agent.state import AgentState
from respawn.decide.agent import carry_out, pause
from respawn.model.host import Incarnation, Resume, Suspend
from respawn.model.node import FencePhase
from respawn.ports.clock import Clock
from respawn.ports.cluster import ServerReads
from respawn.ports.hypervisor import Hypervisor


class Pausing:
    """One method per step; every one raises the port errors."""

    def __init__(
        self, *, state: AgentState, cluster: ServerReads, hypervisor: Hypervisor, owners: Owners,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._state, self._cluster, self._hypervisor = state, cluster, hypervisor
        self._owners, self._clock = owners, clock

    async def suspend(self, step: Suspend) -> None:
        """Pause that incarnation, if it is there."""
        look = await self._hypervisor.look(step.uid)
        # safety: a paused guest loses nothing; S6 wants it paused before it could be replaced.
        if look.domain is not None and look.domain.epoch == step.epoch:
            await self._hypervisor.suspend(look.domain)

    async def resume(self, step: Resume) -> None:
        """Let that incarnation run on, if it was paused by us and nothing speaks against it."""
        look = await self._hypervisor.look(step.uid)
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
            self._owners.read(domain),
        )
        self._state.put_node(node)
        self._state.put_server(fresh)
        return node.fence.phase is FencePhase.OK and not carry_out.must_end(
            fresh, domain, self._state.me.node
        )
