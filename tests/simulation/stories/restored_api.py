"""An API that was restored from a backup: images, hosts and processes know of a later time."""

from dataclasses import replace

from tests.simulation.lab import Lab
from tests.simulation.stories.tell import epochs, reason, running, story

from respawn.model.conditions import Reason
from respawn.model.placement import Phase, Placement
from respawn.model.storage import EpochMark


@story()
async def what_is_ahead_of_the_api_is_held(lab: Lab) -> None:
    """Its host dies while its image was written under a later revision than the API has by then:
    nobody is banned and nothing started, until the API has caught up."""
    (uid,) = await running(lab, "web-1")
    lost = lab.where(uid) or ""
    (image,) = (disk.image for disk in lab.get(uid).status.disks)
    later = int(lab.api.next_version()) + 400
    lab.ceph.images[image] = replace(lab.ceph.images[image], mark=EpochMark(7, later))
    lab.power_off(lost)
    await lab.until(lambda: reason(lab, uid) == Reason.EPOCH_BEHIND_IMAGE, 40, "held")
    while int(lab.get(uid).resource_version) < later and lab.api._version < later - 20:
        await lab.rest(1)
        assert epochs(lab, uid) == [1] and not [e for e in lab.ceph.entries if e.form is None]
    await lab.until(lambda: lab.runs(uid), 90, "the API has caught up")
    assert epochs(lab, uid) == [1, 8], "above what the image knows"


@story()
async def a_host_starts_nothing_whose_image_is_ahead(lab: Lab) -> None:
    """It runs at epoch 2, and the API, as of a backup, has just placed epoch 1 on a third host,
    which never met it: the image says what the API does not know any more."""
    (uid,) = await running(lab, "web-1")
    lab.power_off(lab.where(uid) or "")
    await lab.until(lambda: lab.runs(uid), 40, "it runs elsewhere")
    (idle,) = (n for n in lab.hosts if lab.hosts[n].on and n != lab.where(uid))
    registered = lab.node(idle).registration
    assert registered is not None and epochs(lab, uid) == [1, 2]
    back = Placement(
        phase=Phase.PLACED, epoch=1, node=idle,
        machine_id=registered.machine_id, boot_id=registered.boot_id,
    )  # fmt: skip
    known = lab.get(uid)
    lab.api.apply_server(replace(known, status=replace(known.status, placement=back)))
    held = (Reason.FOREIGN_CLIENT, Reason.EPOCH_BEHIND_IMAGE)
    await lab.until(lambda: reason(lab, uid) in held, 40, "held")
    await lab.rest(20)
    assert epochs(lab, uid) == [1, 2] and reason(lab, uid) in held
