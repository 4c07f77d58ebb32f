"""Port Hypervisor: the local libvirt and the QEMU processes of this host."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt

from respawn.adapters.libvirt.addresses import GuestAddresses
from respawn.adapters.libvirt.ceph_access import ensure_secret
from respawn.adapters.libvirt.connection import LOCAL, LongCalls, Workers
from respawn.adapters.libvirt.domain_xml import DomainSettings, domain_xml
from respawn.adapters.libvirt.domains import Seen, exact, judged, see, undefine
from respawn.adapters.libvirt.endings import Endings, recorded
from respawn.adapters.libvirt.errors import of_libvirt
from respawn.adapters.libvirt.events import Changes, DomainEvent, Events
from respawn.adapters.libvirt.journal import FOLDER, Marks, RunJournal
from respawn.adapters.libvirt.names import incarnation_of
from respawn.adapters.libvirt.processes import Processes
from respawn.model.conditions import Reason
from respawn.model.host import DomainState, Exit, Incarnation, Look
from respawn.model.node import ReportState, ServerReport
from respawn.model.server import domain_name
from respawn.ports.errors import Conflict, NotFound, Refused, Unavailable
from respawn.ports.hypervisor import DomainOrder

log = logging.getLogger(__name__)
LOOK_DEADLINE = 4.0
"""Longer than the hook's: a look at a domain that is asked about waits until it is answered."""
LOOKING = 8
"""Looks side by side, so that one that waits for a hook holds up none of the others."""
CREATE_DEADLINE = 60.0
ORDER_DEADLINE = 5.0
PAUSE_DEADLINE = 5.0
CREATING = 10
"""Domains that are created side by side, as by OpenStack's `max_concurrent_builds`. With fewer, the
last of a crowd wait until the first are whole, beside guests that boot already."""
_REPORTED = {
    DomainState.RUNNING: ReportState.RUNNING,
    DomainState.PAUSED: ReportState.PAUSED,
    DomainState.STARTING: ReportState.STARTING,
}


