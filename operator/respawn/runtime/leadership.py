"""Who leads: this process keeps, or waits for, the leader's Lease.

Its own standing is counted from *before* the renewal that succeeded was sent, so that it ends here
before anybody else may begin.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from respawn.decide.election import Seen, Terms, leads_until, may_take
from respawn.ports.clock import Clock
from respawn.ports.cluster import Lease, Leases
from respawn.ports.errors import NotFound, PortError
from respawn.runtime.store import Store

LEASE = "operator-leader"
log = logging.getLogger(__name__)


class Leadership:
    """Keeps `store.me.leader` and `lease_until` true; calls `elected` when leadership begins."""

    def __init__(
        self, *, store: Store, leases: Leases, clock: Clock, terms: Terms,
        elected: Callable[[], None],
    ) -> None:  # fmt: skip
        self._store, self._leases, self._clock = store, leases, clock
        self._terms, self._elected = terms, elected
        self._seen = Seen()
        self._held: Lease | None = None

    async def run(self) -> None:
        """Renew, or wait for the chance, until cancelled."""
        while True:
            await self._round()
            await self._clock.sleep(self._terms.retry)

    async def _round(self) -> None:
        begun = self._clock.now().mono
        try:
            lease = self._held or await self._read()
            if lease is not None and may_take(self._seen, self._name, self._terms, begun):
                begun = self._clock.now().mono
                self._held = await self._leases.hold_lease(lease, self._name, self._terms.duration)
                self._seen = self._seen.after(self._held.token, self._name, begun)
                self._lead(begun)
        except PortError:
            # Unknown or lost: look at it afresh, and lead only as long as the last renewal says.
            self._held = None
        self._step_down_if_over()

    @property
    def _name(self) -> str:
        return str(self._store.me.owner)

    async def _read(self) -> Lease | None:
        begun = self._clock.now().mono
        try:
            lease = await self._leases.get_lease(LEASE)
        except NotFound:
            lease = Lease(LEASE)
        self._seen = self._seen.after(lease.token, lease.holder, begun)
        return lease

    def _lead(self, begun: float) -> None:
        me = self._store.me
        # A lapse, however short, counts as a new term: keys that came up in it were not decided.
        without_a_gap = me.leader and self._clock.now().mono < me.lease_until
        until = leads_until(begun, self._terms)
        self._store.me = replace(me, leader=True, lease_until=until, api_ok_at=begun)
        if not without_a_gap:
            log.info("%s leads", self._name)
            self._elected()

    def _step_down_if_over(self) -> None:
        me = self._store.me
        if me.leader and self._clock.now().mono >= me.lease_until:
            self._store.me = replace(me, leader=False)
            log.warning("%s leads no more: its Lease could not be renewed in time", self._name)

    async def release(self) -> None:
        """Give it up, so that the standby need not wait. Never raises."""
        held, self._held = self._held, None
        self._store.me = replace(self._store.me, leader=False)
        if held is not None:
            try:
                await self._leases.hold_lease(held, "", self._terms.duration)
            except PortError:
                return
