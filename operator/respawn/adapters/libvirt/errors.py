"""libvirt's errors as those of the ports."""

import libvirt

from respawn.model.conditions import Reason
from respawn.ports.errors import Conflict, NotFound, PortError, Refused, Unavailable

THERE_ALREADY = frozenset(
    {libvirt.VIR_ERR_DOM_EXIST, libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_OPERATION_INVALID}
)
"""What createXML says of a domain that is there already (and of some other things: look)."""
_LOST = frozenset(
    {
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
        libvirt.VIR_ERR_OPERATION_ABORTED,
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
        libvirt.VIR_ERR_AGENT_UNSYNCED,
    }
)


def of_libvirt(error: "libvirt.libvirtError") -> PortError:
    """Unavailable when it is unknown whether the call was done, else what libvirt said."""
    code, text = error.get_error_code(), str(error.get_error_message())
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return NotFound(text)
    if code in _LOST or error.get_error_domain() in (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE):
        return Unavailable(text)
    if code in THERE_ALREADY:
        return Conflict(text)
    return Refused(Reason.START_FAILED, text)
