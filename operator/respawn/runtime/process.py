"""The operator as a process: threads that look and lead, around one loop that decides and acts.

    thread kopf     objects as they change  ─┐
    thread sweep    LISTs, each minute       │
    thread leases   the hosts' Leases        ├─► Store ─► Operator (this loop) ─► API, Ceph
    thread hearts   the hosts' hearts        │
    thread elector  the leader's Lease      ─┘
    thread watchdog ends the process when this loop stands still

Each thread has a loop, connections and deadlines of its own. None waits for another: they hand
values over, with the moment at which they were true, and may stall or begin anew as they like.
"""

import asyncio
import contextlib
import logging
import secrets
import signal
from collections.abc import Callable
from datetime import datetime
from typing import Any

from respawn.adapters.clock import SystemClock
from respawn.adapters.kubernetes import config
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.cluster import KubernetesCluster
from respawn.adapters.kubernetes.config import Endpoint
from respawn.adapters.kubernetes.errors import ApiError
from respawn.adapters.kubernetes.events import Teller
from respawn.adapters.kubernetes.herald import Herald
from respawn.adapters.kubernetes.leases import LeaseStore
from respawn.adapters.kubernetes.revisions import Revisions
from respawn.model.base import Now, Owner
from respawn.model.sight import Beat
from respawn.ports.witness import Witness
from respawn.runtime import steplog
from respawn.runtime.feed import Feed
from respawn.runtime.image_keeper import ImageKeeper
from respawn.runtime.intakes import Aside, intakes
from respawn.runtime.kopf_source import KopfSource
from respawn.runtime.lease_watch import LeaseWatch
from respawn.runtime.operator import Operator, OperatorPorts
from respawn.runtime.options import Options
from respawn.runtime.outside import Outside
from respawn.runtime.pool_keeper import PoolKeeper
from respawn.runtime.pool_secret import PoolSecrets
from respawn.runtime.status_keeper import StatusKeeper, columns
from respawn.runtime.sweep import Sweep
from respawn.runtime.threads import LoopThread, until
from respawn.runtime.watchdog import Watchdog

log = logging.getLogger(__name__)

COMPONENT = "respawn-operator"
FIRST_LIST_AGAIN = 1.0
PARTING = 1.0
"""Seconds that each thread may take to end."""


