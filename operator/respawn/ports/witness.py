"""A second look at a host that has gone silent. It only looks: no order ever goes this way (R5)."""

from typing import Protocol

from respawn.model.node import Node
from respawn.model.sight import Answer


class Witness(Protocol):
    """Never raises: what cannot be reached is silence."""

    async def ask(self, node: Node, deadline: float) -> tuple[Answer, str | None]:
        """The best answer within `deadline` seconds, and the boot ID if libvirt could tell it.

        Libvirt over TLS and the kernel (ICMP or a TCP reset, on management *and* storage
        addresses) are asked at once.
        """
        ...
