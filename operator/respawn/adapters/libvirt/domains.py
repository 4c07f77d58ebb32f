"""One domain as libvirt tells it, looked up by UUID.

While the hook is asked about a domain, libvirt holds that domain locked: a look at it returns when
the hook is answered, so it can never call absent what is about to start. (Such a look also keeps
libvirt from adding other domains meanwhile: nobody should look at what he is just creating.) A
list call would wait for every such domain; a look waits for its own only.
"""

from dataclasses import dataclass
from pathlib import Path

import libvirt

from respawn.adapters.libvirt.names import METADATA_URI
from respawn.adapters.libvirt.reading import Mark, describe, read_mark
from respawn.model.host import DomainState
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


@dataclass(frozen=True, slots=True)
class Seen:
    """A domain object in any state. `io_error`: it is paused because its storage failed."""

    name: str
    mark: Mark | None
    state: DomainState
    io_error: bool = False


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
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    failed = state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR
    return Seen(domain.name(), mark, state_of(state, reason), failed)


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
