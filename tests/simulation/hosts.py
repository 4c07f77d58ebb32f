"""Hosts that crash, reboot and freeze, with their agent and heart."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.api import ApiPort, FakeApi
from tests.simulation.ceph import CephPort, FakeCeph, HeartPort
from tests.simulation.clock import SimClock
from tests.simulation.libvirt import FakeLibvirt, HypervisorPort
from tests.simulation.net import Gate, Kernel, Net, Process
from tests.simulation.truth import Truth

from respawn.agent.core import Agent, AgentPorts
from respawn.model.conditions import Reason
from respawn.model.host import Ask, Exit, GuardAnswer, Identity
from respawn.model.node import Capacity, Node
from respawn.model.sight import Beat
from respawn.model.storage import Entry
from respawn.ports.errors import PortError, Refused

GIB = 2**30


class SimJournal:
    """`Journal`: on a tmpfs of one boot."""

    def __init__(self) -> None:
        self._marks: set[tuple[str, int]] = set()
        self._contact: float | None = None

    def admitted(self) -> frozenset[tuple[str, int]]:
        return frozenset(self._marks)

    def contact(self) -> float | None:
        return self._contact

    def keep_contact(self, at: float) -> None:
        self._contact = at

    def admit(self, uid: str, epoch: int) -> bool:
        new = (uid, epoch) not in self._marks
        self._marks.add((uid, epoch))
        return new


class SimHost:
    """One machine, over all its boots."""

    def __init__(
        self, name: str, address: str, *, net: Net, api: FakeApi, ceph: FakeCeph, truth: Truth,
        rng: Random,
    ) -> None:  # fmt: skip
        self.name, self.address = name, address
        self.net, self.api, self.ceph, self.truth = net, api, ceph, truth
        self.clock = SimClock(rng.uniform(0, 1e5), rng.uniform(-100, 100))
        self.boots = 0
        self.machine_id = f"machine-{name}"
        self.on = False
        self.agent_stays_dead = False
        self.kernel = Kernel(address)
        self.libvirt: FakeLibvirt | None = None
        self.agent: Agent | None = None
        self.agent_process: Process | None = None
        self.heart_process: Process | None = None
        self.journal = SimJournal()
        self.memory = 64 * GIB
        self.stale_list: Node | None = None
        """What the next agent's watch shows of its Node first: an old version."""
        self.watch_begins_after = 0.0
        self.looked = Gate()
        """Shut: what was seen in /proc reaches the agent only later."""
        self.acknowledged: float | None = None
        """Begin of the heart's last beat of this boot that came back."""
        self._counter = 0

    @property
    def boot_id(self) -> str:
        return f"{self.name}-boot-{self.boots}"

    # Power.

    def power_on(self) -> None:
        if self.on:
            return
        self.boots += 1
        self.on = True
        bugs = self.kernel.bugs
        self.kernel = Kernel(self.address)
        self.kernel.bugs = bugs
        self.journal = SimJournal()
        self.acknowledged = None
        self.libvirt = FakeLibvirt(
            host=self.name, boot=self.boot_id, kernel=self.kernel, net=self.net, ceph=self.ceph,
            truth=self.truth, hook=self._hook,
        )  # fmt: skip
        self.libvirt.on_exit = self._exit
        self.libvirt.on_change = self._change
        # What a crashed boot still had on its way is gone once the next one is there.
        self.truth.flights = [f for f in self.truth.flights if self.address not in f.client]
        self.start_agent()
        self.start_heart()

    def power_off(self) -> None:
        if not self.on:
            return
        self.on = False
        self.kernel.up = False
        self.kill_agent()
        if self.heart_process is not None:
            self.heart_process.kill()
        assert self.libvirt is not None
        self.libvirt.power_off()

    def freeze(self) -> None:
        """Every process stands still; the kernel still answers."""
        self.kernel.gate.shut()

    def thaw(self) -> None:
        self.kernel.gate.open()

    # Processes.

    def start_agent(self) -> None:
        if not self.on or (self.agent_process is not None and self.agent_process.alive):
            return
        process = self.agent_process = Process(f"agent-{self.name}", self.kernel)
        process.spawn(self._run_agent(process))

    async def _run_agent(self, process: Process) -> None:
        assert self.libvirt is not None
        ports = AgentPorts(
            cluster=ApiPort(self.api, process),
            hypervisor=HypervisorPort(self.libvirt, process, self.journal),
            journal=self.journal,
            host=HostPort(self, process),
            heart=HeartPort(self.ceph, process, self.name),
            epochs=CephPort(self.ceph, process),
            clock=self.clock,
        )
        me = await ports.host.identity()
        agent = Agent(me, ports, self.api.pools, beaten=self.acknowledged)
        agent.failed = lambda what, error: self.kernel.bugs.append(error)
        agent.on_policy(self.api.policy.generation, self.api.policy.timings)
        self.agent = agent
        if self.stale_list is not None:
            agent.on_node(self.stale_list)
            self.stale_list = None
        running = process.spawn(agent.run())
        await asyncio.sleep(self.watch_begins_after)
        self.api.watch(process, self._deliver(agent))
        await running

    def _deliver(self, agent: Agent) -> Callable[[str, Any], None]:
        def deliver(kind: str, value: Any) -> None:
            if kind == "node" and value.name == self.name:
                agent.on_node(value)
            elif kind == "server" and value.here == self.name:
                agent.on_server(value)
            elif kind in ("server", "server-gone") and value.uid in agent.state.servers:
                agent.on_server_gone(value.uid)

        return deliver

    def kill_agent(self) -> None:
        if self.agent_process is not None:
            self.agent_process.kill()
        self.agent = None

    def start_heart(self) -> None:
        process = self.heart_process = Process(f"heart-{self.name}", self.kernel)
        process.spawn(self._beat(process))

    async def _beat(self, process: Process) -> None:
        port = HeartPort(self.ceph, process, self.name)
        while True:
            begun = self.clock.now().mono
            self._counter += 1
            servers = self.agent.heart_servers() if self.agent else ()
            try:
                await port.beat(Beat(self.machine_id, self.boot_id, self._counter, servers))
                self.acknowledged = begun
                if self.agent is not None:
                    self.agent.on_beat(begun)
            except PortError as lost:
                if self.agent is not None and not isinstance(lost, Refused):
                    self.agent.on_beat_lost()
            await asyncio.sleep(self.api.policy.timings.heartbeat)

    # libvirt's side.

    async def _hook(self, ask: Ask) -> GuardAnswer:
        agent, process = self.agent, self.agent_process
        if agent is None or process is None or not process.alive:
            return GuardAnswer(False, "the agent is not there")
        await process.thawed()
        task = process.spawn(agent.guard.answer(ask))
        await asyncio.wait({task})
        if task.cancelled():
            return GuardAnswer(False, "the agent went away")
        return task.result()

    def _exit(self, gone: Exit) -> None:
        """An event reaches whoever listens when it is told; nobody keeps it for later."""
        if self.agent is not None:
            self.agent.on_exit(gone)

    def _change(self, uid: str) -> None:
        if self.agent is not None:
            self.agent.on_change(uid)

    def kill_qemu(self, uid: str, reason: str = Reason.QEMU_DIED, orderly: bool = False) -> None:
        if self.libvirt is not None and self.libvirt.running(uid) is not None:
            self.libvirt.die(uid, reason, orderly=orderly)


class HostPort:
    """`Host` as the agent sees it."""

    def __init__(self, host: SimHost, who: Process) -> None:
        self._host, self._heart = host, HeartPort(host.ceph, who, host.name)

    async def identity(self) -> Identity:
        host = self._host
        return Identity(host.name, host.machine_id, host.boot_id, (host.kernel.address,))

    async def capacity(self, node: Node | None) -> Capacity:
        return Capacity(cores=16, memory=self._host.memory, machine="pc-q35-7.2")

    async def pool_processes(self) -> tuple[int, ...]:
        assert self._host.libvirt is not None
        domains = list(self._host.libvirt.domains.values())
        seen = tuple(d.who.pid for d in domains if d.who.pid is not None)
        await self._host.looked.passed()
        return seen

    async def blocklist(self) -> frozenset[Entry]:
        return await self._heart.blocklist()
