"""What an agent remembers, so that it can begin while the API is away."""

import json
from pathlib import Path

import pytest

from respawn.agent import inputs
from respawn.agent.inputs import Inputs, Memory
from respawn.model.policy import FAST, Timings

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
        self.pools: dict[str, object] = {}
        self.timings: tuple[int, Timings] | None = None

    def on_policy(self, generation: int, timings: Timings) -> None:
        self.timings = (generation, timings)

    def wake_all(self) -> None:
        """Nothing to wake."""


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
