"""What is written is read back as it was, and what nobody here knows of survives."""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from respawn.adapters.kubernetes import (
    codec_host,
    codec_node,
    codec_policy,
    codec_server,
    codec_server_status,
    codec_storage,
)
from respawn.adapters.kubernetes.codec_base import Malformed
from respawn.adapters.kubernetes.codec_node import Columns
from respawn.api.base import Model
from respawn.api.node_status import NodeStatus
from respawn.api.respawnpolicy import RespawnPolicyStatus
from respawn.api.serverimage import ServerImageStatus
from respawn.api.storagepool import StoragePoolStatus
from respawn.api.virtualserver_status import VirtualServerStatus
from respawn.model.base import Owner
from respawn.model.conditions import Condition, Reason, Type
from respawn.model.node import Fence, FencePhase, HostStatus, Node, NodeSpec
from respawn.model.placement import Phase, Placement, ProofKind
from respawn.model.policy import Policy, Timings
from respawn.model.server import (
    AntiAffinity,
    Disk,
    DiskStatus,
    Nic,
    Recovery,
    RecoveryMode,
    RunPolicy,
    Server,
    ServerSpec,
    ServerStatus,
)
from respawn.model.storage import Image, Origin, Pool

NOW = datetime(2026, 1, 31, 8, 30, tzinfo=UTC)
WORDS = st.text("abcxyz", min_size=1, max_size=8)
MOMENTS = st.integers(0, 10**12).map(lambda ms: NOW + timedelta(milliseconds=ms))
SECONDS = st.integers(0, 10**7).map(lambda ms: ms / 1000)
CONDITIONS = st.lists(
    st.builds(
        Condition,
        type=WORDS,
        status=st.sampled_from(["True", "False", "Unknown"]),
        reason=WORDS,
        message=WORDS,
        observed_generation=st.integers(0, 9),
        last_transition=MOMENTS.map(lambda m: m.replace(microsecond=0)),
    ),
    max_size=3,
).map(tuple)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: WORDS,
    int: st.integers(1, 2**40),
    bool: st.booleans(),
    float: SECONDS,
    datetime: MOMENTS,
    Owner: st.builds(Owner, WORDS, WORDS),
}


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type of the model."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if kind == tuple[Condition, ...]:
        return CONDITIONS
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(of(inner[0]), max_size=3, unique=True).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of, inner))
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(st.none() if x is type(None) else of(x) for x in inner))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind))
    return values(kind)


