"""The operator's hand on the API: compare-and-set writes of statuses, finalizers, events."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from respawn.adapters.kubernetes import (
    codec_conditions,
    codec_node,
    codec_policy,
    codec_server,
    codec_server_status,
    codec_storage,
    telling,
    telling_nodes,
)
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.codec_node import Columns
from respawn.adapters.kubernetes.herald import Herald
from respawn.adapters.kubernetes.reads import DEADLINE, KubernetesReads
from respawn.adapters.kubernetes.resources import (
    NODES,
    POLICIES,
    SERVER_IMAGES,
    STORAGE_POOLS,
    VIRTUAL_SERVERS,
    Resource,
)
from respawn.adapters.kubernetes.telling import Told
from respawn.model.conditions import Condition
from respawn.model.node import Fence, Node
from respawn.model.policy import Policy
from respawn.model.server import FINALIZER, Server, ServerStatus
from respawn.model.storage import Image, Pool
from respawn.ports.clock import Clock
from respawn.ports.errors import Conflict

POLICY = "default"


class KubernetesCluster(KubernetesReads):
    """Cluster. Every status write tells, as events, what it changed; nothing waits for those.

    `columns` counts what `kubectl get vnode` shows of a node; `may_write` is asked right before a
    write, and raises Unavailable when this process may not (any more).
    """

    def __init__(
        self, client: Client, herald: Herald, clock: Clock, *,
        columns: Callable[[Node], Columns | None] = lambda node: None,
        may_write: Callable[[], None] = lambda: None,
        deadline: float = DEADLINE,
    ) -> None:  # fmt: skip
        super().__init__(client, deadline=deadline)
        self._herald = herald
        self._clock = clock
        self.columns = columns
        self.may_write = may_write

    # Statuses.

    async def write_server(self, read: Server, status: ServerStatus) -> Server:
        """Write `status` over what was read."""
        patch = codec_server_status.patch(read, status)
        where = {"namespace": read.namespace, "name": read.name}
        body = await self._write(VIRTUAL_SERVERS, where, patch, read.resource_version)
        written = codec_server.decode(body)
        self._herald.tell(*telling.about_server(read, written))
        return written

    async def write_fence(
        self, read: Node, fence: Fence, conditions: tuple[Condition, ...]
    ) -> Node:
        """Write fence, conditions and columns of a node."""
        patch = codec_node.patch(read, fence, conditions, self.columns(read))
        # A standby, too, drops the taints that only it can answer for.
        untaints = replace(fence, tainted=read.fence.tainted) == read.fence
        warranted = not (untaints and conditions == read.conditions)
        where, version = {"name": read.name}, read.resource_version
        body = await self._write(NODES, where, patch, version, warranted=warranted)
        written = codec_node.decode(body)
        self._herald.tell(*telling_nodes.about_node(read, written))
        return written

    async def write_image(self, read: Image, image: Image) -> Image:
        """Write an image's status."""
        patch = codec_storage.patch_image(read, image)
        body = await self._write(SERVER_IMAGES, {"name": read.name}, patch, read.resource_version)
        written = codec_storage.decode_image(body)
        self._herald.tell(*telling.about_ready(body, read.conditions, written.conditions))
        return written

    async def write_pool(self, read: Pool, pool: Pool) -> Pool:
        """Write a pool's status. Raises Conflict, NotFound, Unavailable."""
        patch = codec_storage.patch_pool(read, pool)
        body = await self._write(STORAGE_POOLS, {"name": read.name}, patch, read.resource_version)
        written = codec_storage.decode_pool(body)
        self._herald.tell(*telling.about_ready(body, read.conditions, written.conditions))
        return written

    async def write_policy(self, read: Policy, policy: Policy) -> Policy:
        """Write the policy's status. Raises Conflict, NotFound, Unavailable."""
        patch = codec_policy.patch(read, policy)
        body = await self._write(POLICIES, {"name": POLICY}, patch, read.resource_version)
        written = codec_policy.decode(body, self._clock.now().wall)
        self._herald.tell(*telling.about_policy(body, read.conditions, written.conditions))
        return written

    async def write_conditions(
        self, resource: Resource, body: Mapping[str, Any], conditions: tuple[Condition, ...]
    ) -> None:
        """Write only the conditions of an object as it was read, whatever else is in it."""
        metadata = body["metadata"]
        where = {k: metadata[k] for k in ("namespace", "name") if metadata.get(k)}
        patch = {
            "observedGeneration": metadata.get("generation", 1),
            "conditions": codec_conditions.encode(conditions),
        }
        await self._write(resource, where, patch, metadata["resourceVersion"])

    async def _write(
        self, resource: Resource, where: Mapping[str, str], patch: Mapping[str, Any], version: str,
        *, warranted: bool = True,
    ) -> dict[str, Any]:  # fmt: skip
        if warranted:
            self.may_write()
        return await self._client.patch_status(
            resource,
            where["name"],
            patch,
            resource_version=version,
            namespace=where.get("namespace"),
            deadline=self._deadline,
        )

    # Finalizers.

    async def protect_server(self, read: Server, on: bool) -> Server | None:
        """Put our finalizer on, or take it off; None when the object is gone with it."""
        where = {"namespace": read.namespace, "name": read.name}
        body = await self._protect(VIRTUAL_SERVERS, where, read.resource_version, on)
        return codec_server.decode(body) if body else None

    async def protect_node(self, read: Node, on: bool) -> Node | None:
        """The same for a node."""
        body = await self._protect(NODES, {"name": read.name}, read.resource_version, on)
        return codec_node.decode(body) if body else None

    async def occupied(self, node: str) -> bool:
        """Whether any server is, as of now, placed there, or revoked and not proven ended."""
        found, _ = await self._client.list_all(
            VIRTUAL_SERVERS, fields=f"status.node={node}", deadline=self._deadline
        )
        return bool(found)

    async def protect_pool(self, read: Pool, on: bool) -> Pool | None:
        """The same for a pool."""
        body = await self._protect(STORAGE_POOLS, {"name": read.name}, read.resource_version, on)
        return codec_storage.decode_pool(body) if body else None

    async def protect_image(self, read: Image, on: bool) -> Image | None:
        """The same for a golden image."""
        body = await self._protect(SERVER_IMAGES, {"name": read.name}, read.resource_version, on)
        return codec_storage.decode_image(body) if body else None

    async def _protect(
        self, resource: Resource, where: Mapping[str, str], version: str, on: bool
    ) -> dict[str, Any] | None:
        """A merge patch replaces the whole list, so others' finalizers are read first."""
        name, namespace = where["name"], where.get("namespace")
        body = await self._client.get(resource, name, namespace=namespace, deadline=self._deadline)
        if body["metadata"]["resourceVersion"] != version:
            raise Conflict(f"{name} is no longer as it was read")
        others = [x for x in body["metadata"].get("finalizers") or [] if x != FINALIZER]
        finalizers = [*others, FINALIZER] if on else others
        self.may_write()
        written = await self._client.patch(
            resource,
            name,
            {"metadata": {"finalizers": finalizers or None}},
            resource_version=version,
            namespace=namespace,
            deadline=self._deadline,
        )
        gone = written["metadata"].get("deletionTimestamp") and not finalizers
        return None if gone else written

    # Events.

    async def event(self, about: Server | Node, reason: str, message: str, warning: bool) -> None:
        """Tell people once; in the background."""
        self._herald.tell(Told(telling.reference(about), reason, message, warning, key=message))
