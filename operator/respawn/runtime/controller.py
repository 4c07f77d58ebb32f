"""The loop: a key, its decision, one step, and the key again."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from respawn.decide import decide
from respawn.model.actions import (
    BanClients,
    Decision,
    NodeStep,
    Place,
    Report,
    Revoke,
    ServerStep,
)
from respawn.model.base import Key, Kind
from respawn.model.placement import Phase
from respawn.model.world import Trouble
from respawn.ports.clock import Clock
from respawn.ports.cluster import Cluster
from respawn.ports.errors import Conflict, Forbidden, NotFound, PortError, Refused
from respawn.runtime import lanes
from respawn.runtime.fates import Fates
from respawn.runtime.node_executor import NodeExecutor
from respawn.runtime.queue import KeyedQueue
from respawn.runtime.server_executor import ServerExecutor
from respawn.runtime.settling import Outdated
from respawn.runtime.store import Store

PATIENCE = 30.0
"""Seconds: refusals for the same reason within twice that are refusals in a row."""

LOOK_AGAIN = 5.0
"""Seconds between two looks at a key that waits for others, while these change."""
REPORTS, WITHIN = 2, 60.0
"""Reports at most on a key that waits for others, within so many seconds."""

ROOM_AGAIN = 1.0
"""Seconds between two looks for room for a server that has lost its host."""

SOONEST = 0.01
"""Seconds after which a key that had nothing to do may run again, unless something changed."""

TIMERS_ARE_EARLY = 0.001
"""Seconds by which a timer may ring before its moment."""

Log = Callable[[Key, str, str], None]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A step whose reply was lost: until when the key waits, and the version that was known."""

    until: float
    version: str | None


