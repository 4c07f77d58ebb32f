"""Operators that die anywhere, and the witnesses that they ask."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.api import ApiPort, FakeApi
from tests.simulation.ceph import CephPort, FakeCeph
from tests.simulation.clock import SimClock
from tests.simulation.hosts import SimHost
from tests.simulation.net import MANAGEMENT, STORAGE, Kernel, Net, Process

from respawn.decide.election import Terms
from respawn.model.base import Key, Owner
from respawn.model.node import Node
from respawn.model.sight import Answer
from respawn.runtime.operator import Operator, OperatorPorts


class SimWitness:
    """`Witness`: what the machine at the other end would answer."""

    def __init__(self, net: Net, who: Process, hosts: dict[str, SimHost]) -> None:
        self._net, self._who, self._hosts = net, who, hosts

    async def ask(self, node: Node, deadline: float) -> tuple[Answer, str | None]:
        host = self._hosts.get(node.name)
        await self._who.thawed()
        await asyncio.sleep(0.01)
        if host is None or not host.on:
            await asyncio.sleep(deadline)
            return Answer.SILENCE, None
        up = self._net.switch.up
        mine, theirs = self._who.kernel.address, host.address
        awake = host.kernel.gate.is_open and host.libvirt and host.libvirt.gate.is_open
        if awake and up(MANAGEMENT, mine, theirs):
            return Answer.LIBVIRT, host.boot_id
        if up(MANAGEMENT, mine, theirs) or up(STORAGE, mine, theirs):
            return Answer.KERNEL, None
        await asyncio.sleep(deadline)
        return Answer.SILENCE, None


class SimOperator:
    """One operator, over all its lives."""

    def __init__(
        self, name: str, address: str, *, net: Net, api: FakeApi, ceph: FakeCeph,
        hosts: dict[str, SimHost], rng: Random, terms: Terms,
        log: Callable[[str, Key, str, str], None],
    ) -> None:  # fmt: skip
        self.name, self.address, self.terms = name, address, terms
        self.net, self.api, self.ceph, self.hosts, self._log = net, api, ceph, hosts, log
        self._rng = rng
        self.clock = SimClock(rng.uniform(0, 1e5), rng.uniform(-1, 1))
        self.lives = 0
        self.kernel = Kernel(address)
        self.process: Process | None = None
        self.core: Operator | None = None
        self.stays_dead = False
        self.crash_after: Callable[[str], bool] = lambda point: False
        self.points: list[str] = []
        self.on_step: Callable[[str], None] = lambda step: None
        """Told of every step as it begins."""

    def start(self) -> None:
        if self.process is not None and self.process.alive:
            return
        self.lives += 1
        process = self.process = Process(self.name, self.kernel)
        ceph = CephPort(self.ceph, process)
        api = ApiPort(self.api, process)
        ports = OperatorPorts(
            cluster=api, leases=api, images=ceph, fence=ceph, heart=ceph,
            witness=SimWitness(self.net, process, self.hosts), clock=self.clock,
        )  # fmt: skip
        core = self.core = Operator(
            Owner(self.name, f"life-{self.lives}"), ports, terms=self.terms,
            point=lambda name: self._at(process, name), rng=Random(self._rng.random()),
            log=self._step,
        )  # fmt: skip
        core.controller._bug = self._bug
        for pool in self.api.pools.values():
            core.store.put_pool(pool)
        core.store.put_policy(self.api.policy)
        self.api.watch(process, self._deliver(core))
        process.spawn(core.run(routine=16, failover=8))

    def _step(self, key: Key, step: str, reason: str) -> None:
        self._log(self.name, key, step, reason)
        self.on_step(step)

    def freeze(self) -> None:
        """It stands still: at its next call, or at the return of the one under way."""
        if self.process is not None:
            self.process.gate.shut()

    def thaw(self) -> None:
        if self.process is not None:
            self.process.gate.open()

    def _bug(self, key: Key) -> None:
        import sys

        error = sys.exc_info()[1]
        assert error is not None
        self.kernel.bugs.append(error)

    def _deliver(self, core: Operator) -> Callable[[str, Any], None]:
        store = core.store

        def deliver(kind: str, value: Any) -> None:
            if kind == "server":
                store.put_server(value)
            elif kind == "server-gone":
                store.drop_server(value.uid)
            elif kind == "node":
                store.put_node(value)
            elif kind == "node-gone":
                store.drop_node(value.name)
            elif kind == "image":
                store.put_image(value)

        return deliver

    def _at(self, process: Process, point: str) -> None:
        self.points.append(point)
        if self.crash_after(point):
            self._log(self.name, Key("crash", point), "crash", point)  # type: ignore[arg-type]
            process.kill()
            raise asyncio.CancelledError

    @property
    def leads(self) -> bool:
        alive = self.process is not None and self.process.alive
        return alive and self.core is not None and self.core.store.me.leader

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
