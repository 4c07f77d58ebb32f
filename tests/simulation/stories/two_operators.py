"""A leader and a standby, and timings that change under way."""

import asyncio

from tests.simulation.lab import Lab
from tests.simulation.stories.tell import (
    running,
    story,
)

from respawn.model.node import FencePhase
from respawn.model.policy import FAST, Policy


@story(operators=2)
async def leader_and_host_die_together(lab: Lab) -> None:
    """The standby has watched all along: leader lease + fenceAfter + 2 s at most."""
    (uid,) = await running(lab, "web-1")
    await lab.rest(5)
    leader = next(o for o in lab.operators if o.leads)
    leader.stays_dead = True
    leader.kill()
    lost = lab.where(uid) or ""
    lab.power_off(lost)
    took = await lab.until(lambda: lab.where(uid) not in (None, lost), 30, "recovered")
    assert took <= 5.0 + 8.0 + 2.0, took


@story(operators=2)
async def deposed_leader_wakes_up_in_the_middle(lab: Lab) -> None:
    """Frozen right after Fencing, for a minute; the other finishes, it changes nothing."""
    (uid,) = await running(lab, "web-1")
    leader = next(o for o in lab.operators if o.leads)
    lost = lab.where(uid) or ""
    lab.power_off(lost)
    await lab.until(lambda: "Fencing" in leader.points, 15)
    assert leader.process is not None
    leader.process.gate.shut()
    await lab.until(lambda: lab.runs(uid), 30, "the other recovers it")
    await lab.rest(30)
    told = (lab.get(uid).placement, lab.node(lost).fence.phase)
    leader.process.gate.open()
    await lab.rest(30)
    assert (lab.get(uid).placement, lab.node(lost).fence.phase) == told
    lab.power_on(lost)
    await lab.until(lambda: lab.fence(lost) is FencePhase.OK, 20)


@story()
async def policy_made_anew_binds_a_host_once_its_agent_obeys(lab: Lab) -> None:
    """Deleted and applied again, with faster timings: it is of generation 1 again, which the hosts
    acknowledged long ago."""
    (uid,) = await running(lab, "web-1")
    store = lab.operators[0].core
    assert store is not None
    store.store.put_policy(Policy(timings=FAST, generation=1, uid="another"))
    lost = lab.where(uid) or ""
    begun = lab.now()
    lab.power_off(lost)
    await lab.until(lambda: lab.fence(lost) is not FencePhase.OK, 20)
    assert lab.now() - begun > 5.5, "judged by timings it never heard of"


@story()
async def policy_binds_a_host_once_its_agent_obeys(lab: Lab) -> None:
    """New, faster timings: a host whose agent has not heard of them has the old ones' time."""
    (uid,) = await running(lab, "web-1")
    store = lab.operators[0].core
    assert store is not None
    store.store.put_policy(Policy(timings=FAST, generation=2))
    lost = lab.where(uid) or ""
    begun = lab.now()
    lab.power_off(lost)
    await lab.until(lambda: lab.fence(lost) is not FencePhase.OK, 20)
    assert lab.now() - begun > 5.5, "judged by timings it never heard of"
    await asyncio.sleep(0)
