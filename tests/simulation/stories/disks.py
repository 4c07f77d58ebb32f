"""Disks, and what is done meanwhile to that which they were made of."""

from dataclasses import replace

from tests.simulation.lab import GIB, ROOT, Lab
from tests.simulation.stories.tell import epochs, reason, recovers_elsewhere, running, story

from respawn.model.conditions import Reason
from respawn.model.server import Disk

LARGER = (replace(ROOT[0], size=2 * GIB),)
DATA = Disk("data", "ceph", GIB)


def remove_golden_image(lab: Lab) -> None:
    """A person deletes the ServerImage: nothing made of it needs it any more."""
    lab.api.images.clear()
    for operator in lab.operators:
        operator.core.store.drop_image("uid-golden")


@story()
async def server_returns_without_its_golden_image(lab: Lab) -> None:
    """Its root is to grow, or a disk is added: neither needs what root was cloned from."""
    (one, two) = await running(lab, "grows", "gets-another", preferred_nodes=("host-1",))
    remove_golden_image(lab)
    lab.api.edit_server(one, disks=LARGER)
    lab.api.edit_server(two, disks=(*ROOT, DATA))
    await lab.rest(5)
    lab.power_off("host-1")
    await lab.until(lambda: lab.runs(one) and lab.runs(two), 30, "both run elsewhere")
    assert lab.ceph.images[f"vs-{one}-root"].size == 2 * GIB
    assert f"vs-{two}-data" in lab.ceph.images


@story()
async def disk_that_is_lost_is_not_made_anew(lab: Lab) -> None:
    """Somebody removed its image: growing it must not put an empty disk in its place."""
    (uid,) = await running(lab, "web-1")
    lab.power_off(lab.where(uid) or "")
    del lab.ceph.images[f"vs-{uid}-root"]
    lab.api.edit_server(uid, disks=LARGER)
    await lab.until(lambda: reason(lab, uid) == Reason.DISK_FAILED, 40, "says so")
    await lab.rest(60)
    assert not lab.ceph.images and epochs(lab, uid) == [1]


@story()
async def deletion_after_a_crash_leaves_no_image(lab: Lab) -> None:
    """The operator dies with the images made and not yet recorded, and the server is deleted."""
    await lab.begin()
    operator, crashed = lab.operators[0], [False]

    def once(point: str) -> bool:
        dies = point == "disks" and not crashed[0]
        crashed[0] = crashed[0] or dies
        return dies

    operator.crash_after, operator.stays_dead = once, True
    uid = lab.server("web-1", disks=(*ROOT, DATA))
    await lab.until(lambda: crashed[0], 10, "dies")
    assert len(lab.ceph.images) == 2
    lab.api.delete_server(uid)
    operator.stays_dead = False
    await lab.until(lambda: uid not in lab.api.servers, 20, "deleted")
    assert not lab.ceph.images and len(lab.ceph.trashed) == 2


@story()
async def root_carries_the_epoch_wherever_it_is_listed(lab: Lab) -> None:
    """Another disk is named first: the epoch is in the image of the disk called root."""
    (uid,) = await running(lab, "web-1", disks=(DATA, *ROOT))
    assert [d.size for d in lab.get(uid).status.disks] == [GIB, GIB]
    mark = lab.ceph.images[f"vs-{uid}-root"].mark
    assert mark is not None and mark.epoch == 1, "the root image carries the epoch"
    await recovers_elsewhere(lab, uid)
