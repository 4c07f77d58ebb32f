"""One agent, wired: renews, beats in need, tends each server, reports, rejoins.

The process around it (watches, the hook's socket, libvirt's events) calls the `on_...` methods and
runs `run()`; the simulator does the same in virtual time.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from respawn.agent.guard import Guard
from respawn.agent.hands import Hands
from respawn.agent.locks import ServerLocks
from respawn.agent.state import AgentState
from respawn.decide.agent import carry_out, rejoin, report
from respawn.model.conditions import Reason
from respawn.model.host import DomainState, Exit, Identity
from respawn.model.node import HostStatus, Node, ReportState
from respawn.model.policy import Timings
from respawn.model.server import Server
from respawn.model.sight import Beat, HeartServer
from respawn.model.storage import Pool
from respawn.ports.clock import Clock
from respawn.ports.cluster import HostCluster, Lease
from respawn.ports.errors import Conflict, NotFound, PortError, Refused, Unavailable
from respawn.ports.heart import HeartWrites
from respawn.ports.hypervisor import Host, Hypervisor, Journal

SCAN_EVERY = 5.0
RETRY = 1.0


@dataclass(frozen=True)
class AgentPorts:
    """Everything outside that an agent needs."""

    cluster: HostCluster
    hypervisor: Hypervisor
    journal: Journal
    host: Host
    heart: HeartWrites
    clock: Clock


class Agent:
    """The agent of one host, for one life of its process."""

    def __init__(self, me: Identity, ports: AgentPorts, pools: Mapping[str, Pool]) -> None:
        self.ports, self.pools = ports, dict(pools)
        self.state = AgentState(me, ports.journal)
        started = ports.clock.now().mono
        self.state.touch(renewed_at=started, beaten_at=started)
        locks = ServerLocks()
        self.guard = Guard(
            cluster=ports.cluster, host=ports.host, journal=ports.journal, locks=locks
        )
        self.hands = Hands(
            state=self.state, cluster=ports.cluster, hypervisor=ports.hypervisor, host=ports.host,
            locks=locks, clock=ports.clock, pools=lambda: self.pools,
        )  # fmt: skip
        self._wakes: dict[str, asyncio.Event] = {}
        self._reporting = asyncio.Event()
        self._rejoining = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._counter = 0

    # What the process around it tells.

    def on_server(self, server: Server) -> None:
        """A server that is, or was, placed here."""
        if self.state.put_server(server):
            self.wake(server.uid)

    def on_server_gone(self, uid: str) -> None:
        """The watch no longer has it here: moved, or deleted. Not an order to kill."""
        known = self.state.servers.pop(uid, None)
        if known is not None:
            self.wake(uid)

    def on_node(self, node: Node) -> None:
        """The own Node."""
        if self.state.put_node(node):
            self._reporting.set()
            self._rejoining.set()
            self.wake_all()

    def on_policy(self, generation: int, timings: Timings) -> None:
        """Obey these timings from now on, and say so."""
        self.state.timings, self.state.policy_generation = timings, generation
        self._reporting.set()
        self.wake_all()

    def on_exit(self, gone: Exit) -> None:
        """libvirt says that an incarnation has ended, and how."""
        self.state.exits[gone.uid] = gone
        self.wake(gone.uid)

    def on_change(self, uid: str) -> None:
        """libvirt says that something about its domain has changed."""
        self.wake(uid)

    def on_beat(self, begun: float) -> None:
        """The heart process had a beat acknowledged that it began at that moment."""
        since = self.state.contact.ceph_since
        self.state.touch(beaten_at=begun, ceph_since=begun if since is None else since)
        self.on_storage(failing=False)

    def on_beat_lost(self) -> None:
        """The heart process had none acknowledged."""
        self.state.touch(ceph_since=None)

    def on_storage(self, *, failing: bool) -> None:
        """This host's own storage I/O fails, or works again: only its word counts for that."""
        if self.state.storage_failing != failing:
            self.state.storage_failing = failing
            self._reporting.set()

    # Its life.

    async def run(self) -> None:
        """Work until cancelled. Servers outlive it: its end stops none (S5)."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for loop in (
                self._renew, self._beat_in_need, self._watch_ceph, self._scan, self._report,
                self._rejoin,
            ):  # fmt: skip
                group.create_task(loop())

    def wake(self, uid: str) -> None:
        """Tend that server now."""
        event = self._wakes.get(uid)
        if event is None and self._group is not None:
            event = self._wakes[uid] = asyncio.Event()
            self._group.create_task(self._tend(uid, event))
        if event is not None:
            event.set()

    def wake_all(self) -> None:
        """Tend every server."""
        for uid in sorted({*self.state.servers, *self.state.looks}):
            self.wake(uid)

    # Servers.

    async def _tend(self, uid: str, event: asyncio.Event) -> None:
        """One server: look, decide, do, again; a lost call only means another look."""
        while not self._is_over(uid):
            event.clear()
            wait: float | None = None
            try:
                wait = await self._tend_once(uid)
            except PortError:
                wait = RETRY
            self._reporting.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await event.wait()
        self._wakes.pop(uid, None)
        self.state.forget(uid)

    async def _tend_once(self, uid: str) -> float | None:
        """Seconds until it is tended again without being woken; None: not at all."""
        look = await self.hands.look(uid)
        with suppress(Unavailable):
            await self.hands.identify(look)
        now = self.ports.clock.now().mono
        decision = carry_out.decide(self.state.view(), uid, now)
        if decision.step is not None:
            before = self.state.view()
            await self.hands.do(decision.step)
            return 0.0 if self.state.view() != before else RETRY
        return None if decision.next_check is None else max(0.01, decision.next_check - now)

    def _is_over(self, uid: str) -> bool:
        """Neither here nor to be here."""
        server, look = self.state.servers.get(uid), self.state.looks.get(uid)
        placed_here = server is not None and server.here == self.state.me.node
        return not placed_here and look is not None and look.absent

    async def _scan(self) -> None:
        """Find what no watch and no event told of."""
        while True:
            with suppress(PortError):
                for look in await self.ports.hypervisor.scan():
                    self.state.looks.setdefault(look.uid, look)
                self.state.me = await self.ports.host.identity()
                self.state.capacity = await self.ports.host.capacity(self.state.node)
                self.wake_all()
                self._reporting.set()
            await self.ports.clock.sleep(SCAN_EVERY)

    # Contact.

    async def _renew(self) -> None:
        lease = Lease(self.state.me.node)
        while True:
            begun = self.ports.clock.now().mono
            try:
                lease = await self._hold(lease)
                self.state.touch(renewed_at=begun, api_answers=True)
            except Conflict:
                lease = Lease(self.state.me.node)
                continue
            except PortError:
                self.state.touch(api_answers=False)
            spent = self.ports.clock.now().mono - begun
            await self.ports.clock.sleep(max(0.05, self.state.timings.lease_renew - spent))

    async def _hold(self, lease: Lease) -> Lease:
        name, holder = self.state.me.node, f"{self.state.me.node}/{self.state.me.boot_id}"
        if not lease.resource_version:
            with suppress(NotFound):
                lease = await self.ports.cluster.get_lease(name)
        return await self.ports.cluster.hold_lease(lease, holder, self.state.timings.fence_after)

    async def _beat_in_need(self) -> None:
        """A silent heart process neither pauses nor condemns the host: beat ourselves."""
        while True:
            heartbeat = self.state.timings.heartbeat
            begun = self.ports.clock.now().mono
            if begun - self.state.contact.beaten_at >= 2 * heartbeat:
                await self._beat(begun)
            await self.ports.clock.sleep(heartbeat)

    async def _beat(self, begun: float) -> None:
        self._counter += 1
        me = self.state.me
        try:
            await self.ports.heart.beat(
                Beat(me.machine_id, me.boot_id, self._counter, self.heart_servers())
            )
            self.on_beat(begun)
        except Refused:
            # Blocklisted: Ceph answers, with a no.
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

    async def _watch_ceph(self) -> None:
        """While contact is in doubt: is the host blocklisted?"""
        while True:
            if self._in_doubt():
                await self._read_blocklist()
                self.wake_all()
            await self.ports.clock.sleep(RETRY)

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

    # Reports.

    async def _report(self) -> None:
        """Keep our part of our Node true; written only when it says something new."""
        while True:
            await self._reporting.wait()
            self._reporting.clear()
            try:
                await self._write_report()
            except PortError:
                self._reporting.set()
                await self.ports.clock.sleep(RETRY)

    async def _write_report(self) -> None:
        node = self.state.node or await self.ports.cluster.get_node(self.state.me.node)
        for _ in range(8):
            wanted = report.status(self.state.view(), node, self.state.details)
            if wanted == node.host:
                self.state.put_node(node)
                return
            try:
                # safety: a registration is a compare-and-set on the node as read in this boot, so
                # one of a former boot that comes late is refused.
                node = await self.ports.cluster.write_host(node, wanted)
                self.state.put_node(node)
                self._told(wanted)
                return
            except Conflict:
                node = await self.ports.cluster.get_node(node.name)

    def _told(self, host: HostStatus) -> None:
        """Who was told failed or ended needs no further mention once the API moves on."""
        for said in host.servers:
            if said.state in (ReportState.FAILED, ReportState.ENDED):
                self.wake(said.uid)

    # Rejoin.

    async def _rejoin(self) -> None:
        """S4: Fenced(g) -> kill all, see none, say so."""
        while True:
            await self._rejoining.wait()
            self._rejoining.clear()
            if rejoin.pending(self.state.node, self.state.me.boot_id) is None:
                continue
            try:
                done = await self._become_clean()
            except PortError:
                done = False
            if not done:
                self._rejoining.set()
                await self.ports.clock.sleep(RETRY)

    async def _become_clean(self) -> bool:
        node = await self.ports.cluster.get_node(self.state.me.node)
        self.state.put_node(node)
        generation = rejoin.pending(node, self.state.me.boot_id)
        if generation is None:
            return True
        for look in await self.ports.hypervisor.scan():
            self.state.looks[look.uid] = look
        for uid in rejoin.must_kill(self.state.view()):
            if await self.hands.kill(uid):
                look = self.state.looks[uid]
                if look.domain is not None:
                    self.on_exit(Exit(uid, look.domain.epoch, Reason.HOST_FENCED))
            await self.hands.look(uid)
        present = tuple(look.uid for look in await self.ports.hypervisor.scan() if not look.absent)
        if not rejoin.is_clean(present, await self.ports.host.pool_processes()):
            return False
        # safety: seen clean after Fenced(g) was read; the write holds only for that very node
        # state, so a report of an older fence can never lift a newer one.
        return await self._say_clean(generation)

    async def _say_clean(self, generation: int) -> bool:
        fresh = await self.ports.cluster.get_node(self.state.me.node)
        if rejoin.pending(fresh, self.state.me.boot_id) != generation:
            return False
        host = replace(fresh.host, clean_generation=generation)
        try:
            self.state.put_node(await self.ports.cluster.write_host(fresh, host))
        except Conflict:
            return False
        return True
