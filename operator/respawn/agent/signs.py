"""The host's signs of life, and what the outside says back: Lease, beats, blocklist."""

from collections.abc import Callable
from contextlib import suppress

from respawn.agent.ports import AgentPorts
from respawn.agent.state import AgentState
from respawn.model.conditions import Reason
from respawn.model.host import DomainState
from respawn.model.sight import Beat, HeartServer
from respawn.ports.cluster import Lease
from respawn.ports.errors import Conflict, NotFound, PortError, Refused

LOOK_AGAIN = 1.0
LIBVIRTD_LATE = 4.0
"""Seconds, and more than one question, for which libvirtd is silent before that is told: one that
is restarted takes a moment."""
HEART_LATE = 10.0
"""Seconds after which a silent heart process is told of: one that is restarted takes a few."""
CONFLICTS = 4
"""Tries within one renewal's time while somebody else writes this host's Lease."""


class Signs:
    """Keeps `state.contact` true; `changed` is called when every server is to be thought over,
    `report` when the Node's status should say something new."""

    def __init__(
        self, state: AgentState, ports: AgentPorts, *, changed: Callable[[], None],
        report: Callable[[], None], api_back: Callable[[], None],
    ) -> None:  # fmt: skip
        self.state, self.ports = state, ports
        self._changed, self._report, self._api_back = changed, report, api_back
        self._api_lost = False
        self._counter = 0
        self._heart_at = ports.clock.now().mono

    def on_beat(self, begun: float) -> None:
        """The heart process had a beat acknowledged that it began at that moment."""
        contact = self.state.contact
        self.state.touch(
            beaten_at=max(begun, contact.beaten_at),  # heart and agent both beat: one may be late
            ceph_since=begun if contact.ceph_since is None else contact.ceph_since,
        )
        self.on_storage(failing=False)

    def on_beat_lost(self) -> None:
        """The heart process had none acknowledged."""
        self.state.touch(ceph_since=None)

    def on_heart(self) -> None:
        """The heart process has given a sign, whatever Ceph answered it."""
        self._heart_at = self.ports.clock.now().mono
        self._on_heart(failing=False)

    def _on_heart(self, *, failing: bool) -> None:
        if self.state.heart_failing != failing:
            self.state.heart_failing = failing
            self._report()

    def on_storage(self, *, failing: bool) -> None:
        """This host's own storage I/O fails, or works again: only its word counts for that."""
        if self.state.storage_failing != failing:
            self.state.storage_failing = failing
            self._report()

    async def renew(self) -> None:
        """Renew the host's Lease for ever."""
        lease = Lease(self.state.me.node)
        while True:
            begun = self.ports.clock.now().mono
            try:
                lease = await self._hold(lease)
                self._renewed(begun)
            except Conflict:
                # Somebody else wrote it: read it first, but not in a race as fast as both can.
                lease = Lease(self.state.me.node)
                self.state.touch(api_answers=True)
                await self.ports.clock.sleep(self.state.timings.lease_renew / CONFLICTS)
                continue
            except PortError:
                self._api_lost = True
                self.state.touch(api_answers=False)
            spent = self.ports.clock.now().mono - begun
            await self.ports.clock.sleep(max(0.05, self.state.timings.lease_renew - spent))

    def _renewed(self, begun: float) -> None:
        self.state.touch(renewed_at=begun, api_answers=True)
        self.state.journal.keep_contact(begun)
        if self._api_lost:
            self._api_lost = False
            self._api_back()

    async def _hold(self, lease: Lease) -> Lease:
        name, holder = self.state.me.node, f"{self.state.me.node}/{self.state.me.boot_id}"
        if not lease.resource_version:
            with suppress(NotFound):
                lease = await self.ports.cluster.get_lease(name)
        return await self.ports.cluster.hold_lease(lease, holder, self.state.timings.fence_after)

    async def beat_in_need(self) -> None:
        """A silent heart process neither pauses nor condemns the host: beat ourselves."""
        while True:
            heartbeat = self.state.timings.heartbeat
            begun = self.ports.clock.now().mono
            if begun - self.state.contact.beaten_at >= 2 * heartbeat:
                await self._beat(begun)
            if begun - self._heart_at >= HEART_LATE:
                self._on_heart(failing=True)
            await self.ports.clock.sleep(heartbeat)

    async def _beat(self, begun: float) -> None:
        self._counter += 1
        me = self.state.me
        try:
            await self.ports.heart.beat(
                Beat(me.machine_id, me.boot_id, self._counter, self.heart_servers())
            )
            self.on_beat(begun)
            self.state.journal.keep_contact(begun)
        except Refused as refused:
            # Blocklisted: Ceph answers, with a no. So it can be reached.
            if refused.reason == Reason.BLOCKLISTED:
                self.on_storage(failing=False)
            await self._read_blocklist()
        except PortError:
            self.on_beat_lost()
            if begun - self.state.contact.beaten_at >= self.state.timings.pause_after:
                self.on_storage(failing=True)

    def heart_servers(self) -> tuple[HeartServer, ...]:
        """What the heart may say of each server."""
        return tuple(
            HeartServer(uid, look.domain.epoch, str(look.state))
            for uid, look in sorted(self.state.looks.items())
            if look.domain is not None
        )

    async def watch_ceph(self) -> None:
        """While contact is in doubt: is the host blocklisted?"""
        while True:
            if self._in_doubt():
                await self._read_blocklist()
                self._changed()
            await self.ports.clock.sleep(LOOK_AGAIN)

    async def watch_libvirtd(self) -> None:
        """Does it answer? Its servers run on without it, but nobody sees how, and none starts."""
        clock, failed = self.ports.clock, 0
        answered = clock.now().mono
        while True:
            try:
                await self.ports.hypervisor.ping()
                answered, failed = clock.now().mono, 0
            except PortError:
                failed += 1
            failing = failed > 1 and clock.now().mono - answered >= LIBVIRTD_LATE
            if self.state.hypervisor_failing != failing:
                self.state.hypervisor_failing = failing
                self._report()
            await self.ports.clock.sleep(LOOK_AGAIN)

    def _in_doubt(self) -> bool:
        contact, timings = self.state.contact, self.state.timings
        now = self.ports.clock.now().mono
        late = now - contact.renewed_at > 2 * timings.lease_renew
        late = late or now - contact.beaten_at > 3 * timings.heartbeat
        return late or any(
            look.paused_by_us and look.state is DomainState.PAUSED
            for look in self.state.looks.values()
        )

    async def _read_blocklist(self) -> None:
        begun = self.ports.clock.now().mono
        try:
            listing = await self.ports.host.blocklist()
        except PortError:
            self.state.touch(ceph_since=None)
            return
        since = self.state.contact.ceph_since
        self.state.touch(
            blocklist=listing, blocklist_at=begun, ceph_since=begun if since is None else since
        )
