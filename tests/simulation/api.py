"""The API server: objects with resourceVersions, compare-and-set, finalizers, Leases, watches."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.simulation.net import MANAGEMENT, Gate, Net, Process

from respawn.model.conditions import Condition
from respawn.model.node import Fence, HostStatus, Node
from respawn.model.policy import Policy
from respawn.model.server import Server, ServerStatus
from respawn.model.storage import Image, Pool
from respawn.ports.cluster import Lease
from respawn.ports.errors import Conflict, NotFound

END = "api"
DEADLINE = 1.0

Watcher = Callable[[str, Any], None]


@dataclass
class Subscription:
    """One watch: what it has not delivered yet, in order."""

    who: Process
    deliver: Watcher
    queue: "asyncio.Queue[tuple[str, Any]]"
    delay: float = 0.0


class FakeApi:
    """The store. `changed` is called after every write, with all of it done."""

    def __init__(self, net: Net, changed: Callable[[], None]) -> None:
        self.net, self.changed = net, changed
        self.gate = Gate()
        self.servers: dict[str, Server] = {}
        self.nodes: dict[str, Node] = {}
        self.leases: dict[str, Lease] = {}
        self.pools: dict[str, Pool] = {}
        self.images: dict[str, Image] = {}
        self.policy = Policy()
        self._version = 100
        self._watches: list[Subscription] = []
        self.writes: list[tuple[str, str]] = []
        self.held: dict[tuple[str, str], Gate] = {}
        """(process, kind) -> a gate at which such watch events wait."""
        self.watch_delay = 0.0
        """Further seconds that every watch event takes."""

    def next_version(self) -> str:
        self._version += 1
        return str(self._version)

    # Writes, each atomic.

    def apply_server(self, server: Server) -> Server:
        stored = replace(server, resource_version=self.next_version())
        self.servers[server.uid] = stored
        self._tell("server", stored)
        return stored

    def apply_node(self, node: Node) -> Node:
        stored = replace(node, resource_version=self.next_version())
        self.nodes[node.name] = stored
        self._tell("node", stored)
        return stored

    def edit_server(self, uid: str, **spec: Any) -> None:
        """A person changes the spec."""
        server = self.servers[uid]
        changed = replace(
            server, spec=replace(server.spec, **spec), generation=server.generation + 1
        )
        self.apply_server(changed)

    def delete_server(self, uid: str) -> None:
        """A person deletes it."""
        server = self.servers.get(uid)
        if server is None:
            return
        if not server.protected_by_us:
            self._remove(server)
        elif not server.deleting:
            self.apply_server(replace(server, deleting=True, generation=server.generation + 1))

    def _remove(self, server: Server) -> None:
        self._version += 1
        del self.servers[server.uid]
        self._tell("server-gone", server)

    def get_server(self, namespace: str, name: str) -> Server:
        for server in self.servers.values():
            if (server.namespace, server.name) == (namespace, name):
                return server
        raise NotFound(f"{namespace}/{name}")

    def get_node(self, name: str) -> Node:
        if name not in self.nodes:
            raise NotFound(name)
        return self.nodes[name]

    def write_server(self, read: Server, status: ServerStatus) -> Server:
        known = self.servers.get(read.uid)
        if known is None:
            raise NotFound(read.name)
        if known.resource_version != read.resource_version:
            raise Conflict(read.name)
        self.writes.append((read.uid, str(status.placement.phase)))
        return self.apply_server(replace(known, status=status))

    def protect_server(self, read: Server, on: bool) -> Server | None:
        known = self.servers.get(read.uid)
        if known is None:
            raise NotFound(read.name)
        if known.resource_version != read.resource_version:
            raise Conflict(read.name)
        if not on and known.deleting:
            self._remove(known)
            return None
        return self.apply_server(replace(known, protected_by_us=on))

    def write_fence(self, read: Node, fence: Fence, told: tuple[Condition, ...]) -> Node:
        known = self._same_node(read)
        return self.apply_node(replace(known, fence=fence, conditions=told))

    def write_host(self, read: Node, host: HostStatus) -> Node:
        known = self._same_node(read)
        return self.apply_node(replace(known, host=host))

    def protect_node(self, read: Node, on: bool) -> Node | None:
        known = self._same_node(read)
        if not on and known.deleting:
            del self.nodes[known.name]
            self._tell("node-gone", known)
            return None
        return self.apply_node(replace(known, protected_by_us=on))

    def _same_node(self, read: Node) -> Node:
        known = self.get_node(read.name)
        # As the real one: a patch that carries no resourceVersion is blind.
        if read.resource_version and known.resource_version != read.resource_version:
            raise Conflict(read.name)
        return known

    def get_lease(self, name: str) -> Lease:
        if name not in self.leases:
            raise NotFound(name)
        return self.leases[name]

    def hold_lease(self, read: Lease, holder: str, duration: float) -> Lease:
        known = self.leases.get(read.name)
        if known is not None and known.resource_version != read.resource_version:
            raise Conflict(read.name)
        if known is None and read.resource_version:
            raise Conflict(read.name)
        turns = (known.transitions if known else 0) + (known is None or known.holder != holder)
        version = self.next_version()
        stored = Lease(read.name, holder, turns, f"{holder}|{turns}|{version}", version, duration)
        self.leases[read.name] = stored
        return stored

    # Watches.

    def watch(self, who: Process, deliver: Watcher) -> None:
        """List, then every change in order, each as late as the net and `watch_delay` make it."""
        subscription = Subscription(who, deliver, asyncio.Queue())
        for image in self.images.values():
            subscription.queue.put_nowait(("image", image))
        for node in self.nodes.values():
            subscription.queue.put_nowait(("node", node))
        for server in self.servers.values():
            subscription.queue.put_nowait(("server", server))
        self._watches.append(subscription)
        who.spawn(self._serve(subscription))

    def _tell(self, kind: str, value: Any) -> None:
        self._watches = [w for w in self._watches if w.who.alive]
        for watch in self._watches:
            watch.queue.put_nowait((kind, value))
        self.changed()

    async def _serve(self, watch: Subscription) -> None:
        while True:
            kind, value = await watch.queue.get()
            await asyncio.sleep(0.0005 + self.net.rng.random() * 0.004 + self.watch_delay)
            held = self.held.get((watch.who.name, kind))
            if held is not None:
                watch.who.spawn(self._deliver_later(watch, held, kind, value))
                continue
            await self.gate.passed()
            await self.net.switch.wait_up(MANAGEMENT, watch.who.kernel.address, END)
            await watch.who.thawed()
            watch.deliver(kind, value)

    async def _deliver_later(self, watch: Subscription, held: Gate, kind: str, value: Any) -> None:
        await held.passed()
        await watch.who.thawed()
        watch.deliver(kind, value)


class ApiPort:
    """`Cluster`, `Leases` and `HostCluster` as one process sees them."""

    def __init__(self, api: FakeApi, who: Process) -> None:
        self._api, self._who = api, who

    async def _call(self, label: str, effect: Callable[[], Any]) -> Any:
        api = self._api
        return await api.net.call(
            self._who, MANAGEMENT, END, effect,
            label=label, deadline=DEADLINE, server_gate=api.gate,
        )  # fmt: skip

    async def get_server(self, namespace: str, name: str) -> Server:
        return await self._call("get_server", lambda: self._api.get_server(namespace, name))

    async def get_node(self, name: str) -> Node:
        return await self._call("get_node", lambda: self._api.get_node(name))

    async def write_server(self, read: Server, status: ServerStatus) -> Server:
        return await self._call("write_server", lambda: self._api.write_server(read, status))

    async def write_fence(
        self, read: Node, fence: Fence, conditions: tuple[Condition, ...]
    ) -> Node:
        return await self._call(
            "write_fence", lambda: self._api.write_fence(read, fence, conditions)
        )

    async def write_host(self, read: Node, host: HostStatus) -> Node:
        return await self._call("write_host", lambda: self._api.write_host(read, host))

    async def write_image(self, read: Image, image: Image) -> Image:
        raise NotImplementedError("images are Ready from the start here")

    async def protect_server(self, read: Server, on: bool) -> Server | None:
        return await self._call("protect_server", lambda: self._api.protect_server(read, on))

    async def protect_node(self, read: Node, on: bool) -> Node | None:
        return await self._call("protect_node", lambda: self._api.protect_node(read, on))

    async def occupied(self, node: str) -> bool:
        servers = self._api.servers
        return await self._call("occupied", lambda: any(s.here == node for s in servers.values()))

    async def event(self, about: Any, reason: str, message: str, warning: bool) -> None:
        return None

    async def get_lease(self, name: str) -> Lease:
        return await self._call("get_lease", lambda: self._api.get_lease(name))

    async def hold_lease(self, read: Lease, holder: str, duration: float) -> Lease:
        return await self._call("hold_lease", lambda: self._api.hold_lease(read, holder, duration))
