"""The leader dies, or stops and wakes much later, right after a step; the other one finishes.

One flow serves several steps: the leader dies after the first of them, the one that takes over
after the next, and so on, in turn; each got that far only because it went on from where the one
before had died. The last one finishes. Six steps are in the default run; all of them in
`hack/test crash-matrix`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from fleet import STANDING, Fleet, holds, manifest, one_writer
from labtool import eventually

from respawn.model.actions import CRASH_POINTS

pytestmark = pytest.mark.lab

Ends = Callable[[], None]
Flow = Callable[[Fleet], Ends]
"""Brings about what it is about, and returns what to wait for, once the last leader is there."""
VICTIM = "victim"


def start(fleet: Fleet) -> Ends:
    fleet.apply(manifest(VICTIM))

    def ends() -> None:
        fleet.await_ready(VICTIM)
        fleet.await_writing(VICTIM)

    return ends


def stop(fleet: Fleet) -> Ends:
    fleet.patch(VICTIM, runPolicy="Halted")

    def ends() -> None:
        eventually("it is stopped", lambda: VICTIM not in fleet.domains())
        eventually("it is at rest", lambda: phase(fleet, VICTIM) == "Free")
        fleet.await_ready(VICTIM)

    return ends


def delete(fleet: Fleet) -> Ends:
    uid = fleet.uid(VICTIM)
    fleet.delete(VICTIM, wait=False)

    def ends() -> None:
        eventually("the object is gone", lambda: VICTIM not in fleet.servers())
        assert uid not in fleet.lab.ceph("rbd", "ls", "vms"), "its images are in the trash"
        assert uid in fleet.lab.ceph("rbd", "trash", "ls", "vms")
        assert uid not in {domain["uid"] for domain in fleet.qemus()}

    return ends


def failover(fleet: Fleet) -> Ends:
    host, boots = fleet.node_of("gold"), fleet.boots("gold")
    fleet.lab("host", "power-off", host)

    def ends() -> None:
        fleet.await_elsewhere("gold", host)
        fleet.await_writing("gold", boots=boots + 1)
        fleet.check_disks("gold", boots=boots + 1)

    return ends


def rejoin(fleet: Fleet) -> Ends:
    """The host that the failover before has fenced comes back."""
    host = next(name for name, (phase, _) in fleet.fences().items() if phase == "Fenced")
    fleet.lab("host", "power-on", host)

    def ends() -> None:
        eventually(f"{host} is let in", lambda: fleet.fences()[host][0] == "OK")
        assert f"198.51.100.1{host[-1]}:0/0" not in fleet.blocklist()
        fleet.await_peace()

    return ends


Deaths = tuple[tuple[Flow, tuple[str, ...]], ...]
"""Flows, one after the other, and the steps after which the leaders of each die."""
LIFE: Deaths = ((stop, ("Revoked",)), (delete, ("Deleted",)))
LOSS: Deaths = ((failover, ("Fencing", "add", "Placed")), (rejoin, ("rm",)))
WHOLE_LIFE: Deaths = (
    (start, ("protect", "making", "disks", "epoch", "Placed", "status")),
    (stop, ("Revoked", "Free", "status")),
    (delete, ("Deleted", "trash", "unprotect")),
)
WHOLE_LOSS: Deaths = (
    (failover, ("Fencing", "add", "Fenced", "broken", "epoch", "Placed")),
    (rejoin, ("Lifting", "taken", "rm", "OK", "node-status")),
)
OTHER_LOSS: Deaths = (
    (failover, ("Revoked", "nonces")),
    (rejoin, ("Lifting", "taken", "untaint")),
)
"""What runs beside the steps of WHOLE_LOSS. A taint is ended by the next process of the operator
whose lift was taken, be it the leader or not.
"""


def phase(fleet: Fleet, name: str) -> str:
    return str(fleet.status(name).get("placement", {}).get("phase"))


@pytest.fixture
def scene(fleet: Fleet) -> Iterator[Fleet]:
    """A fleet; VICTIM is gone afterwards."""
    yield fleet
    fleet.delete(VICTIM)


def die(fleet: Fleet, flow: Flow, steps: tuple[str, ...]) -> None:
    """One leader after the other dies, after one step each; the last one does all that is left."""
    after = dict(enumerate(steps))
    mortal = fleet.arm("crash-after", steps[0], then=after.get(1))
    crashes = {index: fleet.crashes(index) for index in ("1", "2")}
    ends = flow(fleet)
    for turn, step in after.items():
        crashes[mortal] += 1
        eventually(
            f"operator {mortal} dies after {step}",
            lambda: fleet.crashes(mortal) == crashes[mortal],  # noqa: B023
            period=0.05,
        )
        if turn + 2 in after:
            fleet.lab("operator", "crash-after", mortal, after[turn + 2])
        mortal = fleet.other(mortal)
    ends()
    found = {index: fleet.crashes(index) for index in crashes}
    assert found == crashes, "the processes that come after do not crash"


@contextmanager
def unarmed(fleet: Fleet) -> Iterator[None]:
    """Whatever fails in here leaves no operator that stops, or will, for the tests that follow."""
    try:
        yield
    except BaseException:
        for index in ("1", "2"):
            fleet.lab.run("operator", "kill", index)
        raise


def die_often(fleet: Fleet, deaths: Deaths) -> None:
    """No server comes to harm by any of it."""
    with unarmed(fleet), one_writer(fleet.lab):
        for flow, steps in deaths:
            die(fleet, flow, steps)
    for name in STANDING:
        fleet.await_ready(name)
    fleet.domains()


def test_leaders_die_while_a_host_is_lost_and_returns(scene: Fleet) -> None:
    die_often(scene, LOSS)


def test_leaders_die_while_a_server_is_stopped_and_deleted(scene: Fleet) -> None:
    start(scene)()
    die_often(scene, LIFE)


@pytest.mark.crash_matrix
def test_leaders_die_after_every_step_of_a_servers_life(scene: Fleet) -> None:
    die_often(scene, WHOLE_LIFE)


@pytest.mark.crash_matrix
def test_leaders_die_after_every_step_of_a_loss(scene: Fleet) -> None:
    die_often(scene, WHOLE_LOSS)
    eventually("no form is tainted", lambda: not tainted(scene))


@pytest.mark.crash_matrix
def test_leaders_die_after_the_steps_beside_and_behind_those(scene: Fleet) -> None:
    die_often(scene, OTHER_LOSS)
    eventually("no form is tainted", lambda: not tainted(scene))


def test_every_step_is_in_the_matrix() -> None:
    matrix = (*WHOLE_LIFE, *WHOLE_LOSS, *OTHER_LOSS)
    assert {step for _, steps in matrix for step in steps} == set(CRASH_POINTS)


def tainted(fleet: Fleet) -> list[str]:
    nodes = fleet.nodes().items()
    return [name for name, node in nodes if (node.get("fence") or {}).get("taintedForms")]


def wakes(fleet: Fleet, flow: Flow, step: str) -> str:
    """The leader stops right after the step, and runs on when another one has done all: it changes
    nothing. Its index.
    """
    with unarmed(fleet), one_writer(fleet.lab):
        armed = fleet.arm("freeze-after", step)
        ends = flow(fleet)
        eventually(f"it stops after {step}", lambda: fleet.stands_still(armed))
        ends()
        pids, before = fleet.pids(), (fleet.fences(), fleet.blocklist())
        assert fleet.stands_still(armed)
        fleet.lab("operator", "thaw", armed)
        holds("it changes nothing", 4, lambda: (fleet.fences(), fleet.blocklist()) == before)
    assert fleet.pids() == pids
    return armed


def test_a_deposed_leader_wakes_in_the_middle_of_a_fence(scene: Fleet) -> None:
    """That the blocklist still does its work is what the recovery shows."""
    wakes(scene, failover, "add")
    assert not tainted(scene)


@pytest.mark.crash_matrix
def test_a_deposed_leader_wakes_in_the_middle_of_a_start_and_of_a_lift(scene: Fleet) -> None:
    """A lift that was taken from it leaves its form tainted for as long as it lives."""
    wakes(scene, failover, "epoch")
    assert not tainted(scene)
    deposed = wakes(scene, rejoin, "Lifting")
    assert tainted(scene)
    scene.lab("operator", "kill", deposed)
    eventually("no form is tainted", lambda: not tainted(scene))
