"""StoragePools: their keys, whether they can be used, and what their status says.

A pool may appear, change or be unreachable at any time: that is a condition, never an end. Leader
and standby both keep the keys, so that whoever leads can reach Ceph; the leader alone writes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from respawn.decide import brake
from respawn.decide import library as decide
from respawn.decide.library import PoolLook
from respawn.model.conditions import Reason
from respawn.model.storage import Pool
from respawn.model.world import Trouble
from respawn.ports.clock import Clock
from respawn.ports.errors import PortError, Refused, Unavailable
from respawn.ports.library import Library
from respawn.runtime.guarded import guarded
from respawn.runtime.store import Store

log = logging.getLogger(__name__)

EVERY = 30.0
"""Seconds between two looks at each pool, unless something changes."""
SOON = 2.0
"""Seconds after which one is looked at again whose status could not be written, or whose cluster
did not answer once."""
MOMENT = 0.25


_NO_WRITES = "what the operator writes to Ceph does not return: look at its OSDs"


class PoolWriter(Protocol):
    """What writes a pool's status, and its finalizer."""

    async def protect_pool(self, read: Pool, on: bool) -> Pool | None:
        """None: the object is gone with it. Raises Conflict, NotFound, Unavailable."""
        ...

    async def write_pool(self, read: Pool, pool: Pool) -> Pool:
        """Raises Conflict, NotFound, Unavailable."""
        ...


class PoolKeeper:
    """Looks at every pool now and then, and at once when one changes."""

    def __init__(
        self, *, store: Store, writer: PoolWriter, key: Callable[[Pool], Awaitable[str]],
        learn: Callable[[Pool, str], None], forget: Callable[[str], None], library: Library,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._store, self._writer, self._key = store, writer, key
        self._learn, self._forget, self._library = learn, forget, library
        self._clock = clock
        self._changed = self._soon = False
        self._failures: dict[str, int] = {}
        store.pool_changed = self._note

    def _note(self, name: str) -> None:
        if name not in self._store.pools:
            self._forget(name)
        self._changed = True

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._changed = self._soon = False
            led, begun = self._store.me.leader, self._clock.now().mono
            silent = self._is_ceph_silent()
            pools = list(self._store.pools.values())
            await asyncio.gather(*(guarded(f"StoragePool {p.name}", self._tend(p)) for p in pools))
            again = begun + (SOON if self._soon else EVERY)
            while not self._changed and led == self._store.me.leader:
                if self._clock.now().mono >= again or silent != self._is_ceph_silent():
                    break
                await self._clock.sleep(MOMENT)

    def _is_ceph_silent(self) -> bool:
        return brake.ceph_fell_silent(self._store.me, self._store.policy.timings, self._clock.now())

    async def _tend(self, pool: Pool) -> None:
        try:
            look = await self._look(pool)
        except PortError as unknown:
            log.info("StoragePool %s: %s", pool.name, unknown)
            return
        if not self._store.me.leader:
            return
        try:
            await self._keep(pool, look)
        except PortError as error:
            self._soon = True
            log.info("StoragePool %s not written: %s", pool.name, error)

    async def _keep(self, pool: Pool, look: PoolLook) -> None:
        contents = decide.contents(self._store.world(), pool)
        if not pool.deleting and not pool.protected_by_us:
            await self._protect(pool, on=True)
            return
        wanted = decide.pool(pool, replace(look, contents=contents), self._clock.now().wall)
        if wanted is not None:
            self._store.put_pool(await self._writer.write_pool(pool, wanted))
        elif pool.deleting and pool.protected_by_us and not contents:
            # safety: while there are disks in it, the way to them, and to their fence, must not be
            # forgotten. It is not Ready since it is to be deleted, so nobody makes new ones.
            await self._protect(pool, on=False)

    async def _protect(self, pool: Pool, *, on: bool) -> None:
        written = await self._writer.protect_pool(pool, on)
        if written is None:
            self._store.drop_pool(pool.name)
        else:
            self._store.put_pool(written)

    async def _look(self, pool: Pool) -> PoolLook:
        """What is wrong with it, or how full it is and which disks in it were retained. Raises
        Unavailable while that is unknown.
        """
        now = self._clock.now().mono
        try:
            self._learn(pool, await self._key(pool))
        except Refused as error:
            return PoolLook(Trouble(Reason.CREDENTIALS_MISSING, str(error), now))
        try:
            usage = await self._library.usage(pool)
            uids, leads = frozenset(self._store.servers), self._store.me.leader
            kept = await self._library.kept(pool, uids) if leads else None
        except Refused as refused:
            return PoolLook(Trouble(refused.reason, str(refused), now))
        except PortError as error:
            self._failures[pool.name] = self._failures.get(pool.name, 0) + 1
            # One lost answer is nothing that users should hear of.
            if self._failures[pool.name] < 2 and pool.ready and not self._is_ceph_silent():
                self._soon = True
                raise Unavailable(str(error)) from error
            return PoolLook(Trouble(Reason.UNREACHABLE, f"Ceph does not answer: {error}", now))
        self._failures.pop(pool.name, None)
        if self._is_ceph_silent():  # its monitors answer, its OSDs do not
            return PoolLook(Trouble(Reason.UNREACHABLE, _NO_WRITES, now))
        return PoolLook(usage=(usage.total, usage.used), kept=kept)
