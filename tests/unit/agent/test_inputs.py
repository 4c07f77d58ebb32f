"""What an agent remembers, so that it can begin while the API is away."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.loop import run

from respawn.adapters.kubernetes.watch import Snapshot
from respawn.agent import inputs
from respawn.agent.inputs import RELIST_WITHIN, Inputs, Memory
from respawn.model.policy import FAST, Policy, Timings
from respawn.model.storage import Pool

POOL = {
    "apiVersion": "respawn.dev/v1alpha1",
    "kind": "StoragePool",
    "metadata": {"name": "ceph", "uid": "u", "resourceVersion": "7", "generation": 1},
    "spec": {
        "ceph": {
            "fsid": "9c2f5a3e-6e0e-4f37-8f0e-0c4c9f1f8a5e",
            "monitors": ["198.51.100.1:3300"],
            "pool": "vms",
            "clientName": "respawn",
            "credentialsSecret": {"namespace": "respawn", "name": "ceph"},
        }
    },
}


class Listener:
    """An agent, as far as its inputs concern it."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}
        self.timings: tuple[int, Timings] | None = None

    def on_policy(self, generation: int, timings: Timings) -> None:
        self.timings = (generation, timings)

    @property
    def ports(self) -> "Listener":
        return self

    @property
    def clock(self) -> "Listener":
        return self

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @property
    def state(self) -> "Listener":
        return self

    policy_generation = 2

    def on_pools(self, pools: dict[str, Pool]) -> None:
        self.pools = dict(pools)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[frozenset[str]]:
    """What the hook is told instead of the host's real file."""
    published: list[frozenset[str]] = []
    monkeypatch.setattr(inputs, "publish_pools", published.append)
    return published


def test_what_was_kept_is_recalled_by_the_next_process(
    tmp_path: Path, told: list[frozenset[str]]
) -> None:
    memory = Memory(tmp_path / "respawn")
    memory.keep_policy(3, FAST)
    memory.keep_pools({"ceph": POOL})
    agent = Listener()
    Inputs(agent, None, node="host-1", folder=tmp_path / "respawn").recall()  # type: ignore[arg-type]
    assert agent.timings == (3, FAST)
    assert list(agent.pools) == ["ceph"]
    assert told == [frozenset({"vms"})]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"ceph": {}}', '{"ceph": 7}'])
def test_a_memory_that_makes_no_sense_is_no_memory(tmp_path: Path, content: str) -> None:
    (tmp_path / "pools.json").write_text(content)
    (tmp_path / "policy.json").write_text(json.dumps({"generation": "x"}))
    agent = Listener()
    Inputs(agent, None, node="host-1", folder=tmp_path).recall()  # type: ignore[arg-type]
    assert agent.pools == {} and agent.timings is None


def test_what_cannot_be_remembered_is_obeyed_but_not_acknowledged(tmp_path: Path) -> None:
    """As on a disk that is full, or read-only; once it can be, it is."""
    folder = tmp_path / "respawn"
    folder.write_text("no folder")
    agent = Listener()
    fed = Inputs(agent, None, node="host-1", folder=folder)  # type: ignore[arg-type]
    fed._take_policy(Policy(generation=3, timings=FAST))
    assert agent.timings == (2, FAST)
    assert not Memory(folder).keep_pools({"ceph": POOL})
    folder.unlink()
    assert fed._unkept is not None
    fed._take_policy(fed._unkept)
    assert agent.timings == (3, FAST) and fed._unkept is None
    assert Memory(folder).policy() == (3, FAST)


def test_a_hook_that_cannot_be_told_is_told_later(
    tmp_path: Path, told: list[frozenset[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Memory(tmp_path).keep_pools({"ceph": POOL})

    def full(pools: frozenset[str]) -> None:
        raise OSError("No space left on device")

    agent = Listener()
    fed = Inputs(agent, None, node="host-1", folder=tmp_path)  # type: ignore[arg-type]
    with monkeypatch.context() as disk:
        disk.setattr(inputs, "publish_pools", full)
        fed.recall()
    assert list(agent.pools) == ["ceph"] and not told and fed._unpublished
    fed._publish()
    assert told == [frozenset({"vms"})] and not fed._unpublished


def test_everything_is_listed_anew_when_the_api_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that died in a cut says nothing; what came meanwhile is seen all the same."""
    lists: list[str] = []

    async def watch(client: object, resource: Any, **_: object) -> AsyncGenerator[Snapshot, None]:
        lists.append(resource.plural)
        yield Snapshot((), 0.0)
        await asyncio.Event().wait()

    async def story() -> None:
        monkeypatch.setattr(inputs, "watch", watch)
        fed = Inputs(Listener(), None, node="host-1", folder=tmp_path)  # type: ignore[arg-type]
        works = [asyncio.ensure_future(fed.follow(w)) for w in (fed.run_servers, fed.run_node)]
        await asyncio.sleep(100)
        assert sorted(lists) == ["nodes", "virtualservers"]
        fed.relist()
        await asyncio.sleep(RELIST_WITHIN)
        assert sorted(lists) == ["nodes", "nodes", "virtualservers", "virtualservers"]
        for work in works:
            work.cancel()
        await asyncio.wait(works)
        assert all(work.cancelled() for work in works)

    run(story())


def test_what_breaks_a_watch_is_not_swallowed(tmp_path: Path) -> None:
    async def broken() -> None:
        raise ValueError("odd")

    fed = Inputs(Listener(), None, node="host-1", folder=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="odd"):
        run(fed.follow(broken))
