"""Who leads, and what is said when that is not known."""

import datetime
import json
from types import SimpleNamespace
from typing import Any

import pytest

from labkit import controlplane, install, status
from labkit.lab import Lab

NOW = datetime.datetime(2026, 1, 1, 12, 0, 10, tzinfo=datetime.UTC)


def lease(holder: str = "operator-2/abc", renewed: str = "2026-01-01T12:00:06.500000Z") -> dict:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 5, "renewTime": renewed}
    return {"spec": spec}


def test_the_holder_of_a_lease_leads_until_it_has_run_out() -> None:
    assert status.holder(lease(), NOW) == 2
    assert status.holder(lease(renewed="2026-01-01T12:00:04.900000Z"), NOW) is None
    assert status.holder(lease(holder=""), NOW) is None
    assert status.holder(None, NOW) is None
    assert status.holder({"spec": {}}, NOW) is None
    assert status.holder(lease(holder="somebody"), NOW) is None


@pytest.mark.parametrize(
    ("state", "answer", "leads"),
    [
        ("running", {"leader": 1, "known": True}, True),
        ("frozen", {"leader": 1, "known": True}, True),
        ("stopped", {"leader": 1, "known": True}, False),
        ("running", {"leader": 2, "known": True}, False),
        ("running", {"leader": None, "known": True}, False),
        ("running", {"leader": None, "known": False}, None),
    ],
)
def test_each_operator_is_told_whether_it_leads(
    state: str, answer: dict, leads: bool | None
) -> None:
    assert status._operator(1, state, answer) == {"index": 1, "state": state, "leader": leads}


def test_the_leader_is_unknown_while_the_api_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_: Lab) -> int | None:
        raise controlplane.Silent("nobody answers")

    monkeypatch.setattr(status, "leader", silent)
    answer = status.leader_answer(None)  # type: ignore[arg-type]
    assert answer == {"leader": None, "known": False}
    assert status.leader_text(answer) == "unknown"
    assert status.leader_text({"leader": None, "known": True}) == "none"
    assert status.leader_text({"leader": 2, "known": True}) == "2"


@pytest.mark.parametrize(
    ("begun", "leads"),
    [(1767268801.0, True), (1767268805.0, False), (None, False)],
)
def test_the_lease_of_a_former_life_leads_nobody(begun: float | None, leads: bool) -> None:
    """It runs on for seconds after its process was killed, and bears the name of the next one."""
    held = {"spec": {"acquireTime": "2026-01-01T12:00:03.000000Z"}}
    assert status.acquired_since(held, begun) is leads
    assert status.acquired_since({"spec": {}}, begun) is (begun is not None)


def test_a_process_that_was_stopped_by_a_signal_is_frozen_whoever_sent_it() -> None:
    def state(**more: object) -> str | None:
        return status._state({"operator-1": {"pid": 7, **more}}, "operator-1")

    assert state(state="running", suspended=False) == "running"
    assert state(state="running", suspended=True) == "frozen"
    assert state(state="waiting", suspended=False) == "starting"


@pytest.mark.parametrize(("ago", "leader"), [(60.0, 2), (-5.0, None)])
def test_a_process_that_has_begun_since_does_not_lead_by_the_lease_that_is_left(
    monkeypatch: pytest.MonkeyPatch, ago: float, leader: int | None
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    held = lease(renewed=now.isoformat())
    held["spec"]["acquireTime"] = now.isoformat()
    services = {"operator-2": {"state": "running", "since": now.timestamp() - ago}}
    lab: Any = SimpleNamespace(
        folder=None, state=None, supervisor=SimpleNamespace(services=lambda: services)
    )
    monkeypatch.setattr(controlplane, "get", lambda *_: held)
    assert status.leader(lab) == leader
    services.clear()
    assert status.leader(lab) is None


def test_nobody_waits_for_the_node_of_a_host_that_was_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def node(name: str, **more: str) -> dict:
        return {"kind": "Node", "metadata": {"name": name, **more}, "status": {}}

    found = {"items": [node("host-1"), node("host-2", deletionTimestamp="2026-01-01T12:00:00Z")]}
    monkeypatch.setattr(install, "kubectl", lambda *_: json.dumps(found))
    lab: Any = None
    assert install.not_ready(lab) == ["Node/host-1: no status yet"]
