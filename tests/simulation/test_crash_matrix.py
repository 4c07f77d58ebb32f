"""The leader dies right after every named step of every flow; the next one finishes, once."""

from collections.abc import Awaitable, Callable

import pytest
from tests.simulation.lab import Lab, play
from tests.simulation.operators import SimOperator

from respawn.model.actions import CRASH_POINTS
from respawn.model.node import FencePhase
from respawn.model.server import RunPolicy

Flow = Callable[[Lab, str], Awaitable[None]]


async def start(lab: Lab, uid: str) -> None:
    await lab.until(lambda: lab.runs(uid), 40, "started")


async def stop(lab: Lab, uid: str) -> None:
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid) and lab.ready(uid), 60, "stopped")


async def delete(lab: Lab, uid: str) -> None:
    lab.api.delete_server(uid)
    await lab.until(lambda: uid not in lab.api.servers and not lab.ceph.images, 60, "deleted")


async def failover(lab: Lab, uid: str) -> None:
    lost = lab.where(uid) or ""
    lab.power_off(lost)
    await lab.until(lambda: lab.where(uid) not in (None, lost) and lab.runs(uid), 60, "recovered")


async def rejoin(lab: Lab, uid: str) -> None:
    lost = lab.where(uid) or ""
    lab.cut(lost)
    await lab.until(lambda: lab.fence(lost) is FencePhase.FENCED, 60, "fenced")
    lab.heal(lost)
    await lab.until(lambda: lab.fence(lost) is FencePhase.OK, 60, "lifted")
    await lab.until(lambda: lab.runs(uid), 60, "runs")


FLOWS: dict[Flow, tuple[str, ...]] = {
    start: ("protect", "making", "disks", "epoch", "Placed", "status"),
    stop: ("Revoked", "Free", "status"),
    delete: ("Revoked", "Free", "Deleted", "trash", "unprotect"),
    failover: ("Revoked", "nonces", "broken", "epoch", "Placed", "Fencing", "add", "Fenced"),
    rejoin: ("Fencing", "add", "Fenced", "Lifting", "rm", "OK", "node-status"),
}
CASES = [(flow, point) for flow, points in FLOWS.items() for point in points]


@pytest.mark.parametrize(("flow", "point"), CASES, ids=lambda x: getattr(x, "__name__", x))
@pytest.mark.parametrize("operators", [1, 2])
def test_crash_after(flow: Flow, point: str, operators: int) -> None:
    crashes: list[str] = []

    async def run(lab: Lab) -> None:
        await lab.begin()
        uid = lab.server("web-1", shutdown_grace=0.0)
        if flow is not start:
            await lab.until(lambda: lab.runs(uid), 20)
        for operator in lab.operators:
            operator.crash_after = once(operator)
        await flow(lab, uid)
        await lab.rest(5)

    def once(operator: SimOperator) -> Callable[[str], bool]:
        def crash(name: str) -> bool:
            if name != point or crashes:
                return False
            crashes.append(operator.name)
            return True

        return crash

    play(run, operators=operators)
    assert crashes, f"{flow.__name__} never came by {point}"


def test_every_named_step_is_crashed_after_somewhere() -> None:
    """`taken` and `untaint` come only after a crash of another: see the test below."""
    assert {point for _, point in CASES} | {"taken", "untaint"} == set(CRASH_POINTS)


@pytest.mark.parametrize("point", ["taken", "untaint", "rm", "OK"])
def test_crash_in_a_lift_that_was_taken_over(point: str) -> None:
    """The first leader dies in its lift; the second dies as well, and the taint still ends."""
    crashes: list[str] = []

    async def run(lab: Lab) -> None:
        await lab.begin()
        uid = lab.server("web-1", shutdown_grace=0.0)
        await lab.until(lambda: lab.runs(uid), 20)

        def crash(name: str) -> bool:
            wanted = "Lifting" if not crashes else point
            if len(crashes) == 2 or name != wanted:
                return False
            crashes.append(name)
            return True

        for operator in lab.operators:
            operator.crash_after = crash
        await rejoin(lab, uid)
        host = next(n for n in lab.hosts if lab.node(n).fence.generation)
        await lab.until(lambda: not lab.node(host).fence.tainted, 60, "untainted")
        await lab.until(lambda: len(crashes) == 2 or point == "untaint", 1)

    play(run, operators=2)
