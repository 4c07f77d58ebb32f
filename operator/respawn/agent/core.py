"""One agent, wired: it renews, beats in need, tends each server, reports and rejoins.

The process around it (watches, the hook's socket, libvirt's events) calls the `on_...` methods and
runs `run()`; the simulator does the same in virtual time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from respawn.agent.endless import endless, say_failed
from respawn.agent.guard import Guard
from respawn.agent.hands import Hands
from respawn.agent.locks import ServerLocks
from respawn.agent.ports import RETRY
from respawn.agent.ports import AgentPorts as AgentPorts
from respawn.agent.reads import SharedReads
from respawn.agent.rejoining import Rejoining
from respawn.agent.reporting import Reporting
from respawn.agent.signs import Signs
from respawn.agent.state import AgentState
from respawn.decide.agent import carry_out
from respawn.model.host import Exit, Identity
from respawn.model.node import Node
from respawn.model.policy import Timings
from respawn.model.server import Server
from respawn.model.sight import HeartServer
from respawn.model.storage import Pool
from respawn.ports.errors import PortError, Unavailable

SCAN_EVERY = 5.0


class Agent:
    """The agent of one host, for one life of its process."""

    def __init__(
        self, me: Identity, ports: AgentPorts, pools: Mapping[str, Pool],
        beaten: float | None = None,
    ) -> None:  # fmt: skip
        """`beaten`: begin of the last beat that the heart process had acknowledged, if any."""
        self.ports, self.pools = ports, dict(pools)
        self.state = AgentState(me, ports.journal)
        self._go_on_counting(beaten)
        locks, reads = ServerLocks(), SharedReads(ports.cluster)
        self.guard = Guard(cluster=reads, host=ports.host, journal=ports.journal, locks=locks)
        self.hands = Hands(
            state=self.state, cluster=reads, hypervisor=ports.hypervisor, host=ports.host,
            epochs=ports.epochs, locks=locks, clock=ports.clock, pools=lambda: self.pools,
        )  # fmt: skip
        self.reporting = Reporting(self.state, ports, wake=self.wake)
        self.rejoining = Rejoining(self.state, ports, self.hands, self.guard)
        self.signs = Signs(
            self.state, ports, changed=self.wake_all, report=self.reporting.due.set,
            api_back=lambda: self.api_back(),
        )  # fmt: skip
        self.state.fence_changed = self._on_fence
        self.api_back: Callable[[], None] = lambda: None
        """Told when the API answers again after it did not."""
        self.failed: Callable[[str, Exception], None] = say_failed
        """Told of what should not have happened; the work goes on."""
        self._scan_due = asyncio.Event()
        self._wakes: dict[str, asyncio.Event] = {}
        self._group: asyncio.TaskGroup | None = None

    def _go_on_counting(self, beaten: float | None) -> None:
        """S6: an agent that is restarted while the host is cut off does not count anew."""
        begun, renewed = self.ports.clock.now().mono, self.ports.journal.contact()
        # Nothing is known of this boot's contact: then no server was started in it either.
        last = max((at for at in (renewed, beaten) if at is not None), default=begun)
        self.state.touch(
            renewed_at=min(begun, last if renewed is None else renewed),
            beaten_at=min(begun, last if beaten is None else beaten),
            begun_at=begun,
        )

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
            self.reporting.due.set()
            self.rejoining.due.set()
            self.wake_all()

    def _on_fence(self) -> None:
        """Whoever has read the Node, the fence is not what it was."""
        self.rejoining.due.set()
        self.wake_all()

    def on_policy(self, generation: int, timings: Timings) -> None:
        """Obey these timings from now on, and say so."""
        self.state.timings, self.state.policy_generation = timings, generation
        self.reporting.due.set()
        self.wake_all()

    def on_pools(self, pools: Mapping[str, Pool]) -> None:
        """These are the pools. By which addresses they are reached is looked at anew."""
        self.pools = dict(pools)
        self._scan_due.set()
        self.wake_all()

    def on_exit(self, gone: Exit) -> None:
        """libvirt says that an incarnation has ended, and how."""
        self.hands.heard(gone)
        self.wake(gone.uid)

    def on_change(self, uid: str) -> None:
        """libvirt says that something about its domain has changed."""
        self.wake(uid)

    def on_beat(self, begun: float) -> None:
        """The heart process had a beat acknowledged that it began at that moment."""
        self.signs.on_heart()
        self.signs.on_beat(begun)

    def on_beat_lost(self) -> None:
        """The heart process had none acknowledged."""
        self.signs.on_heart()
        self.signs.on_beat_lost()

    def heart_servers(self) -> tuple[HeartServer, ...]:
        """What the heart may say of each server."""
        return self.signs.heart_servers()

    # Its life.

    async def run(self) -> None:
        """Work until cancelled. Servers outlive it: its end stops none (S5)."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for what, work in self._work().items():
                group.create_task(endless(what, work, self.ports.clock, self.failed))

    def _work(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "renewing the Lease": self.signs.renew,
            "beating": self.signs.beat_in_need,
            "watching Ceph": self.signs.watch_ceph,
            "watching libvirtd": self.signs.watch_libvirtd,
            "looking at the host": self._scan,
            "reporting": self.reporting.run,
            "rejoining": self.rejoining.run,
        }

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
            except Exception as error:  # noqa: BLE001 - one odd server must not end the others' care
                self.failed(f"tending {uid}", error)
                wait = RETRY
            self.reporting.due.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await event.wait()
        self._wakes.pop(uid, None)
        self.state.forget(uid)

    async def _tend_once(self, uid: str) -> float | None:
        """Seconds until it is tended again without being woken; None: not at all."""
        look = await self.hands.look(uid)
        with suppress(Unavailable):
            await self.hands.owners.identify(look)
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
            self._scan_due.clear()
            with suppress(PortError):
                for look in await self.ports.hypervisor.scan():
                    self.state.looks.setdefault(look.uid, look)
                self.state.me = await self.ports.host.identity()
                self.state.capacity = await self.ports.host.capacity(self.state.node)
                self.state.scanned = True
                self.wake_all()
                self.reporting.due.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(SCAN_EVERY):
                    await self._scan_due.wait()
