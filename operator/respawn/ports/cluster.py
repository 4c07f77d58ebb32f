"""The Kubernetes API: live reads, compare-and-set writes, Leases.

Reads are quorum reads of the API server (no `resourceVersion=0`, no cache): R2 rests on it. Writes
carry the `resource_version` that was read and raise Conflict when the object has moved on. Only the
named fields that differ are sent, as a merge patch, so that unknown ones survive.
"""

from dataclasses import dataclass
from typing import Protocol

from respawn.model.conditions import Condition
from respawn.model.node import Fence, HostStatus, Node
from respawn.model.server import Server, ServerStatus
from respawn.model.storage import Image


@dataclass(frozen=True, slots=True)
class Lease:
    """A coordination Lease. `token` is all that changes with a renewal, as one text.

    The holder of a host's is `NODE/BOOT`, and in the token as well.
    """

    name: str
    holder: str = ""
    transitions: int = 0
    token: str = ""
    resource_version: str = ""
    duration: float = 0.0
    """Seconds, as its holder promised; 0 after it was released."""


class ServerReads(Protocol):
    """What operator and agent both read."""

    async def get_server(self, namespace: str, name: str) -> Server:
        """The server as of now. Raises NotFound, Unavailable."""
        ...

    async def get_node(self, name: str) -> Node:
        """The node as of now. Raises NotFound, Unavailable."""
        ...


class Cluster(ServerReads, Protocol):
    """The operator's side."""

    async def write_server(self, read: Server, status: ServerStatus) -> Server:
        """Write `status` over what was read; returns the server as written.

        Raises Conflict, NotFound, Unavailable.
        """
        ...

    async def write_fence(
        self, read: Node, fence: Fence, conditions: tuple[Condition, ...]
    ) -> Node:
        """Write the operator's part of the node's status: the fence, and all conditions.

        Raises Conflict, NotFound, Unavailable.
        """
        ...

    async def write_image(self, read: Image, image: Image) -> Image:
        """Write an image's status. Raises Conflict, NotFound, Unavailable."""
        ...

    async def protect_server(self, read: Server, on: bool) -> Server | None:
        """Put our finalizer on, or take it off; None when the object is gone with it.

        Raises Conflict, NotFound, Unavailable.
        """
        ...

    async def protect_node(self, read: Node, on: bool) -> Node | None:
        """The same for a node."""
        ...

    async def occupied(self, node: str) -> bool:
        """Whether any server is, as of now, placed there, or revoked and not proven ended.

        Raises Unavailable.
        """
        ...

    async def event(self, about: Server | Node, reason: str, message: str, warning: bool) -> None:
        """Tell people once: the event's name is derived from its content. Never raises."""
        ...


class Leases(Protocol):
    """Leases in the namespace of Respawn."""

    async def get_lease(self, name: str) -> Lease:
        """The Lease as of now. Raises NotFound, Unavailable."""
        ...

    async def hold_lease(self, read: Lease, holder: str, duration: float) -> Lease:
        """Take or renew it (create it, when `read.resource_version` is empty).

        A change of holder raises `transitions`. A holder "" releases it. Raises Conflict,
        Unavailable.
        """
        ...


class HostCluster(ServerReads, Leases, Protocol):
    """The agent's side: its own Lease, and its own part of its own Node."""

    async def write_host(self, read: Node, host: HostStatus) -> Node:
        """Write the agent's part of its node's status.

        Raises Conflict, NotFound, Unavailable.
        """
        ...
