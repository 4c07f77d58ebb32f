"""HTTP to the API server: one session, a deadline on everything, and typed errors.

There are no silent retries: who asked decides whether to ask again.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import aiohttp

from respawn.adapters.kubernetes.config import Endpoint
from respawn.adapters.kubernetes.errors import Unavailable, of_status


class Transport:
    """One session with one API server. It belongs to the event loop it is entered in."""

    def __init__(self, endpoint: Endpoint, *, user_agent: str) -> None:
        self._endpoint = endpoint
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._endpoint.tls or True),
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        deadline: float,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """The object answered within `deadline` seconds. Raises ApiError."""
        limits = aiohttp.ClientTimeout(total=deadline)
        async with self._answer(
            method, path, limits=limits, body=body, query=query, content_type=content_type
        ) as answer:
            result: dict[str, Any] = json.loads(await answer.read())
            return result

    async def stream(
        self, path: str, *, query: Mapping[str, str], connect: float, silence: float
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON documents of an endless answer, one a line, until the server ends it.

        Unavailable after `silence` seconds without a byte.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=silence)
        async with self._answer("GET", path, limits=limits, query=query) as answer:
            async for line in _lines(answer.content):
                yield json.loads(line)

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        *,
        limits: aiohttp.ClientTimeout,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer, open. All else, now or while it is read, is an ApiError."""
        session = self._own_session()
        try:
            async with session.request(
                method,
                self._endpoint.server + path,
                data=None if body is None else json.dumps(body).encode(),
                params=query,
                headers=self._headers(None if body is None else content_type),
                timeout=limits,
                server_hostname=self._endpoint.server_name,
            ) as answer:
                if answer.status >= 400:
                    raise of_status(answer.status, _status(await answer.read()))
                yield answer
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(f"{method} {path}: {error}", undone=True) from error
        except TimeoutError as error:
            raise Unavailable(f"{method} {path}: no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"{method} {path}: {error!r}") from error

    def _headers(self, content_type: str | None) -> dict[str, str]:
        headers = {"Content-Type": content_type} if content_type else {}
        if token := self._endpoint.token():
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _own_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is used inside `async with` only")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("the client belongs to another event loop")
        return self._session


def _status(body: bytes) -> Mapping[str, Any]:
    """The Status object of a refusal; proxies answer with other things."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return {"message": body[:200].decode(errors="replace")}
    return parsed if isinstance(parsed, dict) else {}


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; `StreamReader.readline` gives up on long ones."""
    pending = b""
    async for data in content.iter_any():
        *complete, pending = (pending + data).split(b"\n")
        for line in complete:
            if line:
                yield line
