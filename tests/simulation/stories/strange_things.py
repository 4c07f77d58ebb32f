"""What people and other software do: it is refused, held, or repaired."""

from collections.abc import Awaitable
from dataclasses import replace

from tests.simulation.lab import Lab
from tests.simulation.stories.tell import epochs, reason, running, story

from respawn.model.conditions import Reason, Type, find
from respawn.model.host import Incarnation
from respawn.model.node import FencePhase, Form
from respawn.model.placement import Phase
from respawn.model.server import RunPolicy
from respawn.model.storage import Entry
from respawn.ports.errors import PortError


@story()
async def starts_that_nobody_ordered_are_refused(lab: Lab) -> None:
    """virsh start elsewhere, of an old epoch, of this very epoch again: the hook says no."""
    (uid,) = await running(lab, "web-1")
    home = lab.where(uid)
    images = (f"vs-{uid}-root",)
    for host in lab.hosts.values():
        for epoch in (1, 2):
            assert host.libvirt is not None
            who = Incarnation(uid, epoch, host.boot_id, "customer-a", "web-1")
            if host.name != home:
                await refused(host.libvirt.start(who, images))
    lab.hosts[home or ""].kill_agent()
    lab.hosts[home or ""].agent_stays_dead = True
    lab.hosts[home or ""].kill_qemu(uid)
    lab.hosts[home or ""].agent_stays_dead = False
    await lab.rest(1.2)
    libvirt = lab.hosts[home or ""].libvirt
    assert libvirt is not None
    await refused(libvirt.start(Incarnation(uid, 1, libvirt.boot, "customer-a", "web-1"), images))
    await lab.until(lambda: lab.runs(uid), 10, "back under a new epoch")


async def refused(start: Awaitable[object]) -> None:
    """That start must fail."""
    try:
        await start
    except PortError:
        return
    raise AssertionError("a start that nobody ordered succeeded")


@story()
async def no_object_is_no_order_to_kill(lab: Lab) -> None:
    """404 and an older epoch (a restored API): the agent holds."""
    (one, two) = await running(lab, "web-1", "web-2")
    for uid in (one, two):
        lab.hosts[lab.where(uid) or ""].kill_qemu(uid)
    await lab.until(lambda: lab.runs(one) and lab.runs(two), 10)
    lab.operators[0].stays_dead = True
    lab.operators[0].kill()
    gone = lab.get(one)
    lab.api._remove(gone)
    old = lab.get(two)
    placement = replace(old.placement, epoch=1, phase=Phase.REVOKED)
    lab.api.apply_server(replace(old, status=replace(old.status, placement=placement)))
    for host in lab.hosts.values():
        host.kill_agent()
    await lab.rest(30)
    assert lab.where(one) and lab.where(two), "killed without an order"


@story()
async def restored_control_plane_starts_nothing(lab: Lab) -> None:
    """The image has been written under a newer resourceVersion than the API has: hold."""
    (uid,) = await running(lab, "web-1")
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid), 10)
    image = lab.ceph.images[f"vs-{uid}-root"]
    assert image.mark is not None
    image.mark = replace(image.mark, resource_version=10**9)
    lab.api.edit_server(uid, run_policy=RunPolicy.ALWAYS)
    await lab.until(lambda: reason(lab, uid) == Reason.EPOCH_BEHIND_IMAGE, 10)
    await lab.rest(60)
    assert epochs(lab, uid) == [1]


@story()
async def restored_control_plane_takes_no_disk_away(lab: Lab) -> None:
    """The backup is older than a reboot of its host: what runs there now keeps its disk."""
    (uid,) = await running(lab, "web-1")
    home, backup = lab.where(uid) or "", lab.get(uid).status
    lab.cordon(*(name for name in lab.hosts if name != home))
    lab.power_off(home)
    lab.power_on(home)
    await lab.until(lambda: lab.runs(uid) and epochs(lab, uid) == [1, 2], 90, "a new boot has it")
    image = lab.ceph.images[f"vs-{uid}-root"]
    assert image.mark is not None
    image.mark = replace(image.mark, resource_version=10**9)
    before = set(lab.ceph.entries)
    lab.api.apply_server(replace(lab.get(uid), status=backup))
    await lab.until(lambda: reason(lab, uid) == Reason.EPOCH_BEHIND_IMAGE, 10)
    await lab.rest(60)
    assert set(lab.ceph.entries) == before, "the client of what runs was shut out"
    assert lab.where(uid) == home, "ended without an order"


@story()
async def foreign_client_holds_the_start(lab: Lab) -> None:
    """Somebody else has the disk open: it waits with a reason, and starts when they are gone."""
    (uid,) = await running(lab, "web-1")
    lab.api.edit_server(uid, run_policy=RunPolicy.HALTED)
    await lab.until(lambda: lab.free(uid), 10)
    stranger = "192.0.2.99:0/7"
    lab.ceph.open(f"vs-{uid}-root", stranger)
    lab.api.edit_server(uid, run_policy=RunPolicy.ALWAYS)
    await lab.until(lambda: reason(lab, uid) == Reason.FOREIGN_CLIENT, 10)
    assert Entry(stranger) not in lab.ceph.entries
    lab.ceph.close(stranger)
    await lab.until(lambda: lab.runs(uid), 10, "they are gone")


@story()
async def blocklisted_while_ok_becomes_a_fence(lab: Lab) -> None:
    """A late `add` of a deposed operator, or a person's: fenced properly, cleaned and lifted."""
    (uid,) = await running(lab, "web-1")
    host = lab.where(uid) or ""
    lab.ceph.add({Entry(lab.hosts[host].address, Form.RANGE)})
    await lab.until(lambda: lab.node(host).fence.generation == 1, 15, "noticed")
    await lab.until(lambda: lab.runs(uid), 20, "runs again")
    await lab.until(lambda: lab.fence(host) is FencePhase.OK, 20, "lifted")
    assert not [e for e in lab.ceph.entries if e.form is not None]


