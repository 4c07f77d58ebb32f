"""Runs where an operator would: asks the witness once.

Arguments: PKI, INDEX, MACHINE, DEADLINE, UID…
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from respawn.adapters.libvirt.witness import HostWitness
from respawn.model.node import HostStatus, Node, NodeSpec, Registration, ReportState, ServerReport


async def main(pki: str, index: str, machine: str, deadline: str, *uids: str) -> None:
    spec = NodeSpec(
        libvirt_uri=f"qemu+tls://192.0.2.1{index}/system",
        management=(f"192.0.2.1{index}",),
        storage=(f"198.51.100.1{index}",),
    )
    servers = tuple(ServerReport(uid, 1, ReportState.RUNNING) for uid in uids)
    node = Node(
        f"host-{index}", spec=spec, host=HostStatus(Registration(machine, "b"), servers=servers)
    )
    begun = time.monotonic()
    answer, boot_id = await HostWitness(Path(pki)).ask(node, float(deadline))
    took = time.monotonic() - begun
    print(json.dumps({"answer": answer, "boot_id": boot_id, "s": took}))


asyncio.run(main(*sys.argv[1:]))
