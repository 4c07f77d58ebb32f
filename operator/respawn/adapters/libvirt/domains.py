"""One domain as libvirt tells it, looked up by UUID.

While the hook is asked about a domain, libvirt holds that domain locked: a look at it returns when
the hook is answered, so it can never call absent what is about to start. (Such a look also keeps
libvirt from adding other domains meanwhile: nobody should look at what he is just creating.) A
list call would wait for every such domain; a look waits for its own only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import libvirt

from respawn.adapters.libvirt.names import METADATA_URI, incarnation_of
from respawn.adapters.libvirt.processes import Qemu
from respawn.adapters.libvirt.reading import Mark, describe, read_mark
from respawn.model.host import DomainState, Incarnation, Look
from respawn.ports.errors import Refused

STATUS_FILES = Path("/run/libvirt/qemu")
_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.STOPPING,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.STOPPING,
}
_PAUSED_STATES = {
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: DomainState.STARTING,
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: DomainState.INCOMING,
    libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN: DomainState.STOPPING,
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: DomainState.STOPPING,
}

_WITH_ALL_OF_IT = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
)
"""Without these libvirt refuses to undefine what has a saved state, snapshots, or variables."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A domain object in any state. `io_error`: it is paused because its storage failed;
    `defined`: nothing of it runs and libvirt keeps it, as it never does with what we create.
    """

    name: str
    mark: Mark | None
    state: DomainState
    io_error: bool = False
    defined: bool = False


def state_of(state: int, reason: int) -> DomainState:
    """libvirt's state; an object that is listed before its QEMU runs counts as starting."""
    if state == libvirt.VIR_DOMAIN_PAUSED:
        return _PAUSED_STATES.get(reason, DomainState.PAUSED)
    return _STATES.get(state, DomainState.STARTING)


def see(connection: "libvirt.virConnect", uid: str) -> Seen | None:
    """The domain with that UUID, in any state; None: libvirt has none."""
    try:
        domain = connection.lookupByUUIDString(uid)
        state, reason = domain.state()
        mark = _mark(domain)
        defined = state == libvirt.VIR_DOMAIN_SHUTOFF and bool(domain.isPersistent())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    failed = state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR
    return Seen(domain.name(), mark, state_of(state, reason), failed, defined)


def undefine(connection: "libvirt.virConnect", uid: str, name: str) -> None:
    """Take the definition of that incarnation away; what runs of it runs on, and is transient."""
    # safety: it ends nothing, and could have started nothing: the hook refuses it.
    exact(connection, uid, name).undefineFlags(_WITH_ALL_OF_IT)


def _mark(domain: "libvirt.virDomain") -> Mark | None:
    try:
        return read_mark(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return None
        raise


def exact(connection: "libvirt.virConnect", uid: str, name: str) -> "libvirt.virDomain":
    """The domain of that UUID, if it is the incarnation of that name; raises Refused if not."""
    domain = connection.lookupByUUIDString(uid)
    if domain.name() != name:
        raise Refused("OtherIncarnation", f"{uid} is now {domain.name()}, not {name}")
    return domain


def remembered_mark(name: str, folder: Path = STATUS_FILES) -> Mark | None:
    """The mark of a running domain from libvirt's own status file: for when libvirtd is down."""
    try:
        return describe((folder / f"{name}.xml").read_text()).mark
    except (OSError, ValueError):
        return None


def judged(
    uid: str,
    seen: Seen | None,
    here: Sequence[Qemu],
    *,
    boot_id: str,
    marked: Callable[[str, int], bool],
) -> Look:
    """What libvirt (None: it has no such domain, or is silent) and the processes say together.

    `marked` tells whether an incarnation has our mark of having been paused.
    """
    pids = tuple(q.pid for q in here)
    if seen is None:
        ours = [q for q in here if q.command.incarnation is not None]
        if not ours:
            return Look(uid, processes=pids)
        newest = max(ours, key=lambda q: (q.command.incarnation, q.started))
        name = newest.command.domain or ""
        return Look(
            uid, _incarnation(uid, name, remembered_mark(name), here, boot_id), None, processes=pids
        )
    domain = _incarnation(uid, seen.name, seen.mark, here, boot_id)
    paused = marked(uid, domain.epoch) or seen.io_error
    return Look(uid, domain, seen.state, seen.state is DomainState.PAUSED and paused, pids)


def _incarnation(
    uid: str, name: str, mark: Mark | None, here: Sequence[Qemu], boot_id: str
) -> Incarnation:
    """Who it is. An epoch of 0 is somebody else's domain with that UUID: never touched."""
    named = incarnation_of(name)
    own = next((q for q in here if q.command.domain == name), None)
    return Incarnation(
        uid,
        named[1] if named is not None and named[0] == uid else 0,
        boot_id=mark.boot_id if mark else boot_id,
        namespace=mark.namespace if mark else "",
        name=mark.name if mark else "",
        pid=own.pid if own else None,
        started=own.started if own else None,
    )