@story()
async def a_persons_entry_ends_while_the_host_is_cut_off(lab: Lab) -> None:
    """Ceph forgets it after a while; the fence must not rest on it."""
    (uid,) = await running(lab, "web-1")
    host = lab.where(uid) or ""
    theirs = Entry(lab.hosts[host].address, Form.IP, brief=True)
    lab.ceph.add({theirs})
    lab.cut(host)
    await lab.until(lambda: lab.where(uid) not in (None, host), 30, "runs elsewhere")
    assert lab.node(host).fence.form is Form.RANGE
    await lab.rest(20)
    lab.ceph.remove({theirs})
    await lab.rest(1)
    lab.heal(host)
    await lab.until(lambda: lab.fence(host) is FencePhase.OK, 20, "lifted")
    assert not [e for e in lab.ceph.entries if e.form is not None]


@story()
async def a_persons_entry_outlives_the_return(lab: Lab) -> None:
    """The host comes back clean while the entry is still there: it waits fenced, not in a loop."""
    (uid,) = await running(lab, "web-1")
    host = lab.where(uid) or ""
    theirs = Entry(lab.hosts[host].address, Form.IP, brief=True)
    lab.ceph.add({theirs})
    await lab.until(lambda: lab.fence(host) is FencePhase.FENCED, 20, "noticed")
    await lab.until(lambda: lab.runs(uid), 20, "runs again")
    await lab.rest(30)
    assert (lab.fence(host), lab.node(host).fence.generation) == (FencePhase.FENCED, 1)
    lab.ceph.remove({theirs})
    await lab.until(lambda: lab.fence(host) is FencePhase.OK, 20, "lifted")


@story()
async def fence_removed_by_hand_is_put_back(lab: Lab) -> None:
    """A person clears the blocklist while a fenced host is cut off."""
    (uid,) = await running(lab, "web-1")
    host = lab.where(uid) or ""
    lab.cut(host)
    await lab.until(lambda: lab.where(uid) not in (None, host), 30, "runs elsewhere")
    before = {e for e in lab.ceph.entries if e.form is not None}
    lab.ceph.entries = lab.ceph.entries - before
    await lab.until(lambda: before <= lab.ceph.entries, 6, "put back")
    lab.heal(host)
    await lab.until(lambda: lab.fence(host) is FencePhase.OK, 20, "lifted")


@story()
async def a_clients_brief_ban_is_waited_for(lab: Lab) -> None:
    """Its nonce was blocklisted for an hour by somebody: R7 needs it for good, and removes none."""
    (uid,) = await running(lab, "web-1")
    host = lab.where(uid) or ""
    client = next(i.client for i in lab.truth.instances if i.uid == uid)
    lab.cut(host)
    theirs = Entry(client, brief=True)
    lab.ceph.add({theirs})
    await lab.until(lambda: reason(lab, uid) == Reason.BANNED_BRIEFLY, 30, "says so")
    await lab.rest(40)
    assert lab.get(uid).placement.phase is Phase.REVOKED and theirs in lab.ceph.entries
    lab.ceph.remove({theirs})
    await lab.until(lambda: lab.runs(uid), 40, "runs elsewhere")
    assert Entry(client) in lab.ceph.entries


@story()
async def a_dead_host_is_removed(lab: Lab) -> None:
    """It never comes back: a person confirms that its last boot has ended, and the Node may go."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    boot = lab.hosts[lost].boot_id
    lab.power_off(lost)
    await lab.until(lambda: lab.runs(uid) and lab.where(uid) != lost, 30, "runs elsewhere")
    lab.confirm_ended(lost, boot)
    await lab.until(lambda: lab.fence(lost) is FencePhase.OK, 20, "lifted")
    await lab.rest(30)
    assert lab.node(lost).fence.generation == 1, "not fenced again for being silent"
    lab.api.apply_node(replace(lab.node(lost), deleting=True))
    await lab.until(lambda: lost not in lab.api.nodes, 20, "gone")


@story()
async def a_replaced_mainboard_rejoins(lab: Lab) -> None:
    """The new machine cannot speak for the fenced one; a person can."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    boot = lab.hosts[lost].boot_id
    lab.power_off(lost)
    await lab.until(lambda: lab.fence(lost) is FencePhase.FENCED, 30, "Fenced")
    lab.hosts[lost].machine_id = "new-board"
    lab.power_on(lost)
    await lab.rest(30)
    assert lab.fence(lost) is FencePhase.FENCED
    told = find(lab.node(lost).conditions, Type.READY)
    assert told is not None and boot in told.message
    lab.confirm_ended(lost, boot)
    await lab.until(lambda: lab.fence(lost) is FencePhase.OK, 20, "lifted")
    lab.cordon(*(set(lab.hosts) - {lost}))
    wants = lab.server("web-2")
    await lab.until(lambda: lab.where(wants) == lost, 40, "takes servers")


@story()
async def other_hardware_under_the_same_name_proves_nothing(lab: Lab) -> None:
    """A new machine with the old name: the old one may be alive, so nothing is started."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    lab.hosts[lost].machine_id = "another-machine"
    lab.power_off(lost)
    lab.power_on(lost)
    await lab.rest(60)
    assert lab.where(uid) is None and lab.get(uid).placement.phase is Phase.REVOKED
    assert lab.node(lost).fence.generation == 0
    lab.confirm_ended(lost, lab.get(uid).placement.boot_id or "")
    await lab.until(lambda: lab.runs(uid), 20, "a person knows that the old one is gone")
