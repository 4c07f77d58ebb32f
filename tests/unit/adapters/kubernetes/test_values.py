"""The pure parts of the Kubernetes adapter: addresses, patches, leases, events."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from respawn.adapters.kubernetes import errors, leases, resources
from respawn.adapters.kubernetes.events import event_body, event_name
from respawn.adapters.kubernetes.patch import difference
from respawn.adapters.kubernetes.resources import EVENTS, LEASES, NODES, VIRTUAL_SERVERS
from respawn.api.kinds import KINDS
from respawn.ports import errors as ports
from respawn.ports.cluster import Lease

NOW = datetime(2026, 1, 31, 8, 30, 0, 250_000, tzinfo=UTC)


def test_resources_are_those_of_the_crds() -> None:
    ours = {
        (r.plural, r.kind, r.namespaced)
        for r in vars(resources).values()
        if isinstance(r, resources.Resource) and r.group == "respawn.dev"
    }
    assert ours == {(kind.plural, kind.name, kind.namespaced) for kind in KINDS}


def test_paths() -> None:
    assert NODES.path() == "/apis/respawn.dev/v1alpha1/nodes"
    assert NODES.path("host-1", part="status") == ("/apis/respawn.dev/v1alpha1/nodes/host-1/status")
    assert LEASES.path("host-1", namespace="respawn") == (
        "/apis/coordination.k8s.io/v1/namespaces/respawn/leases/host-1"
    )
    assert VIRTUAL_SERVERS.path() == "/apis/respawn.dev/v1alpha1/virtualservers"
    assert EVENTS.path(namespace="a/b") == "/api/v1/namespaces/a%2Fb/events"
    with pytest.raises(ValueError, match="no namespace"):
        NODES.path("host-1", namespace="a")
    with pytest.raises(ValueError, match="which namespace"):
        VIRTUAL_SERVERS.path("web-1")


def test_a_patch_holds_what_differs_and_nulls_for_what_is_gone() -> None:
    before = {"phase": "Running", "node": "host-1", "placement": {"epoch": 1, "node": "host-1"}}
    after = {"phase": "Running", "placement": {"epoch": 1, "node": None, "proof": {"kind": "x"}}}
    assert difference(before, after) == {
        "node": None,
        "placement": {"node": None, "proof": {"kind": "x"}},
    }
    assert difference(before, before) == {}
    assert difference({"a": None}, {}) == {}


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, as the API server does it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


leaves = st.one_of(st.booleans(), st.integers(0, 2), st.just("x"), st.just([1]))
keys = st.sampled_from("abcd")
flat = st.dictionaries(keys, leaves, max_size=4)
documents = st.dictionaries(keys, st.one_of(leaves, flat), max_size=4)


def without_empty(value: Any) -> Any:
    """A merge patch cannot tell an empty object from an absent one that it just emptied."""
    if not isinstance(value, dict):
        return value
    pruned = {key: without_empty(child) for key, child in value.items()}
    return {key: child for key, child in pruned.items() if child != {}}


@given(before=documents, after=documents, more=documents)
def test_a_patch_makes_the_wanted_and_spares_the_unknown(
    before: Any, after: Any, more: Any
) -> None:
    unknown = {f"newer-{key}": value for key, value in more.items()}
    result = merged({**before, **unknown}, difference(before, after))
    assert without_empty(result) == without_empty({**after, **unknown})


def stored(version: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "host-1", "resourceVersion": version}, "spec": spec}


def test_a_renewal_changes_the_token_and_nothing_that_was_acquired() -> None:
    read = leases.decode(stored("1", holderIdentity="a", leaseTransitions=3, renewTime="t1"))
    assert (read.holder, read.transitions, read.resource_version) == ("a", 3, "1")
    spec = leases.held(read, "a", 8.0, NOW)
    assert spec == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 8,
        "renewTime": "2026-01-31T08:30:00.250000Z",
    }
    renewed = leases.decode(
        stored("2", holderIdentity="a", leaseTransitions=3, renewTime=spec["renewTime"])
    )
    assert renewed.token != read.token


def test_a_change_of_holder_raises_transitions_but_a_first_holder_does_not() -> None:
    taken = leases.held(Lease("n", "a", 3, resource_version="1"), "b", 2.5, NOW)
    assert (taken["leaseTransitions"], taken["leaseDurationSeconds"]) == (4, 3)
    assert taken["acquireTime"] == taken["renewTime"]
    assert leases.held(Lease("n"), "b", 5, NOW)["leaseTransitions"] == 0


def test_a_released_lease_promises_nothing() -> None:
    spec = leases.held(Lease("n", "a", resource_version="1"), "", 5, NOW)
    assert spec["holderIdentity"] == ""
    assert leases.decode(stored("2", **spec)).duration == 0


ABOUT = {
    "apiVersion": "respawn.dev/v1alpha1",
    "kind": "VirtualServer",
    "metadata": {"name": "web-1", "namespace": "customer-a", "uid": "u-1"},
}


def test_the_same_event_has_the_same_name_and_another_one_another() -> None:
    name = event_name("web-1", uid="u-1", reason="Recovered", key="7")
    assert name == event_name("web-1", uid="u-1", reason="Recovered", key="7")
    others = [
        event_name("web-1", uid="u-2", reason="Recovered", key="7"),
        event_name("web-1", uid="u-1", reason="HostLost", key="7"),
        event_name("web-1", uid="u-1", reason="Recovered", key="8"),
    ]
    assert len({name, *others}) == 4
    assert len(event_name("x" * 253, uid="u", reason="r", key="k")) <= 253


def test_an_event_tells_of_its_object() -> None:
    body = event_body(
        ABOUT,
        reason="Recovered",
        message="m" * 5000,
        warning=True,
        key="7",
        component="respawn-operator",
        instance="1/abc",
        now=NOW,
    )
    assert body["involvedObject"] == {
        "apiVersion": "respawn.dev/v1alpha1",
        "kind": "VirtualServer",
        "name": "web-1",
        "namespace": "customer-a",
        "uid": "u-1",
    }
    assert body["type"] == "Warning"
    assert len(body["message"]) == 1024
    assert body["firstTimestamp"] == "2026-01-31T08:30:00Z"


def test_every_error_is_one_that_the_ports_know() -> None:
    for status, expected in (
        (404, ports.NotFound),
        (409, ports.Conflict),
        (503, ports.Unavailable),
        (403, ports.Refused),
    ):
        error = errors.of_status(status, {"reason": "Why", "message": "because"})
        assert isinstance(error, expected)
        assert (str(error), error.reason, error.status) == ("because", "Why", status)
