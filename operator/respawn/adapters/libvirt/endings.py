"""How incarnations end: by us, and then it is no news, or otherwise, and then it is told once.

libvirt itself is never told to destroy: it can only do so by UUID, and would wait for whatever it
is busy with. It tells of every end all the same, by another connection than that of the looks: of
one that we brought about perhaps only after the look that showed it gone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import libvirt

from respawn.adapters.libvirt.events import Changes, DomainEvent, ending, told_by_host
from respawn.adapters.libvirt.processes import Processes
from respawn.adapters.libvirt.reading import logged_ending
from respawn.model.conditions import Reason
from respawn.model.server import domain_name
from respawn.ports.errors import Unavailable

log = logging.getLogger(__name__)
PATIENCE = 3.0
"""Seconds for a QEMU to close its images in order; one whose storage is cut never does."""
DEADLINE = 10.0
FORGOTTEN_WITHIN = 5.0
"""Seconds in which libvirt should have noticed that a QEMU is gone."""
LOGS = Path("/var/log/libvirt/qemu")
LOG_TAIL = 16384
"""Bytes of a log that are looked at: its end is written last."""

This = tuple[str, int]
"""An incarnation: UID and epoch."""


class Endings:
    """Of one host. `known` tells whether libvirt, if it answers, has that (UID, epoch)."""

    def __init__(
        self,
        processes: Processes,
        known: Callable[[str, int], Awaitable[bool]],
        changes: Changes,
    ) -> None:
        self._processes, self._known, self._changes = processes, known, changes
        self._no_news: set[This] = set()
        """Ended by us, or told of already: what libvirt still says of its end is nothing new."""
        self._told_by_host: set[This] = set()

    def not_by_us(self, this: This) -> None:
        """It is about to be started: whatever was ended of it before, its end is news."""
        self._no_news.discard(this)

    def news(self, event: DomainEvent) -> Reason | None:
        """Why an incarnation ended, by its own doing or somebody else's; None: nothing new."""
        this = (event.uid, event.epoch)
        if told_by_host(event):
            self._told_by_host.add(this)
        reason = ending(event, by_host=this in self._told_by_host)
        new = reason is not None and this not in self._no_news
        if event.event == libvirt.VIR_DOMAIN_EVENT_STOPPED:  # the last that is heard of it
            self._told_by_host.discard(this)
            self._no_news.discard(this)
        elif new:
            self._no_news.add(this)
        return reason if new else None

    async def bring_about(self, this: This) -> None:
        """End exactly that incarnation; returns when its QEMU is gone and libvirt knows it."""
        self._no_news.add(this)
        try:
            await self._end_process(this)
            await self._until_forgotten(this)
        except BaseException:
            # Also when given up: whether, and of what, it ends later is news again.
            self._no_news.discard(this)
            raise

    async def _end_process(self, this: This) -> None:
        """Whatever QEMUs there are of it; one that libvirt is about to start is waited for."""
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while True:
            pids = [q.pid for q in await self._processes.fresh() if q.command.incarnation == this]
            for pid in pids:
                # safety: by a pidfd, and only while its own command line names this UID and epoch:
                # a later incarnation is another process.
                await self._processes.end(
                    pid,
                    lambda q: q.command.incarnation == this,
                    patience=PATIENCE,
                    deadline=DEADLINE,
                )
            if pids or not await self._known(*this):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("libvirt has it without a QEMU: it can not be ended now")
            await self._changes.of(this[0])

    async def _until_forgotten(self, this: This) -> None:
        """A moment for libvirt to notice; it is gone all the same if libvirtd is down."""
        deadline = asyncio.get_running_loop().time() + FORGOTTEN_WITHIN
        while await self._known(*this):
            if asyncio.get_running_loop().time() > deadline:
                return
            await self._changes.of(this[0])


def recorded(uid: str, epoch: int) -> Reason | None:
    """From libvirt's log of that QEMU, whose name no other incarnation has. Blocking."""
    path = LOGS / f"{domain_name(uid, epoch)}.log"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL))
            return logged_ending(file.read().decode(errors="replace"))
    except OSError as error:
        log.info("libvirt wrote nothing down: %s", error)
        return None
