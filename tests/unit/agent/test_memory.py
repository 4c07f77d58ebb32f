"""What an agent knows before the API answers, after its process ended or its host rebooted."""

import json
from pathlib import Path

import pytest

from respawn.adapters.kubernetes import codec_storage
from respawn.agent.inputs import Memory
from respawn.model.policy import Timings

POOL = {
    "metadata": {"name": "ceph", "uid": "u-1", "resourceVersion": "7", "generation": 1},
    "spec": {
        "ceph": {
            "fsid": "f",
            "pool": "vms",
            "clientName": "respawn",
            "monitors": ["198.51.100.1:3300"],
            "credentialsSecret": {"namespace": "respawn", "name": "ceph"},
        }
    },
    "status": {"conditions": [], "observedGeneration": 1},
}


def test_pools_are_recalled_as_the_api_told_them(tmp_path: Path) -> None:
    Memory(tmp_path).keep_pools({"ceph": POOL})
    assert Memory(tmp_path).pools() == {"ceph": codec_storage.decode_pool(POOL)}


@pytest.mark.parametrize("rest", ["", "[]", '{"ceph": {"capacity": null}}'])
def test_a_memory_that_makes_no_sense_is_no_memory(tmp_path: Path, rest: str) -> None:
    (tmp_path / "pools.json").write_text(rest)
    assert Memory(tmp_path).pools() == {}


def test_the_timings_that_were_obeyed_are_recalled(tmp_path: Path) -> None:
    obeyed = Timings(fence_after=30.0, pause_after=20.0)
    Memory(tmp_path).keep_policy(4, obeyed)
    assert Memory(tmp_path).policy() == (4, obeyed)
    (tmp_path / "policy.json").write_text(json.dumps({"generation": 4}))
    assert Memory(tmp_path).policy() is None