def values(kind: type, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any value of a dataclass of the model; fields that are not named in `given` by their type."""
    hints = typing.get_type_hints(kind)
    parts = {
        f.name: given[f.name] if f.name in given else of(hints[f.name])
        for f in dataclasses.fields(kind)
    }
    return st.builds(kind, **parts)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def body(status: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    metadata = {"name": "x", "uid": "u", "namespace": "n", "resourceVersion": "7", "generation": 3}
    return {"metadata": metadata, "spec": spec, "status": dict(status)}


def server(status: Mapping[str, Any]) -> Server:
    return codec_server.decode(body(status, memory={"size": "1Gi"}))


def only_known(model: type[Model], status: Mapping[str, Any]) -> None:
    """Every field we write is one of the CRD."""
    shown = model.model_validate(status).model_dump(by_alias=True, exclude_unset=True)
    assert shown == status


PROOF_KINDS = st.none() | st.sampled_from([str(kind) for kind in ProofKind])
RECOVERIES = st.none() | values(Recovery, proof=PROOF_KINDS)
SERVER_STATUS = values(ServerStatus, recovery=RECOVERIES)
FENCES = values(Fence)
NEWER = {"newer": "kept"}


FEW = settings(max_examples=50, deadline=None)


@FEW
@given(SERVER_STATUS, SERVER_STATUS)
def test_a_servers_status(first: ServerStatus, second: ServerStatus) -> None:
    new = Server("u", "n", "x")
    one = merged({**NEWER, "observedGeneration": -1}, codec_server_status.patch(new, first))
    read = server(one)
    assert read.status == first
    two = merged(one, codec_server_status.patch(read, second))
    assert server(two).status == second
    assert two.pop("newer") == "kept"
    only_known(VirtualServerStatus, two)
    held = second.placement.node if second.placement.held else None
    assert (two.get("node"), two["uuid"]) == (held, "u")


@pytest.mark.parametrize("source", [None, "", "golden"])
def test_a_blank_disk_is_told_from_one_whose_content_is_not_known(source: str | None) -> None:
    wanted = ServerStatus(disks=(DiskStatus("data", "ceph", "vs-u-data", 1 << 20, source),))
    written = merged({}, codec_server_status.patch(Server("u", "n", "x"), wanted))
    assert server(written).status.disks == wanted.disks


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, (False, False, None)),
        ({"scheduling": {"mode": "Cordoned", "reservedMemory": "4Gi"}}, (True, False, 4 * 2**30)),
        ({"maintenance": {"mode": "Drain"}}, (False, True, None)),
        ({"scheduling": {"reservedMemory": "0"}}, (False, False, 0)),
    ],
)
def test_what_a_node_says_of_its_scheduling(
    spec: dict[str, Any], expected: tuple[bool, bool, int | None]
) -> None:
    found = codec_node.decode({"metadata": {"name": "x", "uid": "u"}, "spec": spec}).spec
    assert (found.cordoned, found.drain, found.reserved) == expected


@FEW
@given(FENCES, CONDITIONS, FENCES, CONDITIONS)
def test_the_operators_part_of_a_node(
    fence: Fence,
    conditions: tuple[Condition, ...],
    later: Fence,
    others: tuple[Condition, ...],
) -> None:
    host = {"cleanGeneration": 4, **NEWER}
    one = merged(
        {**NEWER, "host": host},
        codec_node.patch(Node("x"), fence, conditions, Columns(2, 3, 1, 2**30, 5)),
    )
    read = codec_node.decode(body(one))
    assert (read.fence, read.conditions) == (fence, conditions)
    patch = codec_node.patch(read, later, others)
    assert "host" not in patch
    two = merged(one, patch)
    again = codec_node.decode(body(two))
    assert (again.fence, again.conditions, again.observed_generation) == (later, others, 3)
    assert two["host"] == host
    assert two.pop("newer") == two["host"].pop("newer") == "kept"
    only_known(NodeStatus, two)


@FEW
@given(values(HostStatus), values(HostStatus))
def test_the_agents_part_of_a_node(first: HostStatus, second: HostStatus) -> None:
    patch = codec_host.patch(HostStatus(), first)
    assert set(patch) <= {"host"}
    one = merged({"host": NEWER}, patch)
    assert codec_node.decode(body(one)).host == first
    assert not codec_host.patch(first, first)
    two = merged(one, codec_host.patch(first, second))
    assert codec_node.decode(body(two)).host == second
    assert two["host"].pop("newer") == "kept"
    only_known(NodeStatus, two)


CEPH = {
    "fsid": "f",
    "pool": "vms",
    "clientName": "respawn",
    "monitors": ["a:1"],
    "credentialsSecret": {"namespace": "respawn", "name": "ceph"},
}


@FEW
@given(values(Pool))
def test_a_pools_status(wanted: Pool) -> None:
    read = codec_storage.decode_pool(body({}, ceph=CEPH))
    assert read.secret == ("respawn", "ceph")
    assert not read.ready
    status = merged(NEWER, codec_storage.patch_pool(read, wanted))
    again = codec_storage.decode_pool(body(status, ceph=CEPH))
    for name in ("total", "used", "conditions", "observed_generation"):
        assert getattr(again, name) == getattr(wanted, name)
    assert status.pop("newer") == "kept"
    only_known(StoragePoolStatus, status)


@FEW
@given(values(Image))
def test_an_images_status(wanted: Image) -> None:
    spec = {"pool": "ceph", "source": {"file": {"path": "/a"}}, "checksum": "sha256:0"}
    read = codec_storage.decode_image(body({}, **spec))
    assert (read.origin, read.checksum) == (Origin(path="/a"), "sha256:0")
    status = merged(NEWER, codec_storage.patch_image(read, wanted))
    again = codec_storage.decode_image(body(status, **spec))
    for name in ("size", "phase", "location", "imported", "conditions", "observed_generation"):
        assert getattr(again, name) == getattr(wanted, name)
    assert status.pop("newer") == "kept"
    only_known(ServerImageStatus, status)


POLICIES = values(Policy, earlier=st.dictionaries(st.integers(0, 9), values(Timings), max_size=3))


@FEW
@given(POLICIES)
def test_the_policys_status(wanted: Policy) -> None:
    read = codec_policy.decode(body({}), NOW)
    assert read.timings == Timings()
    status = merged(NEWER, codec_policy.patch(read, wanted))
    again = codec_policy.decode(body(status), NOW)
    for name in ("earlier", "worst_case", "conditions", "observed_generation"):
        assert getattr(again, name) == getattr(wanted, name)
    assert status.pop("newer") == "kept"
    only_known(RespawnPolicyStatus, status)


def test_a_servers_spec() -> None:
    spec = {
        "runPolicy": "RerunOnFailure",
        "cpu": {"cores": 2},
        "memory": {"size": "128Mi"},
        "disks": [
            {"name": "root", "pool": "ceph", "size": "128Mi", "source": {"image": "lab-guest"}},
            {"name": "data", "pool": "ceph", "size": "1Gi", "later": True},
        ],
        "networks": [{"name": "public", "bridge": "tenant"}, {"name": "b", "network": "later"}],
        "recovery": {"mode": "None", "priority": 7},
        "placement": {
            "nodeSelector": {"rack": "a"},
            "preferredNodes": ["host-2"],
            "antiAffinity": [{"group": "web"}, {"group": "db", "mode": "Preferred"}],
        },
        "deletion": {"policy": "Retain", "protected": True},
        "shutdownGracePeriod": "1m30s",
    }
    assert codec_server.decode(body({}, **spec)).spec == ServerSpec(
        run_policy=RunPolicy.RERUN_ON_FAILURE,
        cores=2,
        memory=128 << 20,
        disks=(Disk("root", "ceph", 128 << 20, "lab-guest"), Disk("data", "ceph", 1 << 30)),
        networks=(Nic("public", "tenant"), Nic("b", "")),
        recovery=RecoveryMode.NONE,
        priority=7,
        node_selector={"rack": "a"},
        preferred_nodes=("host-2",),
        anti_affinity=(AntiAffinity("web"), AntiAffinity("db", required=False)),
        retain_disks=True,
        protected=True,
        shutdown_grace=90.0,
    )


def test_a_word_that_only_a_later_version_knows_deletes_nothing() -> None:
    """S10: an operator that was set back reads what its successor's CRD allows."""
    spec = {"memory": {"size": "1Gi"}, "deletion": {"policy": "Archive"}}
    assert codec_server.decode(body({}, **spec)).spec.retain_disks
    for policy, retains in (({}, False), ({"policy": "Delete"}, False), ({"policy": ""}, False)):
        it = codec_server.decode(body({}, memory={"size": "1Gi"}, deletion=policy))
        assert it.spec.retain_disks is retains


def test_what_was_never_looked_at_is_free_and_says_so_at_the_first_write() -> None:
    read = codec_server.decode({"metadata": {"name": "x", "uid": "u"}, "spec": SPEC})
    assert read.status == ServerStatus()
    assert codec_server_status.patch(read, read.status)["placement"] == {
        "phase": "Free",
        "epoch": 0,
    }


def test_a_change_of_the_proof_leaves_nothing_of_the_old_one() -> None:
    proof = {"kind": "Fenced", "fenceGeneration": 3, "lockers": [{"client": "c", "address": "a"}]}
    status = {"placement": {"phase": "Free", "epoch": 1, "proof": proof}}
    read = server(status)
    wanted = dataclasses.replace(read.status, placement=Placement(Phase.FREE, 1))
    assert merged(status, codec_server_status.patch(read, wanted))["placement"] == {
        "phase": "Free",
        "epoch": 1,
    }


SPEC: dict[str, Any] = {"memory": {"size": "1Gi"}}


@pytest.mark.parametrize(
    ("spec", "status", "field"),
    [
        ({"memory": {"size": "much"}}, {}, "spec.memory.size"),
        ({}, {}, "spec.memory.size"),
        ({**SPEC, "disks": [{"name": "root", "pool": "p"}]}, {}, "spec.disks[0].size"),
        ({**SPEC, "disks": {"root": {}}}, {}, "spec.disks"),
        ({**SPEC, "runPolicy": "Sometimes"}, {}, "spec.runPolicy"),
        ({**SPEC, "cpu": 4}, {}, "spec.cpu"),
        ({**SPEC, "cpu": {"cores": True}}, {}, "spec.cpu.cores"),
        (SPEC, {"placement": {"epoch": 3}}, "status.placement.phase"),
        (SPEC, {"placement": {"phase": "Gone"}}, "status.placement.phase"),
        (SPEC, {"setback": {"at": "yesterday"}}, "status.setback.at"),
        (SPEC, {"setback": {"at": "2026-01-31T08:30:00"}}, "status.setback.at"),
        (SPEC, "ill", "status"),
    ],
)
def test_what_makes_no_sense_is_said_to_be_so(spec: Any, status: Any, field: str) -> None:
    with pytest.raises(Malformed) as caught:
        codec_server.decode({"metadata": {"name": "x", "uid": "u"}, "spec": spec, "status": status})
    assert str(caught.value).startswith(f"{field}: ")
    assert caught.value.reason == Reason.MALFORMED


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.text(max_size=3),
    lambda x: st.lists(x, max_size=2) | st.dictionaries(WORDS, x, max_size=2),
    max_leaves=5,
)
SPECS = ("", ".memory", ".ceph", ".source", ".timings", ".brake")
STATUSES = ("", ".placement", ".fence", ".host", ".conditions")
PLACES = st.sampled_from(
    ["metadata", *(f"spec{x}" for x in SPECS), *(f"status{x}" for x in STATUSES)]
)


