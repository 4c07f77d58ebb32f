"""The hearts as the operator sees them, and as an agent writes them in need."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import rados

from respawn.adapters.ceph import aio, beats, errors, places
from respawn.adapters.ceph.access import TIMEOUT, Where
from respawn.adapters.ceph.beater import Beater, heart_of
from respawn.adapters.ceph.connection import Connection
from respawn.adapters.ceph.errors import Shut
from respawn.adapters.ceph.handle import Handle
from respawn.adapters.ceph.session import content
from respawn.model.sight import Beat
from respawn.ports.errors import PortError, Unavailable


class ThreadedBeater:
    """HeartWrites: a Beater in a thread of its own."""

    def __init__(self, where: Where, *, pool: str, prefix: str) -> None:
        self._beater = Beater(where, pool=pool, prefix=prefix)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"ceph-{prefix}")

    @property
    def addresses(self) -> frozenset[str]:
        """The entity address of its client."""
        return self._beater.addresses

    async def beat(self, beat: Beat) -> None:
        """Write both objects; returns when one was acknowledged. See Beater.beat."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(
            self._thread, lambda: self._beater.beat(beat, patience=float(TIMEOUT))
        )

    async def close(self) -> None:
        """Give the connection up, after the beat that is under way."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._beater.close)
        self._thread.shutdown(wait=False)


class CephHeart(ThreadedBeater):
    """HeartWrites of a host's agent."""

    def __init__(self, where: Where, *, pool: str, host: str) -> None:
        super().__init__(where, pool=pool, prefix=heart_of(host))


class CephHearts:
    """HeartReads. Reads take no thread, so an OSD that hangs holds up only what is read from it.

    `me` names this operator: its own objects are `proof.ME.K`.
    """

    def __init__(self, where: Where, *, pool: str, me: str) -> None:
        self._connection = Connection(where, purpose="hearts", threads=1)
        self._proof = ThreadedBeater(where, pool=pool, prefix=f"proof.{me}")
        self._pool, self._me = pool, me
        self._places: dict[str, tuple[str, ...]] = {}

    @property
    def addresses(self) -> frozenset[str]:
        """Entity addresses of its clients."""
        return self._connection.addresses | self._proof.addresses

    async def read(self, host: str) -> tuple[Beat | None, ...]:
        """Both objects (None: absent). Raises Unavailable unless *both* could be read."""
        handle = await self._connection.handle()
        try:
            raw = await self._read_places(handle, host)
            return tuple(beats.decode(found) if found else None for found in raw)
        except Shut:
            handle.retire()
            raise
        except Unavailable:
            if handle.silence > TIMEOUT:
                handle.retire()  # as in Beater: old sockets would sit in TCP's back-off
            raise
        except ValueError as error:
            raise Unavailable(f"the heart of {host} is {error}") from error

    async def _read_places(self, handle: Handle, host: str) -> Sequence[bytes]:
        known = self._places.get(host) or places.names(heart_of(host))
        read = await self._contents(handle, known)
        if host not in self._places:
            read = self._settle(host, dict(zip(known, read, strict=True)))
        if None in read:
            raise Unavailable(f"the heart of {host} could not be read")
        if b"" in read:
            self._places.pop(host, None)  # removed, or not yet there: look for it again
        return [raw for raw in read if raw is not None]

    def _settle(self, host: str, found: dict[str, bytes | None]) -> list[bytes | None]:
        """The places among all candidates, remembered once there are two."""
        exists = {name: None if raw is None else bool(raw) for name, raw in found.items()}
        there = places.settled(exists)
        if there is None:
            raise Unavailable(f"too few heart objects of {host} could be read")
        if len(there) >= 2:
            self._places[host] = there
        return [*(found[name] for name in there), b"", b""][: max(2, len(there))]

    async def _contents(self, handle: Handle, names: Sequence[str]) -> list[bytes | None]:
        ioctx = handle.ioctx(self._pool, places.NAMESPACE)
        reads = (_read(handle, ioctx, name) for name in names)
        answers = await asyncio.gather(*reads, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, PortError):
                raise answer
        return [content(answer) for answer in answers]  # type: ignore[arg-type]

    async def prove_write(self) -> None:
        """Write an object of our own in the same pool and namespace, as hosts do; one of the two
        suffices, as for them.
        """
        await self._proof.beat(Beat(machine_id=self._me, boot_id="", counter=0))

    async def close(self) -> None:
        """Give the connections up."""
        await asyncio.gather(self._connection.close(), self._proof.close())


async def _read(handle: Handle, ioctx: rados.Ioctx, name: str) -> bytes:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def settle(code: int, data: bytes) -> None:
        if answer.done():
            return
        if code < 0:
            answer.set_exception(errors.of(code, f"read {name}"))
        else:
            answer.set_result(data)

    def done(code: int, data: bytes) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, code, data)

    aio.read(handle, ioctx, name, done)
    return await answer
