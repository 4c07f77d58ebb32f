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


class LeaseWatch:
    """Tells `saw` of every Lease, in the watch's own thread. `renew` is the hosts' period now.

    `back` is called when the API server can be followed again after it could not.
    """

    def __init__(
        self, connect: Callable[[], Client], clock: Clock, saw: Saw, *,
        renew: Callable[[], float], back: Callable[[], None] = lambda: None,
        namespace: str = leases.NAMESPACE,
    ) -> None:  # fmt: skip
        self._connect, self._clock, self._saw = connect, clock, saw
        self._renew, self._namespace = renew, namespace
        self._back, self._is_away = back, False
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
                if self._is_away:
                    self._is_away = False
                    self._back()
            elif isinstance(event, Interrupted):
                self._is_away = True
            elif isinstance(event, Change):
                self._one(event, now)
            if self._renew() != renew:
                return

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