@settings(max_examples=300)
@given(PLACES, ANYTHING)
def test_nothing_but_malformed_ever_comes_out(place: str, thing: Any) -> None:
    whole: dict[str, Any] = body({}, memory={"size": "1Gi"}, ceph=dict(CEPH), pool="p")
    *path, last = place.split(".")
    target = whole
    for step in path:
        target = target.setdefault(step, {})
    target[last] = thing
    readers = (
        codec_server.decode,
        codec_node.decode,
        codec_storage.decode_pool,
        codec_storage.decode_image,
        lambda b: codec_policy.decode(b, NOW),
    )
    for read in readers:
        try:
            read(whole)
        except Malformed as complaint:
            assert str(complaint)


def test_an_address_is_one_however_it_is_written() -> None:
    """A fence is read back as Ceph writes addresses, and obstacles compare them as texts."""
    body = {
        "metadata": {"name": "host-1", "uid": "u"},
        "spec": {"addresses": {"storage": ["2001:DB8:0::9", "2001:db8::9", "198.51.100.9"]}},
        "status": {
            "host": {
                "registration": {
                    "machineID": "m", "bootID": "b", "addresses": ["2001:0DB8::0009"]
                }
            },
            "fence": {"phase": "Fenced", "generation": 1, "addresses": ["2001:db8:0:0::9"]},
        },
    }  # fmt: skip
    node = codec_node.decode(body)
    assert node.storage_addresses == ("2001:db8::9", "198.51.100.9")
    assert node.fence.addresses == ("2001:db8::9",)


