"""Planes are cut, of one host and of all at once, and daemons die. Nobody is told."""

import json
from datetime import timedelta

import pytest
from fleet import PLANES, STANDING, Fleet, condition, holds, now, one_writer, seconds
from labtool import eventually

pytestmark = pytest.mark.lab

FENCE_AFTER = 3.0
"""Seconds, of the fast profile."""
ENOUGH = FENCE_AFTER + 1.5
"""Seconds after which a host that was to be fenced would have been."""
SERVICES = ("agent", "heart", "libvirtd")


def nothing_happens(fleet: Fleet, pids: dict[str, int], duration: float = ENOUGH) -> None:
    """The same QEMUs, and no fence, all the time."""
    fences = fleet.fences()
    holds("nobody is fenced", duration, lambda: fleet.fences() == fences)
    assert fleet.pids() == pids


@pytest.mark.extended
def test_each_host_is_ill_in_another_way(fleet: Fleet) -> None:
    """One has no management plane, one no storage, one no heart and one no agent: each is said to
    be what it is, and none is fenced, nor is that held back. When all is mended, and after all
    their processes were killed at once, their servers are as they were.

    The servers of the first run on. Those of the second wait for their disks. The third's agent
    beats for it, the fourth's heart says that it lives.
    """
    unheard, dry = fleet.node_of("gold"), fleet.node_of("silver")
    heartless, headless = (host for host in fleet.nodes() if host not in (unheard, dry))
    pids, boots = fleet.pids(), {name: fleet.boots(name) for name in STANDING}
    fleet.lab("host", "cut", unheard, "management")
    fleet.lab("host", "cut", dry, "storage")
    fleet.lab("heart", "stop", heartless)
    fleet.lab("agent", "stop", headless)
    for host, reason in ((unheard, "AgentDown"), (dry, "Unreachable"), (headless, "AgentDown")):
        fleet.await_reason(host, reason)
    fleet.await_progress("gold")
    nothing_happens(fleet, pids)
    assert held(fleet) == ""
    assert condition(fleet.node(heartless), "Ready")["status"] == "True"

    fleet.lab("host", "heal", unheard, "management")
    fleet.lab("host", "heal", dry, "storage")
    fleet.lab("heart", "start", heartless)
    fleet.lab("agent", "start", headless)
    fleet.await_peace()
    for service in SERVICES:
        for host in (unheard, headless):
            fleet.lab(service, "kill", host)
    fleet.await_peace()
    nothing_happens(fleet, pids)
    fleet.await_progress(*STANDING)
    for name in STANDING:
        fleet.check_disks(name, boots=boots[name])
    fleet.recovers("silver")


def test_both_cut(fleet: Fleet) -> None:
    """Cut off from the API alone, a host keeps its servers. Cut off from Ceph, too, it pauses them
    before they are started elsewhere, and ends them on its return.

    That it is paused in time is seen over the tenant network, which is not cut: the guest answers
    until it stands still.
    """
    fleet.await_progress(*STANDING)  # who has not booted yet answers nobody
    host = fleet.node_of("bronze")
    fleet.lab("host", "cut", host, "management")
    fleet.await_reason(host, "AgentDown")
    nothing_happens(fleet, fleet.pids())
    fleet.lab("host", "heal", host, "management")
    fleet.await_peace()
    here = [name for name, domain in fleet.domains().items() if domain["host"] == host]
    boots = {name: fleet.boots(name) for name in here}
    with one_writer(fleet.lab):
        answering, cut = fleet.answering("bronze", 12), now()
        fleet.lab("host", "cut", host, *PLANES)
        record = fleet.await_elsewhere("bronze", host)
        paused, fenced = seconds(cut, answering.result()), seconds(cut, record["fenced"])
        print(f"paused {paused:.2f} s after the cut was ordered, fenced after {fenced:.2f} s")
        assert 0 < paused < fenced
        stale = [d for d in fleet.qemus() if d["host"] == host]
        assert {d["state"] for d in stale} == {"paused"}, stale
        fleet.lab("host", "heal", host, *PLANES)
        eventually("its stale QEMUs end", lambda: not stale_on(fleet, host, stale))
        eventually(f"{host} is let in", lambda: fleet.fences()[host][0] == "OK")
        for name in here:
            fleet.await_writing(name, boots=boots[name] + 1)
            fleet.check_disks(name, boots=boots[name] + 1)
    fleet.await_peace()
    node = fleet.node(host)
    assert node["host"]["cleanGeneration"] == node["fence"]["generation"]
    assert f"198.51.100.1{host[-1]}:0/0" not in fleet.blocklist()


