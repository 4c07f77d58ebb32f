"""The record of a server: read afresh, and compared and set."""

from dataclasses import replace

from respawn.model.actions import Outlook
from respawn.model.conditions import merged
from respawn.model.placement import Phase, Placement
from respawn.model.server import Server, ServerStatus
from respawn.ports.clock import Clock
from respawn.ports.cluster import Cluster
from respawn.ports.errors import NotFound
from respawn.runtime.settling import Outdated
from respawn.runtime.store import Store


class ServerRecord:
    """What is on record about the servers; every method raises the port errors."""

    def __init__(self, *, store: Store, cluster: Cluster, clock: Clock) -> None:
        self._store, self._cluster, self._clock = store, cluster, clock

    async def fresh(self, server: Server, *phases: Phase) -> Server:
        """The server as of now. Raises Outdated unless it is at the same epoch, in such a phase."""
        fresh = await self._cluster.get_server(server.namespace, server.name)
        self._store.put_server(fresh)
        if fresh.uid != server.uid:
            self._store.drop_server(server.uid)
            raise NotFound("another object has its name now")
        if fresh.placement.epoch != server.placement.epoch or fresh.placement.phase not in phases:
            raise Outdated(f"the server is {fresh.placement.phase} {fresh.placement.epoch}")
        return fresh

    async def write(
        self, read: Server, status: ServerStatus, outlook: Outlook, placement: Placement
    ) -> Server:
        """Compare and set, on the version that `read` was read at. Raises Conflict."""
        wall = self._clock.now().wall
        status = replace(
            status,
            placement=placement,
            observed_generation=read.generation,
            phase=outlook.phase,
            conditions=merged(status.conditions, outlook.conditions, wall),
            addresses=status.addresses if outlook.addresses is None else outlook.addresses,
            recovery=outlook.recovery or status.recovery,
            setback=None if outlook.clear_setback else status.setback,
        )
        written = await self._cluster.write_server(read, status)
        self._store.put_server(written)
        return written
