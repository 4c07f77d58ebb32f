"""Live reads of servers and nodes, for operator and agent alike."""

from respawn.adapters.kubernetes import codec_node, codec_server
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.resources import NODES, VIRTUAL_SERVERS
from respawn.model.node import Node
from respawn.model.server import Server

DEADLINE = 1.0
"""Seconds for a request on the way of a failover, or of a hook's answer."""


class KubernetesReads:
    """ServerReads. An object that makes no sense is Refused (Malformed)."""

    def __init__(self, client: Client, *, deadline: float = DEADLINE) -> None:
        self._client = client
        self._deadline = deadline

    async def get_server(self, namespace: str, name: str) -> Server:
        """The server as of now: a quorum read (R2)."""
        found = await self._client.get(
            VIRTUAL_SERVERS, name, namespace=namespace, deadline=self._deadline
        )
        return codec_server.decode(found)

    async def get_node(self, name: str) -> Node:
        """The node as of now: a quorum read (R2)."""
        found = await self._client.get(NODES, name, deadline=self._deadline)
        return codec_node.decode(found)
