"""What the leader writes for people besides the work: the policy's status, the nodes' columns, and
what is wrong with objects that make no sense.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from respawn.adapters.kubernetes import codec_conditions
from respawn.adapters.kubernetes.cluster import KubernetesCluster
from respawn.adapters.kubernetes.codec_base import Fields, Malformed
from respawn.adapters.kubernetes.codec_node import Columns
from respawn.decide import capacity, timings
from respawn.decide.kstatus import kstatus, tells_more
from respawn.model.conditions import Condition, Reason, merged
from respawn.model.node import FencePhase, Node
from respawn.model.world import World
from respawn.ports.clock import Clock
from respawn.ports.errors import Conflict, PortError
from respawn.runtime.feed import Feed, Misfit
from respawn.runtime.guarded import guarded
from respawn.runtime.intakes import Aside
from respawn.runtime.store import Store

log = logging.getLogger(__name__)

MIB = 1 << 20
PERIOD = 2.0
AT_ONCE = 20
"""Nodes whose columns are written in one round: a restart rewrites none of a thousand at once."""


class StatusKeeper:
    """One look a moment; it writes only what differs."""

    def __init__(
        self, *, store: Store, aside: Aside, feed: Feed, cluster: KubernetesCluster, clock: Clock,
        leader_lease: float,
    ) -> None:  # fmt: skip
        self._store, self._aside, self._feed = store, aside, feed
        self._cluster, self._clock, self._lease = cluster, clock, leader_lease
        self._given_up: dict[str, str] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._release_brake()
            if self._store.me.leader:
                await guarded("the policy's status", self._policy())
                await guarded("the nodes' columns", self._columns())
                await guarded("malformed objects", self._misfits())
            await self._clock.sleep(PERIOD)

    # The policy.

    def _release_brake(self) -> None:
        """A release ends by itself; no event tells of that."""
        policy = self._store.policy
        until = policy.released_until
        released = until is not None and self._clock.now().wall < until
        if policy.brake_released and not released:
            self._store.put_policy(replace(policy, brake_released=False))

    async def _policy(self) -> None:
        read, now = self._aside.policy, self._clock.now()
        if read is None:
            return
        if read.timings.fits():
            wanted = timings.enforced(self._store.world(), read, self._lease, now)
        else:
            wanted = timings.refused(read, now.wall)
        if wanted is None:
            return
        try:
            self._aside.policy = await self._cluster.write_policy(read, wanted)
        except PortError as error:
            _not_written("RespawnPolicy default", error)

    # The nodes' columns.

    async def _columns(self) -> None:
        world, written = self._store.world(), 0
        for node in list(self._store.nodes.values()):
            busy = self._is_busy(world, node)
            if busy or self._aside.columns.get(node.name) == columns(world, node):
                continue
            await self._write_columns(node)
            written += 1
            if written >= AT_ONCE:
                return

    def _is_busy(self, world: World, node: Node) -> bool:
        """Whether somebody may be about to write its fence: that write must not meet ours.

        Once a fenced host is empty, nobody hurries any more, and it should not be said to be full.
        """
        if node.fence.phase is FencePhase.FENCED:
            return bool(world.by_node.get(node.name))
        return node.fence.phase is not FencePhase.OK or node.name in self._store.uneasy

    async def _write_columns(self, node: Node) -> None:
        """The fence and the conditions as they are; the columns travel with every such write."""
        shown = columns(self._store.world(), node)
        try:
            self._store.put_node(await self._cluster.write_fence(node, node.fence, node.conditions))
            self._aside.columns[node.name] = shown
        except PortError as error:
            _not_written(f"columns of Node {node.name}", error)

    # Objects that make no sense.

    async def _misfits(self) -> None:
        for uid in self._given_up.keys() - self._feed.misfits.keys():
            del self._given_up[uid]
        for uid, misfit in list(self._feed.misfits.items()):
            fresh = _complaint(misfit)
            if self._given_up.get(uid) == misfit.complaint or not tells_more(_told(misfit), fresh):
                continue
            self._given_up[uid] = misfit.complaint
            told = merged(_told(misfit), fresh, self._clock.now().wall)
            try:
                await self._cluster.write_conditions(misfit.resource, misfit.body, told)
            except PortError as error:
                _not_written(f"complaint about {misfit.resource.kind}", error)


def columns(world: World, node: Node) -> Columns:
    """What `kubectl get vnode` counts."""
    use = capacity.use(world, node)
    return Columns(
        servers=use.servers,
        cores_used=use.cores,
        cores_free=max(0, node.host.capacity.cores - use.cores),
        memory_used=-(-max(0, use.memory) // MIB) * MIB,
        memory_free=use.memory_free // MIB * MIB,
    )


def _complaint(misfit: Misfit) -> tuple[Condition, ...]:
    metadata: Mapping[str, Any] = misfit.body["metadata"]
    message = f"{misfit.complaint}; Respawn leaves the object alone until that is put right"
    return kstatus(
        ready=False,
        stalled=True,
        reason=Reason.MALFORMED,
        message=message,
        generation=int(metadata.get("generation", 1)),
    )


def _told(misfit: Misfit) -> tuple[Condition, ...]:
    try:
        told = codec_conditions.decode(Fields(misfit.body).part("status"))
    except Malformed:
        return ()
    return tuple(condition for condition in told if condition.last_transition is not None)


def _not_written(what: str, error: PortError) -> None:
    # Somebody else wrote in between: the next look sees it.
    log.log(logging.DEBUG if isinstance(error, Conflict) else logging.INFO, "%s: %s", what, error)
