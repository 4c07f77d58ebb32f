"""One operator, wired: store, queue, controller, executors, monitors, leadership.

The process around it feeds `store` and runs `leadership`, `hearts` and `work` in loops of their
own; the simulator runs the same parts in one loop, in virtual time.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

from respawn.decide.election import Terms
from respawn.model.base import Key, Kind, Owner
from respawn.ports.clock import Clock
from respawn.ports.cluster import Cluster, Leases
from respawn.ports.fence import FencePort
from respawn.ports.heart import HeartReads
from respawn.ports.images import Images
from respawn.ports.witness import Witness
from respawn.runtime.controller import Controller, Log, run_workers
from respawn.runtime.heart_watch import HeartWatch
from respawn.runtime.lanes import LanedCluster
from respawn.runtime.leadership import Leadership
from respawn.runtime.monitors import Monitors
from respawn.runtime.node_executor import NodeExecutor
from respawn.runtime.points import Point, nothing
from respawn.runtime.queue import KeyedQueue
from respawn.runtime.server_executor import ServerExecutor
from respawn.runtime.settling import Settler
from respawn.runtime.store import Store
from respawn.runtime.vitals import Vitals
from respawn.runtime.warrant import Warrant, WarrantedFence, WarrantedImages


@dataclass(frozen=True)
class OperatorPorts:
    """Everything outside that an operator needs."""

    cluster: Cluster
    leases: Leases
    images: Images
    fence: FencePort
    heart: HeartReads
    witness: Witness
    clock: Clock


class Operator:
    """Leads or stands by, until `run` is cancelled."""

    def __init__(
        self, owner: Owner, ports: OperatorPorts, *, terms: Terms | None = None,
        point: Point = nothing, rng: Random | None = None,
        log: Log = lambda key, step, reason: None,
    ) -> None:  # fmt: skip
        self.ports, clock = ports, ports.clock
        self.store = Store(owner)
        self.queue: KeyedQueue[Key] = KeyedQueue(
            time=lambda: clock.now().mono,
            rng=rng,
            ahead=lambda key: key.kind is Kind.NODE,  # servers wait for their fence
        )
        self._background: set[asyncio.Task[None]] = set()
        self.warrant = warrant = Warrant(lambda: self.leadership.standing, clock)
        fence = WarrantedFence(ports.fence, warrant)
        images = WarrantedImages(ports.images, warrant)
        cluster = LanedCluster(ports.cluster)
        vitals = Vitals(store=self.store, leases=ports.leases, heart=ports.heart, clock=clock)
        settler = Settler(
            cluster=cluster, images=images, fence=fence, heart=ports.heart, vitals=vitals,
            clock=clock, point=point,
        )  # fmt: skip
        servers = ServerExecutor(
            store=self.store, cluster=cluster, images=images, settler=settler,
            clock=clock, point=point,
        )  # fmt: skip
        self._beside_fence = servers.beside_fence
        self.controller = Controller(
            store=self.store, queue=self.queue, cluster=cluster, clock=clock, log=log,
            servers=servers,
            nodes=NodeExecutor(
                store=self.store, cluster=cluster, leases=ports.leases, fence=fence,
                images=images, witness=ports.witness, vitals=vitals, clock=clock, point=point,
                spawn=self._spawn,
            ),
        )  # fmt: skip
        self.monitors = Monitors(store=self.store, leases=ports.leases, fence=fence, clock=clock)
        self.hearts = HeartWatch(
            store=self.store, clock=clock, saw=self.store.saw_heart,
            proved=self.store.ceph_answered,
        )  # fmt: skip
        self.leadership = Leadership(
            name=str(owner), clock=clock, terms=terms or Terms(), elected=self.controller.begin
        )
        self.store.standing = lambda: self.leadership.standing

    @property
    def hurries(self) -> bool:
        """Whether a failover is under way that does not wait for others."""
        return self.queue.hurries or self._beside_fence.busy

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def run(self, *, routine: int = 64, failover: int = 32) -> None:
        """All parts in this loop, until cancelled; raises what any of them raised."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.leadership.run(self.ports.leases))
            group.create_task(self.hearts.run(self.ports.heart))
            group.create_task(self.work(routine=routine, failover=failover))

    async def work(self, *, routine: int = 64, failover: int = 32) -> None:
        """Look, decide and act, until cancelled; others keep `leadership` and `hearts` going."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.monitors.run())
                group.create_task(run_workers(self.controller, routine=routine, failover=failover))
        finally:
            self.queue.close()
            for task in list(self._background):
                task.cancel()
