"""What a process of the operator needs besides the API server."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from respawn.model.storage import Pool
from respawn.ports.fence import FencePort
from respawn.ports.heart import HeartReads
from respawn.ports.images import Images
from respawn.ports.library import Library
from respawn.ports.witness import Witness


class Hearts(HeartReads, Protocol):
    """Hearts with connections of their own."""

    async def close(self) -> None:
        """Give the connections up."""
        ...


class Storage(Library, Protocol):
    """Ceph behind the ports: a CephSide."""

    @property
    def images(self) -> Images: ...
    @property
    def fence(self) -> FencePort: ...
    @property
    def hearts(self) -> HeartReads: ...

    def open_hearts(self) -> Hearts:
        """Hearts for the event loop that asks; it closes them."""
        ...

    def learn(self, pool: Pool, key: str) -> None:
        """A pool, and its client's key."""
        ...

    def forget(self, name: str) -> None:
        """That pool is no more."""
        ...

    async def close(self) -> None:
        """Give the connections up."""
        ...


@dataclass(frozen=True)
class Outside:
    """What a process needs besides the API server; `storage` is made in the loop it is used in."""

    storage: Callable[[], Storage]
    witness: Callable[[], Witness]
