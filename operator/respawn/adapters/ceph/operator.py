"""All that an operator needs of Ceph, put together."""

import asyncio
from dataclasses import dataclass

from respawn.adapters.ceph.access import Where
from respawn.adapters.ceph.fence import CephFence
from respawn.adapters.ceph.hearts import CephHearts
from respawn.adapters.ceph.images import CephImages


@dataclass(frozen=True)
class OperatorCeph:
    """The ports of one operator; they know each other's clients as this operator's own."""

    fence: CephFence
    images: CephImages
    hearts: CephHearts

    async def close(self) -> None:
        """Give all connections up."""
        await asyncio.gather(self.fence.close(), self.images.close(), self.hearts.close())


def operator_ceph(where: Where, *, pool: str, me: str) -> OperatorCeph:
    """Ports over the cluster that `where` tells; it is asked again at each call.

    `pool` (Ceph's name) is where the hearts beat, `me` the name of this operator. Connects at the
    first call; to be used in one event loop.
    """
    images = CephImages(where)
    hearts = CephHearts(where, pool=pool, me=me)
    fence = CephFence(where, own=lambda: images.addresses | hearts.addresses)
    return OperatorCeph(fence, images, hearts)
