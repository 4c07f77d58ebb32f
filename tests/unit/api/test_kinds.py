"""The models: what they read, what they keep, what they assume."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from respawn.api.base import Model, Resource, kubernetes_name
from respawn.api.kinds import KINDS
from respawn.api.respawnpolicy import RespawnPolicy
from respawn.api.virtualserver import VirtualServer

PROJECT = Path(__file__).parents[3]
MODELS: dict[str, type[Resource]] = {kind.name: kind.model for kind in KINDS}
SAMPLES = [
    document
    for path in sorted((PROJECT / "manifests/samples").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
    if document["kind"] in MODELS
]


def test_there_is_a_sample_of_every_kind() -> None:
    assert {sample["kind"] for sample in SAMPLES} == MODELS.keys()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s["kind"])
def test_no_word_of_a_sample_is_ignored(sample: dict[str, Any]) -> None:
    read = MODELS[sample["kind"]].model_validate(sample)
    assert read.model_dump(by_alias=True, exclude_unset=True) == sample


def test_fields_of_a_newer_version_do_not_stop_an_older_reader() -> None:
    sample = next(s for s in SAMPLES if s["kind"] == "VirtualServer")
    newer = {**sample, "spec": {**sample["spec"], "gpu": {"count": 1}}}
    assert VirtualServer.model_validate(newer) == VirtualServer.model_validate(sample)


def test_a_policy_without_spec_has_the_default_timings() -> None:
    timings = RespawnPolicy.model_validate({"metadata": {"name": "default"}}).spec.timings
    assert timings.model_dump(by_alias=True) == {
        "leaseRenew": "2s",
        "heartbeat": "1s",
        "pauseAfter": "5s",
        "fenceAfter": "8s",
        "unresponsiveAfter": "60s",
        "storageLostAfter": "60s",
    }


def test_an_object_is_unobserved_until_something_wrote_its_status() -> None:
    for model in MODELS.values():
        assert model.model_fields["status"].default.observed_generation == -1


def test_names_become_kubernetes_names() -> None:
    names = ["machine_id", "boot_id", "target_boot_id", "run_policy", "uid", "id", "cpu"]
    assert [kubernetes_name(name) for name in names] == [
        "machineID",
        "bootID",
        "targetBootID",
        "runPolicy",
        "uid",
        "id",
        "cpu",
    ]


def test_models_are_values() -> None:
    assert Model.model_config["frozen"]
