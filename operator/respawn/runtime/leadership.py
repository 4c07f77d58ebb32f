"""Who leads: this process keeps, or waits for, the leader's Lease.

Its own standing is counted from *before* the renewal that succeeded was sent, so that it ends here
before anybody else may begin. All of this may run in another thread than what asks for `standing`.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from respawn.decide.election import Seen, Standing, Terms, leads_until, may_take
from respawn.ports.clock import Clock
from respawn.ports.cluster import Lease, Leases
from respawn.ports.errors import NotFound, PortError

LEASE = "operator-leader"
log = logging.getLogger(__name__)


class Leadership:
    """Keeps `standing` true, for readers in any thread; calls `elected` when a term begins.

    `elected` is called where `run` runs: who runs it in another thread makes it a call across.
    """

    def __init__(
        self, *, name: str, clock: Clock, terms: Terms, elected: Callable[[], object]
    ) -> None:
        self._name, self._clock, self._terms = name, clock, terms
        self.elected = elected
        self.standing = Standing()
        self._seen = Seen()
        self._held: Lease | None = None

    async def run(self, leases: Leases) -> None:
        """Renew, or wait for the chance, until cancelled."""
        while True:
            await self._round(leases)
            await self._clock.sleep(self._terms.retry)

    async def _round(self, leases: Leases) -> None:
        begun = self._clock.now().mono
        try:
            lease = self._held or await self._read(leases)
            if may_take(self._seen, self._name, self._terms, begun):
                begun = self._clock.now().mono
                self._held = await leases.hold_lease(lease, self._name, self._terms.duration)
                self._seen = self._seen.after(self._held.token, self._name, begun)
                self._lead(begun)
        except PortError:
            # Unknown or lost: look at it afresh, and lead only as long as the last renewal says.
            self._held = None
        self._step_down_if_over()

    async def _read(self, leases: Leases) -> Lease:
        begun = self._clock.now().mono
        try:
            lease = await leases.get_lease(LEASE)
        except NotFound:
            lease = Lease(LEASE)
        self._seen = self._seen.after(lease.token, lease.holder, begun)
        return lease

    def _lead(self, begun: float) -> None:
        before = self.standing
        self.standing = Standing(True, leads_until(begun, self._terms), begun)
        # A lapse, however short, counts as a new term: keys that came up in it were not decided.
        # The clock is asked only now: whoever still saw the standing before had asked it earlier.
        if not before.leader or self._clock.now().mono >= before.until:
            log.info("%s leads", self._name)
            self.elected()

    def _step_down_if_over(self) -> None:
        if self.standing.leader and self._clock.now().mono >= self.standing.until:
            self.standing = replace(self.standing, leader=False)
            log.warning("%s leads no more: its Lease could not be renewed in time", self._name)

    async def release(self, leases: Leases) -> None:
        """Give it up, so that the standby need not wait; `run` has ended. Never raises PortError.

        It is read first: a renewal that was broken off may have come through.
        """
        self.standing = replace(self.standing, leader=False)
        self._held = None
        try:
            lease = await leases.get_lease(LEASE)
            if lease.holder == self._name:
                await leases.hold_lease(lease, "", self._terms.duration)
        except PortError as error:
            log.info("the leader's Lease was not given up, it runs out by itself: %s", error)
