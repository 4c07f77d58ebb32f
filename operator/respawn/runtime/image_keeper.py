"""ServerImages: imported in the background, one status write per change of what is the matter.

The leader alone imports. What it was in the middle of when it stopped leading is broken off; the
next leader finds a part that was never verified, and begins again.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from respawn.decide import library as decide
from respawn.model.conditions import Reason
from respawn.model.storage import Image, Pool
from respawn.model.world import Trouble
from respawn.ports.clock import Clock
from respawn.ports.errors import PortError, Refused
from respawn.ports.library import Library, Progress
from respawn.runtime.guarded import guarded
from respawn.runtime.store import Store

log = logging.getLogger(__name__)

PERIOD = 1.0
TELL_EVERY = 10.0
"""Seconds between two lines of progress in the log."""


class ImageWriter(Protocol):
    """What writes an image's status, and its finalizer."""

    async def protect_image(self, read: Image, on: bool) -> Image | None:
        """None: the object is gone with it. Raises Conflict, NotFound, Unavailable."""
        ...

    async def write_image(self, read: Image, image: Image) -> Image:
        """Raises Conflict, NotFound, Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an import ended, and of what; another generation or pool is another import."""

    generation: int
    pool: Pool
    trouble: Trouble


class ImageKeeper:
    """Imports what is not there."""

    def __init__(
        self, *, store: Store, writer: ImageWriter, library: Library, clock: Clock
    ) -> None:  # fmt: skip
        self._store, self._writer = store, writer
        self._library, self._clock = library, clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        """Of what was imported: by which generation, and its bytes."""
        self._failures: dict[str, _Failure] = {}

    async def run(self) -> None:
        """Look at all images, until cancelled."""
        try:
            while True:
                if self._store.me.leader:
                    for image in list(self._store.images.values()):
                        await guarded(f"ServerImage {image.name}", self._tend(image))
                self._break_off()
                await self._clock.sleep(PERIOD)
        finally:
            for task in self._tasks.values():
                task.cancel()

    def _break_off(self) -> None:
        for uid, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[uid]
            elif not self._store.me.leader or not _is_wanted(self._store.images.get(uid)):
                task.cancel()

    async def _tend(self, image: Image) -> None:
        pool, now = self._store.pools.get(image.pool), self._clock.now()
        if image.deleting:
            await self._let_go(image, pool)
            return
        if not image.protected_by_us:
            await self._protect(image, on=True)
            return
        generation, size = self._sizes.get(image.uid, (None, 0))
        # Edited meanwhile, it asks for something else, perhaps, than what was imported.
        if generation == image.generation and pool is not None and not image.ready:
            await self._write(image, decide.imported(image, pool, size, now.wall))
            return
        trouble = self._trouble(image, pool)
        decision = decide.image(
            image, pool, importing=image.uid in self._tasks, trouble=trouble, now=now
        )
        if decision.start and pool is not None:
            self._tasks[image.uid] = asyncio.create_task(
                guarded(f"import of {image.name}", self._import(image, pool))
            )
        if decision.told is not None:
            await self._write(image, decision.told)

    def _trouble(self, image: Image, pool: Pool | None) -> Trouble | None:
        failure = self._failures.get(image.uid)
        if failure is None or pool is None:
            return None
        same = failure.generation == image.generation and failure.pool.fsid == pool.fsid
        return failure.trouble if same else None

    async def _let_go(self, image: Image, pool: Pool | None) -> None:
        if not image.protected_by_us or image.uid in self._tasks:
            return
        try:
            # safety: S10, the user deleted it; to the trash, where clones still find it.
            if pool is not None:
                await self._library.remove_image(image, pool)
        except PortError as error:
            log.info("ServerImage %s cannot be removed yet: %s", image.name, error)
            return
        await self._protect(image, on=False)

    async def _protect(self, image: Image, *, on: bool) -> None:
        try:
            written = await self._writer.protect_image(image, on)
        except PortError as error:
            log.info("finalizer of ServerImage %s not written: %s", image.name, error)
            return
        if written is None:
            self._store.drop_image(image.uid)
        else:
            self._store.put_image(written)

    async def _write(self, image: Image, wanted: Image) -> None:
        try:
            self._store.put_image(await self._writer.write_image(image, wanted))
        except PortError as error:
            log.info("status of ServerImage %s not written: %s", image.name, error)

    async def _import(self, image: Image, pool: Pool) -> None:
        log.info("ServerImage %s: import into StoragePool %s begins", image.name, pool.name)
        try:
            size = await self._library.import_image(image, pool, self._progress(image))
        except PortError as error:
            reason = error.reason if isinstance(error, Refused) else Reason.UNREACHABLE
            trouble = Trouble(reason, str(error), self._clock.now().mono)
            self._failures[image.uid] = _Failure(image.generation, pool, trouble)
            log.warning("ServerImage %s: import failed: %s", image.name, error)
            return
        self._failures.pop(image.uid, None)
        self._sizes[image.uid] = image.generation, size
        log.info("ServerImage %s: imported, %d bytes", image.name, size)

    def _progress(self, image: Image) -> Progress:
        last = self._clock.now().mono

        def progress(done: int, total: int | None) -> None:
            nonlocal last
            now = self._clock.now().mono
            if now - last >= TELL_EVERY:
                last = now
                whole = f" of {total}" if total else ""
                log.info("ServerImage %s: %d%s bytes", image.name, done, whole)

        return progress


def _is_wanted(image: Image | None) -> bool:
    return image is not None and not image.deleting
