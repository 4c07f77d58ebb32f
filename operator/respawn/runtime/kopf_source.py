"""kopf as what wakes us up: `on.event` for the five kinds, and nothing else.

With these handlers alone kopf writes nothing to objects: no annotation, no finalizer, no event. It
runs in a thread of its own, so that its bursts (a listing, a storm of changes) delay nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any

import aiohttp
import kopf

from respawn.adapters.kubernetes.config import Endpoint
from respawn.runtime.feed import Feed, Intake

for _name, _level in {
    "kopf": logging.WARNING,
    "kopf.objects": logging.ERROR,
    # It warns that signals are not its business in a thread.
    "kopf._core.reactor.running": logging.ERROR,
}.items():
    logging.getLogger(_name).setLevel(_level)


TO_END = 2.0
"""Seconds that kopf has to end: it takes a few tenths."""
TOLD_AGAIN = 1.0
"""Seconds until its tasks are told once more."""

log = logging.getLogger(__name__)


class KopfSource:
    """Runs kopf until told to stop; its watches feed `feed`."""

    def __init__(self, feed: Feed, endpoint: Endpoint, *, identity: str) -> None:
        self._feed, self._endpoint, self._identity = feed, endpoint, identity

    async def run(self, enough: asyncio.Event) -> None:
        """Work of a LoopThread. Raises what ends kopf otherwise."""
        others = asyncio.all_tasks()
        work = asyncio.create_task(self._watch(enough))
        end = asyncio.ensure_future(enough.wait())
        await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
        end.cancel()
        await _ended(work, others)
        if not enough.is_set():
            raise RuntimeError("kopf has ended by itself")

    async def _watch(self, enough: asyncio.Event) -> None:
        await kopf.operator(
            registry=self._registry(),
            settings=settings(),
            identity=self._identity,  # type: ignore[arg-type]
            standalone=True,
            clusterwide=True,
            stop_flag=enough,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for intake in self._feed.intakes:
            resource = intake.resource
            kopf.on.event(
                resource.group, resource.version, resource.plural,
                id=resource.plural, registry=registry,
            )(self._handler(intake))  # fmt: skip
        return registry

    def _handler(self, intake: Intake[Any]) -> Callable[..., Awaitable[None]]:
        async def handler(event: Any, **_: object) -> None:
            self._feed.offer(intake, event["type"], event["object"])

        return handler

    async def _login(self, **_: object) -> kopf.AiohttpSession:
        """A session that trusts and identifies as all of our clients do."""
        endpoint = self._endpoint

        async def identify(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            if token := endpoint.token():
                request.headers["Authorization"] = f"Bearer {token}"
            if endpoint.server_name:
                request.server_hostname = endpoint.server_name
            return await handler(request)

        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=endpoint.tls or True),
            headers={"User-Agent": f"respawn-operator/{self._identity}"},
            middlewares=(identify,),
        )
        return kopf.AiohttpSession(server=endpoint.server, aiohttp_session=session)


async def _ended(work: "asyncio.Task[None]", others: Collection["asyncio.Task[Any]"]) -> None:
    """Until kopf, which was told to stop, has ended; `others` are no tasks of its. Raises what it
    does.

    When one watcher of kopf's has failed, it cancels those that are left and what could stop them,
    all at once; a watcher that waits for the API server's answer then takes its cancellation for
    that of a request (`kopf._cogs.clients.api.stream`), goes on, and waits for ever for credentials
    that nobody brings any more, and kopf for it. So who is left is told again.
    """
    await asyncio.wait({work}, timeout=TO_END)
    while not work.done():
        left = asyncio.all_tasks().difference(others, {work})
        log.warning("kopf does not end: %d tasks are told again", len(left))
        for task in left:
            task.cancel()
        await asyncio.wait({work}, timeout=TOLD_AGAIN)
    work.result()


class Backoffs:
    """Seconds between one failure of a request and the next try, without an end.

    One that fails for good ends its watcher without a word, and kopf does not get over that. An API
    server that comes up refuses all (403) for longer than anybody would count.
    """

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1.0, 2.0)
        while True:
            yield 5.0


def settings() -> kopf.OperatorSettings:
    """Measured ones: little memory, short bursts, and a silent watch noticed within a minute."""
    s = kopf.OperatorSettings()
    s.posting.enabled = False
    s.scanning.disabled = True  # the CRDs are there: we have listed them
    s.queueing.idle_timeout = 0.2
    s.queueing.worker_limit = None
    s.watching.chunk_size = 500
    s.watching.server_timeout = 300
    s.watching.client_timeout = 310
    s.watching.connect_timeout = 5
    s.watching.inactivity_timeout = 65
    s.networking.request_timeout = 10
    s.networking.connect_timeout = 3
    s.networking.error_backoffs = Backoffs()
    s.execution.max_workers = 4
    s.persistence.finalizer = "respawn.dev/kopf"  # never used
    s.peering.standalone = True
    s.process.ultimate_exiting_timeout = None  # it would kill the whole process
    return s
