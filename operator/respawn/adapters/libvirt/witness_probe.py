"""Asks one libvirt, read-only, and ends: run as `python -m`, with `{"uri", "uids"}` on stdin.

Prints a line as soon as libvirt has answered, `{"machine_id"}`, and then, when it knows,
`{"boot_id"}`: a libvirt that hangs on a domain has answered all the same. libvirt itself knows no
boot ID; the mark of any domain that we started tells which boot it runs in. Domains are looked up
by UUID: a list would hang while a hook runs.
"""

import json
import sys
from xml.etree import ElementTree

import libvirt

from respawn.adapters.libvirt.connection import start_event_loop
from respawn.adapters.libvirt.domains import see


def main() -> None:
    """Exit code 0 when libvirt answered."""
    question = json.load(sys.stdin)
    start_event_loop()
    connection = libvirt.openReadOnly(question["uri"])
    capabilities = ElementTree.fromstring(connection.getCapabilities())
    _say(machine_id=capabilities.findtext("host/uuid"))
    _say(boot_id=_boot_id(connection, question["uids"]))


def _boot_id(connection: "libvirt.virConnect", uids: list[str]) -> str | None:
    for uid in uids:
        seen = see(connection, uid)
        if seen is not None and seen.mark is not None:
            return seen.mark.boot_id
    return None


def _say(**facts: str | None) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
