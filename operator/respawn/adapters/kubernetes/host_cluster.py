"""The agent's hand on the API: reads, its own Lease, its own part of its own Node."""

from respawn.adapters.kubernetes import codec_host, codec_node
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.leases import NAMESPACE, LeaseStore
from respawn.adapters.kubernetes.reads import DEADLINE, KubernetesReads
from respawn.adapters.kubernetes.resources import NODES
from respawn.model.node import HostStatus, Node


class KubernetesHostCluster(KubernetesReads, LeaseStore):
    """HostCluster. It writes nothing but `status.host`; an admission policy keeps it to that."""

    def __init__(
        self, client: Client, *, deadline: float = DEADLINE, namespace: str = NAMESPACE
    ) -> None:
        KubernetesReads.__init__(self, client, deadline=deadline)
        LeaseStore.__init__(self, client, deadline=deadline, namespace=namespace)

    async def write_host(self, read: Node, host: HostStatus) -> Node:
        """Write the agent's part of its node's status."""
        patch = codec_host.patch(read.host, host)
        body = await self._client.patch_status(
            NODES,
            read.name,
            patch,
            resource_version=read.resource_version,
            deadline=self._deadline,
        )
        return codec_node.decode(body)
