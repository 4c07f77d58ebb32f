"""What a person says of a boot, and what is seen of it."""

from tests.simulation.lab import Lab
from tests.simulation.stories.handles import fence_host_1, libvirt, put_on_host_1, silence_agent
from tests.simulation.stories.tell import epochs, reason, running, story

from respawn.model.conditions import Reason, Type, find
from respawn.model.node import FencePhase
from respawn.model.placement import Phase
from respawn.model.server import RunPolicy


def _boot(lab: Lab, host: str) -> str:
    return lab.hosts[host].boot_id


@story()
async def a_word_against_a_living_boot_is_not_believed(lab: Lab) -> None:
    """A person confirms the wrong boot: its servers run on, until it really falls silent."""
    (uid,) = await running(lab, "web-1")
    host = lab.where(uid) or ""
    lab.confirm_ended(host, _boot(lab, host))
    await lab.rest(30)
    assert lab.runs(uid) and epochs(lab, uid) == [1]
    told = find(lab.node(host).conditions, Type.READY)
    assert told is not None and told.reason == Reason.CONFIRMED_BUT_ALIVE, told
    lab.power_off(host)
    await lab.until(lambda: lab.where(uid) not in (None, host), 20, "believed once it is silent")
    assert lab.fence(host) is FencePhase.OK


@story()
async def a_word_is_no_proof_while_its_qemu_is_about_to_open(lab: Lab) -> None:
    """Its agent is dead and its QEMU not yet up; its heart beats, whatever a person says."""
    await lab.begin()
    libvirt(lab).busy["qemu"] = 15.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.5)
    silence_agent(lab)
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.get(uid).placement.phase is Phase.REVOKED, 5)
    await lab.rest(9)
    lab.confirm_ended("host-1", _boot(lab, "host-1"))
    await lab.rest(30)
    assert not lab.free(uid) and reason(lab, uid) == Reason.CONFIRMED_BUT_ALIVE
    lab.power_off("host-1")
    await lab.until(lambda: lab.free(uid), 20, "believed once it is silent")


@story()
async def a_word_lifts_no_fence_of_a_living_boot(lab: Lab) -> None:
    """Its agent is back and still ends the old instances; a person says that they have ended."""
    (uid,) = await running(lab, "web-1", preferred_nodes=("host-1",))
    await fence_host_1(lab)
    libvirt(lab).busy["kill"] = 20.0
    lab.heal("host-1")
    await lab.rest(2)
    lab.confirm_ended("host-1", _boot(lab, "host-1"))
    await lab.rest(10)
    assert lab.fence("host-1") is FencePhase.FENCED
    told = find(lab.node("host-1").conditions, Type.READY)
    assert told is not None and told.reason == str(FencePhase.FENCED), told
    assert "power the machine off" in told.message
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 40, "it reports clean")
    assert lab.runs(uid)