class LibvirtHypervisor:
    """All calls run in native threads; the object belongs to the event loop it is started in.

    `on_change(uid)` tells that something about a server's domain has changed, `on_exit` how an
    incarnation ended unless we ended it, `on_connected` that events were lost: look at everything.
    """

    def __init__(
        self,
        settings: DomainSettings,
        *,
        boot_id: str,
        journal: RunJournal,
        on_change: Callable[[str], None],
        on_exit: Callable[[Exit], None],
        on_connected: Callable[[], None],
        processes: Processes | None = None,
        uri: str = LOCAL,
        folder: Path = FOLDER,
        keyring: Path | None = None,
    ) -> None:
        self._settings, self._boot_id, self._journal, self._uri = settings, boot_id, journal, uri
        self._on_change, self._on_exit, self._on_connected = on_change, on_exit, on_connected
        self._keyring = keyring or Path(f"/etc/ceph/ceph.client.{settings.ceph_client}.keyring")
        self._paused_by_us = Marks(folder / "paused")
        self.processes = processes or Processes()
        self._looks = Workers(uri, "looks", threads=LOOKING)
        self._creates = Workers(uri, "creates", threads=CREATING)
        self._orders = Workers(uri, "orders")
        self._addresses = GuestAddresses(uri, on_change)
        self._events: Events | None = None
        self._changes = Changes()
        self._long_calls = LongCalls(uri)
        self._endings = Endings(self.processes, self._is_known, self._changes)
        self._over_for_good: set[tuple[str, int]] = set()
        """Admitted in this boot, and gone since: a scan need not ask for all there ever was."""

    def start(self) -> None:
        """Listen for events; call it in the event loop."""
        loop = asyncio.get_running_loop()
        self._events = Events(
            self._uri, loop, on_event=self._handle, on_connected=self._on_connected
        )

    def close(self) -> None:
        """Let go of everything; no server is touched."""
        if self._events is not None:
            self._events.close()
        for workers in (self._looks, self._creates, self._orders, self._addresses):
            workers.close()

    # Looking.

    async def ping(self) -> None:
        """libvirtd answers, as of now."""
        await self._looks.call(lambda c: c.getLibVersion(), LOOK_DEADLINE)

    async def look(self, uid: str) -> Look:
        """The domain with that UUID in any state, and its QEMU processes, both as of now.

        With libvirtd silent, presence is told from /proc alone (its state unknown); absence is not:
        Unavailable is raised.
        """
        try:
            seen = await self._see(uid)
            silence = None
        except Unavailable as error:
            seen, silence = None, error
        here = [q for q in await self.processes.fresh() if q.command.uid == uid]
        if silence is not None and not here:
            raise silence
        return judged(uid, seen, here, boot_id=self._boot_id, marked=self._paused_by_us.has)

    async def _see(self, uid: str) -> Seen | None:
        """The domain object, without a definition that somebody made of it.

        That would be there, "shut off", for ever, and in the way of every start on this host.
        """
        seen = await self._looks.call(lambda c: see(c, uid), LOOK_DEADLINE)
        if seen is None or not seen.defined or incarnation_of(seen.name) is None:
            return seen
        name = seen.name
        try:
            await self._orders.call(lambda c: undefine(c, uid, name), ORDER_DEADLINE)
            log.warning("%s was defined by somebody: its definition was taken away again", name)
        except (NotFound, Refused) as error:  # the next look shows whether it is still there
            log.warning("the definition of %s cannot be taken away: %s", name, error)
        return await self._looks.call(lambda c: see(c, uid), LOOK_DEADLINE)

    async def scan(self) -> tuple[Look, ...]:
        """A look at every server of ours there is on this host, running or half-started.

        Whatever has got past the hook is in the journal of this boot, and what runs is in /proc:
        no list call is needed, which would hang while a hook runs.
        """
        admitted = self._journal.admitted()
        running = {q.command.incarnation for q in await self.processes.fresh()}
        uids = {this[0] for this in running if this} | {
            u for u, _ in admitted - self._over_for_good
        }
        looks = await asyncio.gather(*(self.look(uid) for uid in sorted(uids)))
        gone = {look.uid for look in looks if look.absent}
        # safety: absent, by a look that began after it was admitted: no epoch is admitted twice.
        self._over_for_good |= {this for this in admitted if this[0] in gone}
        return tuple(look for look in looks if not look.absent)

    async def _is_known(self, uid: str, epoch: int) -> bool:
        """Whether libvirt, if it answers, has a domain of that incarnation."""
        try:
            seen = await self._looks.call(lambda c: see(c, uid), LOOK_DEADLINE)
        except Unavailable:
            return False
        return seen is not None and seen.name == domain_name(uid, epoch)

    # Starting.

    async def create(self, order: DomainOrder) -> Incarnation:
        """Create and start it. libvirt asks the hook meanwhile."""
        uid, epoch = order.server.uid, order.server.placement.epoch
        self._endings.not_by_us((uid, epoch))
        try:
            xml = domain_xml(order, self._settings)
        except ValueError as error:
            raise Refused(Reason.START_FAILED, str(error)) from error
        pools = {order.pools[d.pool].fsid: order.pools[d.pool] for d in order.server.spec.disks}

        def work(connection: "libvirt.virConnect") -> None:
            Path(self._settings.consoles).mkdir(parents=True, exist_ok=True)
            for pool in pools.values():
                ensure_secret(connection, pool, self._settings.ceph_client, self._keyring)
            # safety: placed here, as the caller has read just now; libvirt asks the hook, which
            # asks again. Transient: nothing starts it a second time.
            connection.createXML(xml, libvirt.VIR_DOMAIN_NONE)

        try:
            await self._creates.call(work, CREATE_DEADLINE)
        except Conflict as error:
            found = (await self.look(uid)).domain
            if found is None or not found.epoch:  # or one that is not ours has its UUID
                raise Refused(Reason.START_FAILED, str(error)) from error
            raise
        except OSError as error:
            # no keyring, or no place for consoles: libvirt was not asked yet
            raise Refused(Reason.START_FAILED, str(error)) from error
        domain = (await self.look(uid)).domain
        created = domain is not None and domain.epoch == epoch
        return domain if domain and created else Incarnation(uid, epoch, order.me.boot_id)

    # Ending.

    async def shut_down(self, incarnation: Incarnation) -> None:
        """Send the guest an ACPI power-off; done at once."""
        uid, name = incarnation.uid, domain_name(incarnation.uid, incarnation.epoch)

        def work(connection: "libvirt.virConnect") -> None:
            # safety: a request to the guest of this very incarnation; the caller has read that
            # it must end.
            exact(connection, uid, name).shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

        await self._orders.call(work, ORDER_DEADLINE)

    async def kill(self, incarnation: Incarnation) -> None:
        """End exactly that incarnation; returns when its QEMU is gone and libvirt knows it."""
        this = (incarnation.uid, incarnation.epoch)
        # safety: the caller has read, under the server's lock, that this incarnation must end.
        await self._endings.bring_about(this)
        self._paused_by_us.drop(*this)

    # Pausing.

    async def suspend(self, incarnation: Incarnation) -> None:
        """Pause it and mark it as paused by us; returns when it is seen to stand still.

        libvirt's own call returns only when the guest's I/O has drained, which it does not while
        the storage is away; the guest stands still at once.
        """
        this = (incarnation.uid, incarnation.epoch)
        look = await self.look(incarnation.uid)
        if look.domain is None or look.domain.epoch != incarnation.epoch:
            raise NotFound(f"no {domain_name(*this)} here")
        if look.state is DomainState.PAUSED and not look.paused_by_us:
            return  # a person's pause: not ours to end
        self._paused_by_us.put(*this)  # before it: a mark on a running domain says nothing
        if look.state is not DomainState.PAUSED:
            # safety: a paused guest loses nothing, and can write nothing.
            call = self._order("suspend", this, lambda domain: domain.suspend())
            await self._until(this, DomainState.PAUSED, call)

    async def resume(self, incarnation: Incarnation) -> None:
        """Let it run on, and take the mark off."""
        this = (incarnation.uid, incarnation.epoch)
        # safety: the caller has read that it is still placed here and not fenced; the name is
        # compared, so that no other incarnation is resumed.
        call = self._order("resume", this, lambda domain: domain.resume())
        await self._until(this, DomainState.RUNNING, call)
        self._paused_by_us.drop(*this)

    def _order(
        self, what: str, this: tuple[str, int], order: Callable[["libvirt.virDomain"], Any]
    ) -> "asyncio.Future[Any]":
        name = domain_name(*this)
        return self._long_calls.begin(f"{what} {name}", lambda c: order(exact(c, this[0], name)))

    async def _until(
        self, this: tuple[str, int], wanted: DomainState, call: "asyncio.Future[Any]"
    ) -> None:
        """Until libvirt shows the state; the call's own failure is raised, its delay is not."""
        deadline = asyncio.get_running_loop().time() + PAUSE_DEADLINE
        while asyncio.get_running_loop().time() < deadline:
            look = await self.look(this[0])
            if look.domain is None or look.domain.epoch != this[1]:
                raise NotFound(f"no {domain_name(*this)} here any more")
            if look.state is wanted:
                return
            if call.done() and (error := call.exception()) is not None:
                raise of_libvirt(error) if isinstance(error, libvirt.libvirtError) else error
            await self._changes.of(this[0])
        raise Unavailable(f"it is not {wanted} within {PAUSE_DEADLINE:g} s")

    # Telling.

    async def details(self, look: Look) -> ServerReport | None:
        """Addresses, readiness and start time of a running one, as far as they are known now."""
        domain = look.domain
        state = _REPORTED.get(look.state) if look.state is not None else None
        if domain is None or state is None:
            return None
        known = self._addresses.known(domain)
        return ServerReport(
            uid=domain.uid,
            epoch=domain.epoch,
            state=state,
            reason=Reason.PAUSED if state is ReportState.PAUSED else "",
            addresses=known.addresses,
            guest_ready=known.guest_ready,
            started=domain.started,
        )

    async def recorded_ending(self, uid: str, epoch: int) -> Reason | None:
        """From libvirt's log of that QEMU, whose name no other incarnation has."""
        return await asyncio.to_thread(recorded, uid, epoch)

    def _handle(self, event: DomainEvent) -> None:
        this = (event.uid, event.epoch)
        if event.event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            self._paused_by_us.drop(*this)
            self._addresses.forget(event.uid)
        reason = self._endings.news(event)
        if reason is not None:
            self._on_exit(Exit(*this, reason))
        self._changes.tell(event.uid)
        self._on_change(event.uid)
