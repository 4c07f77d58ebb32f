"""What the agent follows in the API: its servers, its Node, the policy, the pools.

Watches are hints that wake the agent up; whatever cannot be undone it reads afresh. An object that
cannot be understood is left out and logged: one odd object must not stop the others.
"""

import asyncio
import json
import logging
import os
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from respawn.adapters.kubernetes import codec_node, codec_policy, codec_server, codec_storage
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.resources import (
    NODES,
    POLICIES,
    STORAGE_POOLS,
    VIRTUAL_SERVERS,
    Resource,
)
from respawn.adapters.kubernetes.watch import Change, Snapshot, watch
from respawn.agent.core import Agent
from respawn.agent.guard_server import publish_pools
from respawn.model.policy import Policy, Timings
from respawn.model.storage import Pool
from respawn.ports.errors import Refused

log = logging.getLogger(__name__)
SILENCE = 75.0
"""Seconds without a byte before a watch is listed again; bookmarks come about once a minute."""
RELIST_WITHIN = 1.0
"""Seconds over which agents spread their LISTs when the API answers again."""
KEEP_AGAIN = 10.0
"""Seconds until what could not be remembered is tried again."""
T = TypeVar("T")


class Inputs:
    """Feeds one agent. `run_...` follow for ever; `folder` is what survives the process."""

    def __init__(self, agent: Agent, client: Client, *, node: str, folder: Path) -> None:
        self._agent, self._client, self._node = agent, client, node
        self._memory = Memory(folder)
        self._servers: dict[str, str] = {}
        self._unkept: Policy | None = None
        self._unpublished = False
        self._back = asyncio.Event()

    def relist(self) -> None:
        """The API answers again: what the watches were to bring meanwhile may be lost."""
        self._back.set()
        self._back = asyncio.Event()

    async def follow(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`work` with its LIST and watch, and anew whenever `relist` is called.

        After a cut a stream may be dead for minutes without a word, while the Lease is fresh again
        and servers are placed here.
        """
        while True:
            following = asyncio.ensure_future(work())
            back = asyncio.ensure_future(self._back.wait())
            try:
                await asyncio.wait({following, back}, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    return following.result()
            finally:
                for task in (following, back):
                    task.cancel()
                await asyncio.wait({following, back})
            # many hosts may have lost the API together
            await self._agent.ports.clock.sleep(random.uniform(0, RELIST_WITHIN))

    def recall(self) -> None:
        """Go on with what was known before this process: an agent that starts while the API is
        away obeys the timings it had acknowledged, not the defaults."""
        known = self._memory.policy()
        if known is not None:
            self._agent.on_policy(*known)
        self._take_pools(self._memory.pools())

    async def run_servers(self) -> None:
        """Servers that are placed here."""
        async with aclosing(self._follow(VIRTUAL_SERVERS, f"status.node={self._node}")) as events:
            async for event in events:
                if isinstance(event, Snapshot):
                    self._all_servers(event)
                elif isinstance(event, Change):
                    self._one_server(event)

    def _all_servers(self, snapshot: Snapshot) -> None:
        present = {body["metadata"]["uid"]: body for body in snapshot.objects}
        for uid in [uid for uid in self._servers if uid not in present]:
            self._server_gone(uid)
        for body in present.values():
            self._put_server(body)

    def _one_server(self, change: Change) -> None:
        if change.type == "DELETED":
            self._server_gone(change.object["metadata"]["uid"])
        else:
            self._put_server(change.object)

    def _put_server(self, body: Mapping[str, Any]) -> None:
        server = _understood(codec_server.decode, body)
        if server is not None:
            self._servers[server.uid] = server.name
            self._agent.on_server(server)

    def _server_gone(self, uid: str) -> None:
        self._servers.pop(uid, None)
        self._agent.on_server_gone(uid)

    async def run_node(self) -> None:
        """This host's own Node."""
        async with aclosing(self._follow(NODES, f"metadata.name={self._node}")) as events:
            async for event in events:
                for body in _bodies(event):
                    node = _understood(codec_node.decode, body)
                    if node is not None:
                        self._agent.on_node(node)

    async def run_policy(self) -> None:
        """The policy's timings."""
        async with aclosing(self._follow(POLICIES, "")) as events:
            async for event in events:
                for body in _bodies(event):
                    policy = _understood(
                        lambda b: codec_policy.decode(b, self._agent.ports.clock.now().wall), body
                    )
                    if policy is not None:
                        self._take_policy(policy)

    def _take_policy(self, policy: Policy) -> None:
        kept = self._memory.keep_policy(policy.generation, policy.timings)
        self._unkept = None if kept else policy
        # S8: timings that the next process would not know are obeyed, and not acknowledged: until
        # they are, the operator reckons with the slower of both.
        generation = policy.generation if kept else self._agent.state.policy_generation
        self._agent.on_policy(generation, policy.timings)

    async def run_memory(self) -> None:
        """Try again to remember what could not be."""
        while True:
            await self._agent.ports.clock.sleep(KEEP_AGAIN)
            if self._unkept is not None:
                self._take_policy(self._unkept)
            if self._unpublished:
                self._publish()

    async def run_pools(self) -> None:
        """The StoragePools: how to reach them, and which images are ours."""
        known: dict[str, Mapping[str, Any]] = {}
        async with aclosing(self._follow(STORAGE_POOLS, "")) as events:
            async for event in events:
                if isinstance(event, Snapshot):
                    known.clear()
                for body in _bodies(event):
                    known[body["metadata"]["name"]] = body
                if isinstance(event, Change) and event.type == "DELETED":
                    known.pop(event.object["metadata"]["name"], None)
                self._take_pools(_pools(known))
                self._memory.keep_pools(known)

    def _take_pools(self, pools: Mapping[str, Pool]) -> None:
        if pools:
            self._agent.on_pools(pools)
            self._publish()

    def _publish(self) -> None:
        self._unpublished = False
        try:
            publish_pools(frozenset(pool.pool for pool in self._agent.pools.values()))
        except OSError as error:
            self._unpublished = True
            log.error("cannot tell the hook which pools are ours: %s", error)

    def _follow(self, resource: Resource, fields: str) -> Any:
        return watch(self._client, resource, silence=SILENCE, fields=fields)


def _bodies(event: object) -> tuple[Mapping[str, Any], ...]:
    if isinstance(event, Snapshot):
        return event.objects
    if isinstance(event, Change) and event.type != "DELETED":
        return (event.object,)
    return ()


def _pools(bodies: Mapping[str, Mapping[str, Any]]) -> dict[str, Pool]:
    """Those that can be understood, by name."""
    found = (_understood(codec_storage.decode_pool, body) for body in bodies.values())
    return {pool.name: pool for pool in found if pool is not None}


def _understood(decode: Callable[[Mapping[str, Any]], T], body: Mapping[str, Any]) -> T | None:
    try:
        return decode(body)
    except (Refused, KeyError, TypeError, ValueError) as error:
        log.error("cannot understand %s: %s", body.get("metadata", {}).get("name"), error)
        return None


class Memory:
    """What an agent must know before the API answers: timings, and how to reach the pools."""

    def __init__(self, folder: Path) -> None:
        self._policy, self._pools = folder / "policy.json", folder / "pools.json"

    def keep_policy(self, generation: int, timings: Timings) -> bool:
        """Remember the timings that are obeyed; False when that cannot be."""
        return _kept(self._policy, {"generation": generation, "timings": asdict(timings)})

    def policy(self) -> tuple[int, Timings] | None:
        """What was obeyed last; None if nothing was."""
        found = _read(self._policy)
        try:
            return int(found["generation"]), Timings(**found["timings"])
        except (KeyError, TypeError, ValueError):
            return None

    def keep_pools(self, bodies: Mapping[str, Mapping[str, Any]]) -> bool:
        """Remember the objects, by name, as the API told them; False when that cannot be."""
        return _kept(self._pools, bodies)

    def pools(self) -> dict[str, Pool]:
        """The pools known last, as far as they can be understood."""
        known = _read(self._pools).items()
        return _pools({name: body for name, body in known if isinstance(body, dict)})


def _kept(path: Path, content: Mapping[str, Any]) -> bool:
    """A full or read-only disk is no reason to care for no server."""
    fresh = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(content))
        os.replace(fresh, path)
    except OSError as error:
        log.error("cannot remember %s for the next agent: %s", path.stem, error)
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
