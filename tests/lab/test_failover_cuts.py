"""Planes are cut: of one host, and of all at once. Packets vanish, and nobody is told."""

import json
import time
from datetime import timedelta

import pytest
from fleet import PLANES, Fleet, condition, holds, now, one_writer, seconds
from labtool import eventually

pytestmark = [pytest.mark.lab, pytest.mark.unsettled]

FENCE_AFTER = 3.0
"""Seconds, of the fast profile."""
ENOUGH = 2 * FENCE_AFTER
"""Seconds after which a host that was to be fenced would have been."""


def nothing_happens(fleet: Fleet, pids: dict[str, int], duration: float = ENOUGH) -> None:
    """The same QEMUs, and no fence, all the time."""
    fences = fleet.fences()
    holds("nobody is fenced", duration, lambda: fleet.fences() == fences)
    assert fleet.pids() == pids


def test_management_cut(fleet: Fleet) -> None:
    """The host's agent is not heard, its heart is: it is said so, and its servers run on."""
    host, pids, boots = fleet.node_of("gold"), fleet.pids(), fleet.boots("gold")
    fleet.lab("host", "cut", host, "management")
    fleet.await_reason(host, "AgentDown")
    fleet.await_progress("gold")
    nothing_happens(fleet, pids)
    fleet.lab("host", "heal", host, "management")
    fleet.await_peace()
    assert fleet.pids() == pids
    assert fleet.boots("gold") == boots
    fleet.recovers("gold")


def test_storage_cut(fleet: Fleet) -> None:
    """Its servers wait for their disks; when storage is back they go on, as if nothing had been."""
    host, pids, boots = fleet.node_of("silver"), fleet.pids(), fleet.boots("silver")
    fleet.lab("host", "cut", host, "storage")
    fleet.await_reason(host, "Unreachable")
    nothing_happens(fleet, pids)
    fleet.lab("host", "heal", host, "storage")
    fleet.await_peace()
    fleet.await_progress("silver")
    assert fleet.pids() == pids
    fleet.check_disks("silver", boots=boots)
    fleet.recovers("silver")


def test_both_cut(fleet: Fleet) -> None:
    """The host pauses its servers before they are started elsewhere, and ends them on its return.

    That it is paused in time is seen over the tenant network, which is not cut: the guest answers
    until it stands still.
    """
    host = fleet.node_of("bronze")
    here = [name for name, domain in fleet.domains().items() if domain["host"] == host]
    boots = {name: fleet.boots(name) for name in here}
    with one_writer(fleet.lab):
        answering, cut = fleet.answering("bronze", 6), now()
        fleet.lab("host", "cut", host, *PLANES)
        record = fleet.await_elsewhere("bronze", host)
        paused = answering.result()
        fenced = seconds(cut, record["fenced"])
        print(f"paused {paused:.2f} s after the cut was ordered, fenced after {fenced:.2f} s")
        assert paused < fenced
        stale = [d for d in fleet.lab.domains() if d["host"] == host]
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
    return any(d["host"] == host and d["pid"] in pids for d in fleet.lab.domains())


def test_one_plane_of_all_hosts(fleet: Fleet) -> None:
    """The management switch, then the storage switch, each for long: a wait, and nothing else."""
    pids = fleet.pids()
    for plane, reason in (("management", "AgentDown"), ("storage", "Unreachable")):
        fleet.lab("switch", "cut", plane)
        for host in fleet.nodes():
            fleet.await_reason(host, reason)
        nothing_happens(fleet, pids)
        fleet.lab("switch", "heal", plane)
        fleet.await_peace()
        fleet.await_progress(*pids)
        assert fleet.pids() == pids
    fleet.recovers("gold")


def test_both_planes_of_all_hosts(fleet: Fleet) -> None:
    """A switch that reboots costs a pause; one that stays away as well: so many at once are held,
    and the last host to be heard again is not taken for the dead one."""
    pids, fences = fleet.pids(), fleet.fences()
    fleet.lab("switch", "cut", *PLANES)
    fleet.lab("switch", "heal", *PLANES)
    nothing_happens(fleet, pids)

    fleet.lab("switch", "cut", *PLANES)
    eventually("the failover is held", lambda: held(fleet) == "TooManyHostsFailed", timeout=20)
    nothing_happens(fleet, pids, 2 * ENOUGH)
    states = {domain["state"] for domain in fleet.lab.domains()}
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
    text = fleet.lab.kubectl("get", "respawnpolicies", "default", "-o", "json")
    said = condition(json.loads(text)["status"], "FailoverHeld")
    return str(said["reason"]) if said["status"] == "True" else ""


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
    holds("nobody is fenced", 2 * ENOUGH, lambda: fleet.fences() == fences)

    try:
        release(fleet, (now() + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ"))
        for host in lost:
            eventually(f"{host} is fenced", lambda host=host: fleet.fences()[host][0] == "Fenced")  # type: ignore[misc]
        for name in moved:
            fleet.await_ready(name, on=survivor)
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
    time.sleep(1)  # both operators have heard of it
