"""A start on the local libvirt, with every question asked first that could forbid it."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from respawn.agent.state import AgentState
from respawn.decide.agent import carry_out, guard
from respawn.model.conditions import Reason
from respawn.model.host import Ask, Create, Exit
from respawn.model.server import Server
from respawn.model.storage import EpochMark, Pool
from respawn.ports.cluster import ServerReads
from respawn.ports.errors import Conflict, NotFound, Refused
from respawn.ports.hypervisor import DomainOrder, Hypervisor
from respawn.ports.images import Epochs


class Starting:
    """Creates the domain of a server that is Placed here."""

    def __init__(
        self, *, state: AgentState, cluster: ServerReads, hypervisor: Hypervisor,
        epochs: Epochs, pools: Callable[[], Mapping[str, Pool]],
    ) -> None:  # fmt: skip
        self._state, self._cluster, self._hypervisor = state, cluster, hypervisor
        self._epochs, self._pools = epochs, pools

    async def create(self, step: Create) -> None:
        """Start it, unless a start of it is under way. Raises the port errors."""
        server = self._state.servers.get(step.uid)
        this = _this(step)
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
        me = self._state.me  # as of the last scan: the hook looks again
        ask = Ask(step.uid, step.epoch, me.boot_id, server.namespace, server.name)
        # Which of them is read first matters to the hook alone, whose answer counts.
        node, fresh = await asyncio.gather(
            self._cluster.get_node(me.node),
            self._cluster.get_server(server.namespace, server.name),
        )
        self._state.put_server(fresh)
        if not guard.check_node(node, me).allowed:
            return
        if not guard.check_server(fresh, ask, me).allowed:
            return
        said = guard.check_mark(await self._mark(fresh), ask)
        if not said.allowed:
            # Not tried again: an image's epoch only rises.
            self._state.failures[_this(step)] = carry_out.CREATES
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
        this = _this(step)
        count = self._state.failures.get(this, 0) + 1
        self._state.failures[this] = count
        if this in self._state.journal.admitted() or count >= carry_out.CREATES:
            self._state.exits[step.uid] = Exit(step.uid, step.epoch, Reason.START_FAILED, message)


def _this(step: Create) -> tuple[str, int]:
    """What is counted and remembered of it: UID and epoch."""
    return step.uid, step.epoch