class Controller:
    """Runs keys; owns neither what is known (`store`) nor how things are done (the executors)."""

    def __init__(
        self, *, store: Store, queue: KeyedQueue[Key], cluster: Cluster, clock: Clock,
        servers: ServerExecutor, nodes: NodeExecutor,
        log: Log = lambda key, step, reason: None,
        bug: Callable[[Key], None] = lambda key: logger.exception("deciding about %s", key),
    ) -> None:  # fmt: skip
        self._store, self._queue, self._cluster, self._clock = store, queue, cluster, clock
        self._servers, self._nodes, self._log, self._bug = servers, nodes, log, bug
        self._awaited_by: defaultdict[Key, set[Key]] = defaultdict(set)
        self._last_run: dict[Key, float] = {}
        self._reported: defaultdict[Key, deque[float]] = defaultdict(lambda: deque(maxlen=REPORTS))
        self._fates = Fates(store=store, queue=queue, clock=clock)
        self._doubts: dict[Key, Doubt] = {}
        store.changed, store.seen = self.changed, self.seen

    def changed(self, key: Key) -> None:
        """Something about `key` is new: it runs, and so does, in time, who waits for it."""
        self.seen(key)
        for waiting in sorted(self._awaited_by.pop(key, ())):
            # Who waits for its fence, or for its wave, goes on at once. Who waits for room must not
            # be in the way of those; a look costs nobody but us, what it finds is told rarely.
            urgent = self._is_urgent(waiting)
            if urgent and self._keeps_turn(waiting):
                self._queue.add(waiting, urgent=True)
            else:
                again = ROOM_AGAIN if urgent else LOOK_AGAIN
                self._queue.add_at(waiting, self._last_run.get(waiting, 0.0) + again, urgent=urgent)

    def seen(self, key: Key) -> None:
        """It runs: it was looked at, and may be what it was."""
        self._queue.add(key, urgent=self._is_urgent(key))

    def _is_urgent(self, key: Key) -> bool:
        if key.kind is Kind.SERVER:
            return key.id in self._store.world().recovering
        return key.kind is Kind.NODE

    def _keeps_turn(self, key: Key) -> bool:
        """Whether it goes on where it was: a failover in its course, up to its placement."""
        server = self._store.servers.get(key.id) if key.kind is Kind.SERVER else None
        revoked = server is not None and server.placement.phase is Phase.REVOKED
        return self._is_urgent(key) and revoked

    def begin(self) -> None:
        """Run everything once: this process has just become the leader."""
        for key in self._store.everything():
            self._queue.add(key, urgent=self._is_urgent(key))

    async def work(self, *, urgent: bool = False) -> None:
        """One worker; `urgent` ones are kept for failover."""
        while True:
            key, lane = await self._queue.get(urgent=urgent)
            lanes.urgent.set(lane)
            lanes.turn.set(self._queue.turn(key))
            try:
                await self._run(key, lane)
            except Exception:  # noqa: BLE001 one odd object must not stop the others
                self._bug(key)
                self._queue.retry(key)
            finally:
                self._queue.done(key)

    async def _run(self, key: Key, urgent: bool) -> None:
        if not await self._is_certain(key, urgent):
            return
        # The clock first: see Leadership, which asks it after its standing has changed.
        now, world = self._clock.now(), self._store.world()
        self._last_run[key] = now.mono
        decision = decide(world, key, now)
        if key.kind is Kind.NODE:
            self._fates.look(key.id)
        urgent = urgent or decision.urgent
        for other in decision.awaits:
            self._awaited_by[other].add(key)
        if isinstance(decision.step, Report):
            again = self._reported_enough(key, now.mono)
            if again is not None and decision.patient:
                self._queue.add_at(key, min(again, decision.next_check or again))
                return
            self._reported[key].append(now.mono)
        if decision.step is None:
            if key.kind is Kind.SERVER and key.id not in world.servers:
                self._forget(key)
                return
            self._queue.succeeded(key)
            if not self._keeps_turn(key):
                self._queue.rest(key)
            if decision.next_check is not None:
                # Never at once: a key that has nothing to do must not keep a worker busy.
                soonest = max(decision.next_check, now.mono + SOONEST)
                self._queue.add_at(key, soonest, urgent=urgent)
            return
        await self._carry_out(key, decision, urgent)

    def _reported_enough(self, key: Key, at: float) -> float | None:
        """When more may be told of it, if it only waits; None: now."""
        times = self._reported[key]
        return times[0] + WITHIN if len(times) == REPORTS and at < times[0] + WITHIN else None

    def _forget(self, key: Key) -> None:
        """Its object is gone."""
        self._queue.forget(key)
        self._last_run.pop(key, None)
        self._reported.pop(key, None)

    async def _carry_out(self, key: Key, decision: Decision, urgent: bool) -> None:
        step = decision.step
        assert step is not None
        lanes.urgent.set(urgent)
        self._log(key, step.name, step.reason)
        if isinstance(step, Revoke | BanClients):
            # What the fence waits for, all may do beside it: who is revoked by then has its clients
            # banned in the same commit of the monitors, and does not wait for one later.
            self._queue.step_aside(key)
        if isinstance(step, Place):
            self._store.reserved[step.uid] = step.node
        try:
            world = self._store.world()
            if isinstance(step, ServerStep):
                await self._servers.run(step, decision.outlook, world)
            elif isinstance(step, NodeStep):
                await self._nodes.run(step, decision.outlook, world)
        except Outdated as outdated:
            self._log(key, step.name, f"not done: {outdated}")
            await self._refresh(key, urgent)
        except (Conflict, NotFound):
            await self._refresh(key, urgent)
        except Forbidden as forbidden:
            # An API server that comes up refuses all until it knows its roles.
            self._log(key, step.name, f"forbidden: {forbidden}")
            self._doubt(key, urgent)
        except Refused as refused:
            self._log(key, step.name, f"refused: {refused}")
            if isinstance(step, NodeStep | Report | Revoke):
                # What refuses it is no part of its picture: it would be tried at once.
                self._queue.retry(key, urgent=urgent)
            else:
                self._refuse(key, refused)
                self._queue.add(key, urgent=urgent)
        except PortError as lost:
            self._log(key, step.name, f"unknown whether done: {lost}")
            self._doubt(key, urgent)
        else:
            if not isinstance(step, Report):
                # To say what the trouble is does not end it.
                self._store.troubled(key, None)
            self._queue.succeeded(key)
            self._queue.add(key, urgent=urgent)
            if urgent and isinstance(step, Place):
                self._queue.through(key)
        finally:
            # A placement whose reply was lost may be written: its room stays taken till it is read.
            if key not in self._doubts:
                self._store.reserved.pop(key.id, None)

    def _refuse(self, key: Key, refused: Refused) -> None:
        before, now = self._store.trouble.get(str(key)), self._clock.now().mono
        in_a_row = before is not None and now - before.at < 2 * PATIENCE
        times = 1
        if before is not None and in_a_row and before.reason == refused.reason:
            times = before.times + 1
        self._store.troubled(key, Trouble(refused.reason, str(refused), now, times))

    def _doubt(self, key: Key, urgent: bool) -> None:
        """Whether it was done is unknown, and who did not answer needs no more questions now."""
        self._doubts[key] = Doubt(self._queue.back_off(key, urgent=urgent), self._version(key))

    async def _is_certain(self, key: Key, urgent: bool) -> bool:
        """Whether `key` may be decided about: after a lost reply only once it was read anew."""
        doubt = self._doubts.get(key)
        if doubt is None:
            return True
        if doubt.version == self._version(key):
            if doubt.until - self._clock.now().mono > TIMERS_ARE_EARLY:
                self._queue.add_at(key, doubt.until, urgent=urgent)
                return False
            try:
                await self._read(key)
            except PortError as lost:
                self._log(key, "refresh", str(lost))
                self._doubt(key, urgent)
                return False
        del self._doubts[key]
        # safety: until it was read anew it may be placed there all the same.
        self._store.reserved.pop(key.id, None)
        return True

    def _version(self, key: Key) -> str | None:
        objects = self._store.servers if key.kind is Kind.SERVER else self._store.nodes
        known = objects.get(key.id)
        return known.resource_version if known else None

    async def _refresh(self, key: Key, urgent: bool) -> None:
        """The picture was behind: read it live, then think again after a moment."""
        try:
            await self._read(key)
        except PortError as lost:
            self._log(key, "refresh", str(lost))
            self._doubt(key, urgent)
        else:
            self._queue.retry(key, urgent=urgent)

    async def _read(self, key: Key) -> None:
        if key.kind is Kind.SERVER and key.id in self._store.servers:
            await self._refresh_server(key.id)
        elif key.kind is Kind.NODE and key.id in self._store.nodes:
            await self._refresh_node(key.id)

    async def _refresh_server(self, uid: str) -> None:
        known = self._store.servers[uid]
        try:
            fresh = await self._cluster.get_server(known.namespace, known.name)
        except NotFound:
            self._store.drop_server(uid)
            return
        if fresh.uid != uid:
            self._store.drop_server(uid)
        self._store.put_server(fresh)
        if fresh.here is not None and fresh.here in self._store.nodes:
            await self._refresh_node(fresh.here)

    async def _refresh_node(self, name: str) -> None:
        try:
            self._store.put_node(await self._cluster.get_node(name))
        except NotFound:
            self._store.drop_node(name)


async def run_workers(controller: Controller, *, routine: int = 64, failover: int = 32) -> None:
    """All workers, until cancelled; one that dies takes the process with it."""
    async with asyncio.TaskGroup() as group:
        for _ in range(routine):
            group.create_task(controller.work())
        for _ in range(failover):
            group.create_task(controller.work(urgent=True))
