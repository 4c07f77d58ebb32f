"""Counterexamples of the model checker: fences, and the last writes of the dead.

Each drives the world into the very interleaving that one rule of docs/protocol.md is there for.
With the rule it ends well; without it (see `mutations`) an invariant breaks.
"""

from tests.simulation.lab import Lab
from tests.simulation.stories.handles import free_to_go, libvirt, put_on_host_1
from tests.simulation.stories.tell import story

from respawn.model.node import FencePhase
from respawn.model.server import RunPolicy


@story()
async def the_intent_is_not_the_fence(lab: Lab) -> None:
    """Fencing is written, `add` is slow, and the cut host's QEMU is about to open its image."""
    await lab.begin()
    libvirt(lab).busy["qemu"] = 2.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.3)
    free_to_go(lab, uid)
    lab.cut("host-1")
    lab.ceph.command = 2.2
    await lab.until(lambda: lab.fence("host-1") is FencePhase.FENCING, 40, "Fencing")
    await lab.rest(2)
    lab.heal("host-1", "storage")
    await lab.until(lambda: lab.runs(uid), 40, "runs")
    await lab.rest(5)


@story()
async def last_write_of_a_killed_qemu(lab: Lab) -> None:
    """A guest is ended after its grace; its last write is still in the host's sockets."""
    await lab.begin()
    libvirt(lab).writes_in_flight = True
    libvirt(lab).guest_ignores_acpi = True
    uid = await put_on_host_1(lab)
    await lab.until(lambda: lab.runs(uid), 10)
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid), 20, "Free")
    await lab.rest(5)


@story()
async def last_write_after_the_lift(lab: Lab) -> None:
    """A QEMU died on a cut host; its last write arrives once the address is let in again."""
    await lab.begin()
    libvirt(lab).writes_in_flight = True
    uid = await put_on_host_1(lab)
    await lab.until(lambda: lab.runs(uid), 10)
    free_to_go(lab, uid)
    lab.cut("host-1")
    lab.hosts["host-1"].kill_qemu(uid)
    await lab.until(lambda: lab.runs(uid), 40, "runs elsewhere")
    lab.heal("host-1")
    await lab.until(lambda: lab.fence("host-1") is FencePhase.OK, 20, "lifted")
    await lab.rest(5)


@story()
async def address_taken_between_hook_and_open(lab: Lab) -> None:
    """The host is renumbered, to a declared address, before its QEMU opens the image."""
    await lab.begin()
    host, new = lab.hosts["host-1"], "198.51.100.111"
    lab.declare("host-1", host.address, new)
    libvirt(lab).busy["qemu"] = 2.0
    uid = await put_on_host_1(lab)
    await lab.rest(0.5)
    free_to_go(lab, uid)
    lab.cut("host-1")
    lab.net.switch.cut(new, "storage")
    lab.net.switch.cut(new, "management")
    host.kernel.address = new
    await lab.until(lambda: lab.where(uid) not in (None, "host-1"), 40, "runs elsewhere")
    lab.net.switch.heal(new, "storage")
    lab.heal("host-1", "storage")
    await lab.rest(10)
    assert lab.where(uid) != "host-1"