class Process:
    """One life of one operator."""

    def __init__(self, options: Options, endpoint: Endpoint, outside: Outside) -> None:
        self._options, self._endpoint = options, endpoint
        self._clock = SystemClock()
        self.owner = Owner(options.name, secrets.token_hex(4))
        self._loop = asyncio.get_running_loop()
        self._storage = outside.storage()
        self._revisions = Revisions()
        self._client = self._connect()
        self._herald = Herald(
            Teller(self._client, component=COMPONENT, instance=str(self.owner)),
            busy=lambda: self._operator.hurries,
        )
        self._cluster = KubernetesCluster(self._client, self._herald, self._clock)
        self._operator = self._make_operator(outside.witness())
        self._store = self._operator.store
        self._cluster.columns = lambda node: columns(self._store.world(), node)
        # A leader that was stopped for a while must not go on where it was.
        self._cluster.may_write = self._operator.warrant.check
        self._aside = Aside()
        self._feed = Feed(
            intakes(self._store, self._aside, lambda: self._clock.now().wall), self._loop
        )
        self._kopf = LoopThread(
            "kopf", KopfSource(self._feed, endpoint, identity=str(self.owner)).run
        )
        self._sweep = Sweep(self._feed, self._loop, self._connect, deaf=self._kopf.restart)
        self._sweeping = LoopThread("sweep", self._sweep.run)
        self._threads = (
            self._kopf,
            self._sweeping,
            LoopThread("leases", self._lease_watch().run),
            LoopThread("hearts", self._watch_hearts),
        )
        self._elector = LoopThread("elector", self._elect)
        # As long as the Lease: a leader that does not move is as good as gone, though its elector
        # does. One that only is slow goes on.
        self._watchdog = Watchdog(options.terms.duration)

    def _connect(self) -> Client:
        return Client(self._endpoint, manager=COMPONENT, revisions=self._revisions)

    def _make_operator(self, witness: Witness) -> Operator:
        options, storage = self._options, self._storage
        ports = OperatorPorts(
            cluster=self._cluster,
            leases=self._leases(self._client),
            images=storage.images,
            fence=storage.fence,
            heart=storage.hearts,
            witness=witness,
            clock=self._clock,
        )
        operator = Operator(
            self.owner,
            ports,
            terms=options.terms,
            point=options.point,
            log=steplog.of(lambda: self._store),
        )
        operator.hearts.saw = self._here(self._saw_heart)
        operator.hearts.proved = self._here(operator.store.ceph_answered)
        operator.leadership.elected = self._here(operator.controller.begin)
        return operator

    def _leases(self, client: Client) -> LeaseStore:
        options = self._options
        return LeaseStore(client, deadline=options.terms.retry, namespace=options.namespace)

    # What runs in other threads, and what it hands to this one.

    def _here(self, call: Callable[..., object]) -> Callable[..., None]:
        """`call` in the operator's loop, from any thread."""

        def hand_over(*arguments: Any) -> None:
            self._loop.call_soon_threadsafe(call, *arguments)

        return hand_over

    async def _elect(self, enough: asyncio.Event) -> None:
        leadership = self._operator.leadership
        async with self._connect() as client:
            leases = self._leases(client)
            await until(enough, leadership.run(leases))
            await leadership.release(leases)

    async def _watch_hearts(self, enough: asyncio.Event) -> None:
        hearts = self._storage.open_hearts()
        try:
            await until(enough, self._operator.hearts.run(hearts))
        finally:
            await hearts.close()

    def _saw_heart(
        self, name: str, token: str, beat: Beat | None, at: float, wall: datetime
    ) -> None:
        if name in self._store.nodes:
            self._store.saw_heart(name, token, beat, at, wall)

    def _lease_watch(self) -> LeaseWatch:
        return LeaseWatch(
            self._connect,
            self._clock,
            self._here(self._saw_lease),
            renew=lambda: self._store.policy.timings.lease_renew,
            back=self._api_is_back,
            namespace=self._options.namespace,
        )

    def _api_is_back(self) -> None:
        """What was deleted meanwhile no watch tells of, and one of kopf's that was refused while
        the API server came up (403, for it did not know its roles yet) is dead without a word.
        """
        log.info("the API server can be followed again: everything is listed anew")
        self._sweep.due()  # then kopf begins anew: before its kinds can be listed it would be vain
        self._sweeping.restart()

    def _saw_lease(self, name: str, token: str, now: Now) -> None:
        if name in self._store.nodes:
            self._store.saw_lease(name, token, now.mono, now.wall)

    # Its life.

    async def run(self, enough: asyncio.Event) -> None:
        """Lead or stand by until `enough`. Raises what ends it otherwise."""
        log.info("operator %s begins", self.owner)
        async with self._client:
            beat = asyncio.create_task(self._watchdog.beat())
            work = asyncio.create_task(self._work())
            end = asyncio.create_task(enough.wait())
            try:
                await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                end.cancel()
                await self._part(work)
                beat.cancel()
        if work.done() and not work.cancelled():
            work.result()

    async def _work(self) -> None:
        await self._first_list()
        self._watchdog.start()
        for thread in (*self._threads, self._elector):
            thread.start()
        async with asyncio.TaskGroup() as group:
            for part in (
                self._operator.work(),
                self._herald.run(),
                self._pool_keeper().run(),
                self._image_keeper().run(),
                self._status_keeper().run(),
            ):
                group.create_task(part)

    async def _first_list(self) -> None:
        """The start barrier: nothing is decided before everything was seen."""
        while True:
            try:
                seen = await self._sweep.once(self._client)
            except ApiError as error:
                log.warning("cannot list yet: %s", error)
                await asyncio.sleep(FIRST_LIST_AGAIN)
                continue
            log.info("%d objects listed", len(seen))
            return

    async def _part(self, work: asyncio.Task[None]) -> None:
        """Stop; the Lease goes last, when nothing of this process acts any more."""
        work.cancel()
        await asyncio.wait({work}, timeout=PARTING)
        for thread in self._threads:
            await asyncio.to_thread(thread.stop, PARTING)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PARTING):
                await self._storage.close()
        # Two requests, each with that deadline.
        patience = PARTING + 2 * self._options.terms.retry
        await asyncio.to_thread(self._elector.stop, patience)
        self._watchdog.stop()
        log.info("operator %s ends", self.owner)

    # Its keepers.

    def _pool_keeper(self) -> PoolKeeper:
        return PoolKeeper(
            store=self._store,
            writer=self._cluster,
            key=PoolSecrets(self._client).key,
            learn=self._storage.learn,
            forget=self._storage.forget,
            library=self._storage,
            clock=self._clock,
        )

    def _image_keeper(self) -> ImageKeeper:
        return ImageKeeper(
            store=self._store, writer=self._cluster, library=self._storage, clock=self._clock
        )

    def _status_keeper(self) -> StatusKeeper:
        return StatusKeeper(
            store=self._store,
            aside=self._aside,
            feed=self._feed,
            cluster=self._cluster,
            clock=self._clock,
            leader_lease=self._options.terms.duration,
        )


async def live(options: Options, endpoint: Endpoint, outside: Outside) -> None:
    """One process, until SIGTERM or SIGINT."""
    enough, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, enough.set)
    await Process(options, endpoint, outside).run(enough)


def main(options: Options, outside: Outside) -> int:
    """Run until told to stop; 0 then, 1 when it ended otherwise, 2 for a useless configuration."""
    steplog.set_up(logging.DEBUG if options.verbose else logging.INFO)
    try:
        endpoint = config.load(options.kubeconfig)
    except config.ConfigError as error:
        log.error("%s", error)
        return 2
    try:
        asyncio.run(live(options, endpoint, outside))
    except Exception:
        log.exception("operator %s ends", options.name)
        return 1
    return 0