@pytest.mark.parametrize(
    ("deleting", "phase", "word"),
    [(False, "OK", "Ready"), (True, "OK", "Deleting"), (True, "Fenced", "Fenced")],
)
def test_the_state_of_a_node_says_that_it_is_to_be_removed(
    deleting: bool, phase: str, word: str
) -> None:
    ready = Condition("Ready", "True", Reason.ALIVE, "", 1, NOW)
    read = Node("host-1", deleting=deleting)
    assert codec_node.patch(read, Fence(FencePhase(phase), 1), (ready,))["state"] == word


@pytest.mark.parametrize(
    ("spec", "deleting", "ready", "word"),
    [
        ({}, False, "True", "Ready"),
        ({"cordoned": True}, False, "True", "Cordoned"),
        ({"drain": True}, False, "True", "Drain"),
        ({"cordoned": True, "drain": True}, False, "True", "Drain"),
        ({"drain": True}, False, "False", "Dead"),
        ({"drain": True}, True, "True", "Deleting"),
    ],
)
def test_a_nodes_state_in_one_word(spec, deleting, ready, word) -> None:
    reason = Reason.ALIVE if ready == "True" else Reason.DEAD
    told = (Condition(Type.READY, ready, reason),)
    node = Node("host-1", spec=NodeSpec(**spec), deleting=deleting)
    assert codec_node.state(node, Fence(), told) == word
