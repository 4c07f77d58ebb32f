"""The hosts' Leases, watched apart from everything else, so that nothing else can delay them.

Judged are moments at which something was seen to change, on our monotonic clock. A watch that says
nothing for two renewals is not trusted: it is listed again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from respawn.adapters.kubernetes import leases
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.resources import LEASES
from respawn.adapters.kubernetes.watch import Change, Event, Interrupted, Snapshot, watch
from respawn.model.base import Now
from respawn.ports.clock import Clock
from respawn.runtime.threads import until

Saw = Callable[[str, str, Now], None]
"""Name of a Lease, its token (empty: there is none), and when that was so."""


LONG = 1.0
"""Seconds for which it must have been away for its return to be told: what follows lists all."""


class LeaseWatch:
    """Tells `saw` of every Lease, in the watch's own thread. `renew` is the hosts' period now.

    `back` is called when the API server can be followed again after it could not for LONG.
    """

    def __init__(
        self, connect: Callable[[], Client], clock: Clock, saw: Saw, *,
        renew: Callable[[], float], back: Callable[[], None] = lambda: None,
        namespace: str = leases.NAMESPACE,
    ) -> None:  # fmt: skip
        self._connect, self._clock, self._saw = connect, clock, saw
        self._renew, self._namespace = renew, namespace
        self._back = back
        self._away_since: float | None = None
        self._names: set[str] = set()

    async def run(self, enough: asyncio.Event) -> None:
        """Work of a LoopThread; begins anew when the period has changed."""
        async with self._connect() as client:
            await until(enough, self._follow(client))

    async def _follow(self, client: Client) -> None:
        renew = self._renew()
        stream = watch(
            client,
            LEASES,
            silence=2 * renew,
            list_deadline=max(1.0, renew),
            namespace=self._namespace,
        )
        async with aclosing(stream):
            await self._listen(stream, renew)

    async def _listen(self, stream: AsyncIterator[Event], renew: float) -> None:
        async for event in stream:
            now = self._clock.now()
            if isinstance(event, Snapshot):
                # What a LIST shows was so at some moment after it began.
                self._all(event, Now(event.begun_at, now.wall))
                self._is_back(now)
            elif isinstance(event, Interrupted):
                self._away_since = now.mono if self._away_since is None else self._away_since
            elif isinstance(event, Change):
                self._one(event, now)
            if self._renew() != renew:
                return

    def _is_back(self, now: Now) -> None:
        since, self._away_since = self._away_since, None
        if since is not None and now.mono - since >= LONG:
            self._back()

    def _all(self, snapshot: Snapshot, now: Now) -> None:
        there = {lease.name: lease.token for lease in map(leases.decode, snapshot.objects)}
        for name in self._names - there.keys():
            self._saw(name, "", now)
        for name, token in there.items():
            self._saw(name, token, now)
        self._names = set(there)

    def _one(self, change: Change, now: Now) -> None:
        lease = leases.decode(change.object)
        gone = change.type == "DELETED"
        (self._names.discard if gone else self._names.add)(lease.name)
        self._saw(lease.name, "" if gone else lease.token, now)
