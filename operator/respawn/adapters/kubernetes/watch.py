"""LIST and WATCH for ever: what a cache or a monitor is fed with.

A watch may end, may be told that it is too old (410), and may die without a word; each time
everything is listed again. So whoever follows sees a Snapshot whenever something could have been
missed, lost deletions included, and never trusts a stream longer than it speaks.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from respawn.adapters.kubernetes.client import Client, Object
from respawn.adapters.kubernetes.errors import ApiError, Expired
from respawn.adapters.kubernetes.resources import Resource


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything there is: what is not in it is gone.

    `begun_at` is when the LIST began, on this process's monotonic clock (seconds).
    """

    objects: tuple[Object, ...]
    begun_at: float


@dataclass(frozen=True, slots=True)
class Change:
    """One object changed."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The API server could not be followed for the moment; a Snapshot comes when it can again."""

    error: ApiError


Event = Snapshot | Change | Interrupted

BACK_OFF = (0.2, 5.0)
"""First and longest pause (seconds) between attempts while the API server cannot be followed."""


async def watch(
    client: Client,
    resource: Resource,
    *,
    silence: float,
    lifetime: float = 300.0,
    namespace: str | None = None,
    labels: str = "",
    fields: str = "",
    list_deadline: float | None = None,
) -> AsyncGenerator[Event, None]:
    """Snapshots and changes, for ever; it raises nothing but cancellation.

    A stream without a byte for `silence` seconds is given up and listed again: for Leases two
    renewals; for kinds that may be quiet more than a minute, since a bookmark comes about once a
    minute. Close it (`contextlib.aclosing`) when you stop following.
    """
    pause = BACK_OFF[0]
    while True:
        try:
            begun_at = time.monotonic()
            objects, version = await client.list_all(
                resource, namespace=namespace, labels=labels, fields=fields, deadline=list_deadline
            )
            yield Snapshot(tuple(objects), begun_at)
            pause = BACK_OFF[0]
            stream = client.events_since(
                resource,
                version,
                silence=silence,
                lifetime=lifetime * random.uniform(0.9, 1.1),
                namespace=namespace,
                labels=labels,
                fields=fields,
            )
            async with aclosing(stream):
                async for event in stream:
                    if event["type"] != "BOOKMARK":
                        yield Change(event["type"], event["object"])
        except Expired:
            pause = BACK_OFF[0]
        except ApiError as error:
            yield Interrupted(error)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, BACK_OFF[1])
