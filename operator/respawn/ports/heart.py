"""The heart objects in Ceph: two per host, on different primary OSDs."""

from typing import Protocol

from respawn.model.sight import Beat


class HeartReads(Protocol):
    """The operator's side."""

    async def read(self, host: str) -> tuple[Beat | None, ...]:
        """Both objects (None: absent). Raises Unavailable unless *both* could be read."""
        ...

    async def prove_write(self) -> None:
        """Write an object of our own in the same places, to prove our own access.

        Raises Unavailable.
        """
        ...


class HeartWrites(Protocol):
    """The host's side."""

    async def beat(self, beat: Beat) -> None:
        """Write both objects; returns when one was acknowledged.

        Raises Unavailable, and Refused when this host is blocklisted: the handle stays shut
        then, and the adapter builds a new one for the next beat.
        """
        ...
