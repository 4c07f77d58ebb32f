"""The leader dies, or stops and wakes much later, right after a step; the other one finishes.

Six steps are in the default run; all of them in `hack/test crash-matrix`.
"""

from collections.abc import Callable, Iterator

import pytest
from fleet import STANDING, Fleet, holds, manifest, one_writer
from labtool import eventually

from respawn.model.actions import CRASH_POINTS

pytestmark = [pytest.mark.lab, pytest.mark.unsettled]

Flow = Callable[[Fleet], Callable[[], None]]
"""Brings about what it is about, and returns what to wait for, once the leader is no more."""
VICTIM = "victim"


def start(fleet: Fleet) -> Callable[[], None]:
    fleet.apply(manifest(VICTIM))

    def ends() -> None:
        fleet.await_ready(VICTIM)
        fleet.await_writing(VICTIM)

    return ends


def stop(fleet: Fleet) -> Callable[[], None]:
    fleet.patch("bronze", runPolicy="Halted")

    def ends() -> None:
        eventually("it is stopped", lambda: "bronze" not in fleet.domains(), timeout=60)
        eventually("it is at rest", lambda: phase(fleet, "bronze") == "Free", timeout=60)
        fleet.await_ready("bronze")
        fleet.patch("bronze", runPolicy="Always")
        fleet.await_ready("bronze")

    return ends


def delete(fleet: Fleet) -> Callable[[], None]:
    uid = fleet.servers()[VICTIM]["metadata"]["uid"]
    fleet.delete(VICTIM, wait=False)

    def ends() -> None:
        eventually("the object is gone", lambda: VICTIM not in fleet.servers(), timeout=60)
        assert uid not in fleet.lab.ceph("rbd", "ls", "vms"), "its images are in the trash"
        assert uid in fleet.lab.ceph("rbd", "trash", "ls", "vms")
        assert uid not in {domain["uid"] for domain in fleet.lab.domains()}

    return ends


def failover(fleet: Fleet) -> Callable[[], None]:
    host, boots = fleet.node_of("gold"), fleet.boots("gold")
    fleet.lab("host", "power-off", host)

    def ends() -> None:
        fleet.await_elsewhere("gold", host)
        fleet.await_writing("gold", boots=boots + 1)
        fleet.check_disks("gold", boots=boots + 1)

    return ends


def rejoin(fleet: Fleet) -> Callable[[], None]:
    host = next(name for name, (phase, _) in fleet.fences().items() if phase == "Fenced")
    fleet.lab("host", "power-on", host)

    def ends() -> None:
        eventually(f"{host} is let in", lambda: fleet.fences()[host][0] == "OK", timeout=60)
        assert f"198.51.100.1{host[-1]}:0/0" not in fleet.blocklist()
        fleet.await_peace()

    return ends


FLOWS: dict[Flow, tuple[str, ...]] = {
    start: ("protect", "making", "disks", "epoch", "Placed", "status"),
    stop: ("Revoked", "Free", "status"),
    delete: ("Revoked", "Free", "Deleted", "trash", "unprotect"),
    failover: ("Revoked", "nonces", "broken", "epoch", "Placed", "Fencing", "add", "Fenced"),
    rejoin: ("Lifting", "rm", "OK", "node-status"),
}
ALL = [(flow, step) for flow, steps in FLOWS.items() for step in steps]
SIX = [
    *((failover, step) for step in ("Fencing", "add", "Placed")),
    *((stop, "Revoked"), (delete, "Deleted"), (rejoin, "rm")),
]
REST = [case for case in ALL if case not in SIX]


def phase(fleet: Fleet, name: str) -> str:
    return str(fleet.status(name).get("placement", {}).get("phase"))


