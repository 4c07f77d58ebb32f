"""One look at a distant libvirtd, in a process of its own that may be killed when it hangs.

`python -m respawn.adapters.libvirt.tls_look URI` prints `libvirt` as soon as libvirtd has answered
a call, and then `boot ID` if a domain of ours tells which boot started it. It only looks.
"""

import sys
from xml.etree import ElementTree

import libvirt

from respawn.adapters.libvirt.names import METADATA_URI

ANSWERED, BOOT = "libvirt", "boot"


def main(uri: str) -> int:
    """Exit code 1 when libvirtd does not answer."""
    libvirt.registerErrorHandler(lambda context, error: None, None)
    try:
        connection = libvirt.openReadOnly(uri)
        connection.getLibVersion()
    except libvirt.libvirtError as error:
        print(error, file=sys.stderr)
        return 1
    print(ANSWERED, flush=True)
    boot = _boot(connection)
    if boot:
        print(BOOT, boot, flush=True)
    return 0


def _boot(connection: libvirt.virConnect) -> str | None:
    """The boot ID that a running domain of ours carries. List calls may hang: see above."""
    try:
        for ident in connection.listDomainsID():
            xml = connection.lookupByID(ident).XMLDesc()
            mark = ElementTree.fromstring(xml).find(f"metadata/{{{METADATA_URI}}}server")
            if mark is not None and mark.get("bootID"):
                return mark.get("bootID")
    except libvirt.libvirtError as error:
        print(error, file=sys.stderr)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
