"""The agent's fresh reads for its starts, its kills and the hook's questions."""

from respawn.model.node import Node
from respawn.model.server import Server
from respawn.ports.cluster import ServerReads
from respawn.ports.together import Together


class SharedReads:
    """ServerReads in which one read of the Node answers all who asked before it began.

    A host that takes over twenty servers asks for its own Node twice for each of them.
    """

    def __init__(self, cluster: ServerReads) -> None:
        self._cluster = cluster
        self._nodes = Together(self._read_node)

    async def get_server(self, namespace: str, name: str) -> Server:
        """See ServerReads.get_server."""
        return await self._cluster.get_server(namespace, name)

    async def get_node(self, name: str) -> Node:
        """See ServerReads.get_node."""
        return await self._nodes(name)

    async def _read_node(self, name: str) -> Node:
        return await self._cluster.get_node(name)