def stale_on(fleet: Fleet, host: str, stale: list[dict[str, object]]) -> bool:
    pids = {domain["pid"] for domain in stale}
    return any(d["host"] == host and d["pid"] in pids for d in fleet.qemus())


@pytest.mark.extended
def test_planes_of_all_hosts(fleet: Fleet) -> None:
    """The management switch, then the storage switch, each for long: a wait, and nothing else.

    A switch of both that reboots costs a pause; one that stays away as well: so many at once are
    held, and the last host to be heard again is not taken for the dead one.
    """
    pids, fences = fleet.pids(), fleet.fences()
    for plane, reason in (("management", "AgentDown"), ("storage", "Unreachable")):
        fleet.lab("switch", "cut", plane)
        for host in fleet.nodes():
            fleet.await_reason(host, reason)
        nothing_happens(fleet, pids)
        fleet.lab("switch", "heal", plane)
        fleet.await_peace()
        fleet.await_progress(*pids)

    fleet.lab("switch", "cut", *PLANES)
    fleet.lab("switch", "heal", *PLANES)
    nothing_happens(fleet, pids)

    fleet.lab("switch", "cut", *PLANES)
    eventually("the failover is held", lambda: held(fleet) == "TooManyHostsFailed", timeout=20)
    nothing_happens(fleet, pids)
    states = {domain["state"] for domain in fleet.qemus()}
    assert states == {"paused"}, states
    fleet.lab("switch", "heal", *PLANES)
    fleet.await_peace()
    eventually("nothing is held any more", lambda: held(fleet) == "")
    fleet.await_progress(*pids)
    assert fleet.pids() == pids
    assert fleet.fences() == fences
    fleet.recovers("gold")


def held(fleet: Fleet) -> str:
    """Why failovers are held, as the policy says; empty if they are not."""
    said = condition(fleet.window.policy()["status"], "FailoverHeld")
    return str(said["reason"]) if said["status"] == "True" else ""


@pytest.mark.extended
def test_a_person_releases_the_brake(fleet: Fleet) -> None:
    """Three of four hosts are lost at once: held, until a person has looked and says go on.

    They lose power behind a switch that is away, so that it is at once for whoever looks.
    """
    survivor = next(host for host in fleet.nodes() if host != fleet.node_of("gold"))
    lost = [host for host in fleet.nodes() if host != survivor]
    boots = {name: fleet.boots(name) for name in fleet.domains()}
    moved = [name for name, domain in fleet.domains().items() if domain["host"] in lost]
    fences = fleet.fences()
    fleet.lab("switch", "cut", *PLANES)
    for host in lost:
        fleet.lab("host", "power-off", host)
    fleet.lab("switch", "heal", *PLANES)
    eventually("the failover is held", lambda: held(fleet) == "TooManyHostsFailed", timeout=20)
    eventually(f"{survivor} is back", lambda: ready(fleet, survivor))
    holds("nobody is fenced", ENOUGH, lambda: fleet.fences() == fences)

    try:
        release(fleet, (now() + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ"))
        for host in lost:
            eventually(f"{host} is fenced", lambda host=host: fleet.fences()[host][0] == "Fenced")  # type: ignore[misc]
        for name in moved:
            fleet.await_ready(name, on=survivor)
        for name in moved:
            fleet.await_writing(name, boots=boots[name] + 1)
            fleet.check_disks(name, boots=boots[name] + 1)
        eventually("nothing is held any more", lambda: held(fleet) == "")
    finally:
        release(fleet, None)


def ready(fleet: Fleet, host: str) -> bool:
    return condition(fleet.node(host), "Ready").get("status") == "True"


def release(fleet: Fleet, until: str | None) -> None:
    patch = json.dumps({"spec": {"brake": {"releasedUntil": until}}})
    fleet.lab.kubectl("patch", "respawnpolicies", "default", "--type=merge", "-p", patch)
    eventually("the leader has heard of it", lambda: heard(fleet))


def heard(fleet: Fleet) -> bool:
    policy = fleet.window.policy()
    observed: int = policy["status"]["observedGeneration"]
    return observed == policy["metadata"]["generation"]