@pytest.fixture
def scene(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """What a flow needs to be there before; VICTIM is gone afterwards."""
    flow = request.node.callspec.params["flow"]
    if flow is delete:
        fleet.apply(manifest(VICTIM))
        fleet.await_ready(VICTIM)
    if flow is rejoin:
        fleet.recovers("gold")
    yield fleet
    fleet.delete(VICTIM)


def named(value: object) -> str:
    return getattr(value, "__name__", str(value))


def crash(fleet: Fleet, flow: Flow, step: str) -> None:
    """The next leader does all that is left, and no server comes to harm."""
    armed = fleet.arm("crash-after", step)
    before = fleet.crashes(armed)
    with one_writer(fleet.lab):
        ends = flow(fleet)
        eventually(f"the leader dies after {step}", lambda: fleet.crashes(armed) > before)
        ends()
    assert fleet.crashes(armed) == before + 1, "its next process does not crash"
    for name in STANDING:
        fleet.await_ready(name)
    fleet.domains()


@pytest.mark.parametrize(("flow", "step"), SIX, ids=named)
def test_the_leader_dies(scene: Fleet, flow: Flow, step: str) -> None:
    crash(scene, flow, step)


@pytest.mark.crash_matrix
@pytest.mark.parametrize(("flow", "step"), REST, ids=named)
def test_the_leader_dies_after_any_step(scene: Fleet, flow: Flow, step: str) -> None:
    crash(scene, flow, step)


def test_every_step_is_in_the_matrix() -> None:
    """`taken` and `untaint` come only after a crash of another: they have a test of their own."""
    assert {step for _, step in ALL} | {"taken", "untaint"} == set(CRASH_POINTS)


@pytest.mark.crash_matrix
@pytest.mark.parametrize("step", ["taken", "untaint"])
@pytest.mark.parametrize("flow", [rejoin], ids=named)
def test_one_dies_in_its_lift_and_another_over_the_taint(
    scene: Fleet, flow: Flow, step: str
) -> None:
    """The first dies after `Lifting`. The second dies as it takes over, which taints the form; or
    the first, in its next life, as it says that its `rm` is no more. The taint ends all the same.
    """
    fleet, other = scene, scene.leader()
    first = fleet.arm("crash-after", "Lifting")
    unlucky = {"taken": other, "untaint": first}[step]
    before = {index: fleet.crashes(index) for index in ("1", "2")}
    if step == "taken":
        fleet.lab("operator", "crash-after", other, step)
    ends = flow(fleet)
    eventually("the first dies", lambda: fleet.crashes(first) > before[first])
    before[first] += 1
    if step == "untaint":
        fleet.lab("operator", "crash-after", first, step)
    ends()
    eventually(f"one dies after {step}", lambda: fleet.crashes(unlucky) > before[unlucky])
    eventually("no form is tainted", lambda: not tainted(fleet))


def tainted(fleet: Fleet) -> list[str]:
    nodes = fleet.nodes().items()
    return [name for name, node in nodes if (node.get("fence") or {}).get("taintedForms")]


@pytest.mark.parametrize(
    ("flow", "step"), [(failover, "add"), (failover, "epoch"), (rejoin, "Lifting")], ids=named
)
def test_a_deposed_leader_wakes_in_the_middle(scene: Fleet, flow: Flow, step: str) -> None:
    """It stops right after the step, and runs on when another has done all: it changes nothing.

    A lift that was taken from it leaves its form tainted for as long as it lives.
    """
    fleet = scene
    armed = fleet.arm("freeze-after", step)
    with one_writer(fleet.lab):
        ends = flow(fleet)
        fleet.await_other_leader(armed, timeout=40)
        ends()
        pids, before = fleet.pids(), (fleet.fences(), fleet.blocklist())
        fleet.lab("operator", "thaw", armed)
        holds("it changes nothing", 5, lambda: (fleet.fences(), fleet.blocklist()) == before)
    assert fleet.pids() == pids
    assert bool(tainted(fleet)) == (flow is rejoin)
    fleet.lab("operator", "kill", armed)
    eventually("no form is tainted", lambda: not tainted(fleet))
