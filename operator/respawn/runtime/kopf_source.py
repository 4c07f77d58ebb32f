"""kopf as what wakes us up: `on.event` for the five kinds, and nothing else.

With these handlers alone kopf writes nothing to objects: no annotation, no finalizer, no event. It
runs in a thread of its own, so that its bursts (a listing, a storm of changes) delay nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
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


class KopfSource:
    """Runs kopf until told to stop; its watches feed `feed`."""

    def __init__(self, feed: Feed, endpoint: Endpoint, *, identity: str) -> None:
        self._feed, self._endpoint, self._identity = feed, endpoint, identity

    async def run(self, enough: asyncio.Event) -> None:
        """Work of a LoopThread. Raises what ends kopf otherwise."""
        await kopf.operator(
            registry=self._registry(),
            settings=settings(),
            identity=self._identity,  # type: ignore[arg-type]
            standalone=True,
            clusterwide=True,
            stop_flag=enough,
        )
        if not enough.is_set():
            raise RuntimeError("kopf has ended by itself")

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
    s.networking.error_backoffs = (0.5, 1, 2, 5)
    s.execution.max_workers = 4
    s.persistence.finalizer = "respawn.dev/kopf"  # never used
    s.peering.standalone = True
    s.process.ultimate_exiting_timeout = None  # it would kill the whole process
    return s
