"""What the agent knows between two decisions, and the view that is decided on."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from respawn.model.host import Contact, Exit, HostView, Identity, Look
from respawn.model.node import Capacity, Node, ServerReport
from respawn.model.policy import Timings
from respawn.model.server import Server
from respawn.ports.hypervisor import Journal


@dataclass
class AgentState:
    """Mutable memory; all that must survive a restart is in libvirt, the journal and the API."""

    me: Identity
    journal: Journal
    timings: Timings = field(default_factory=Timings)
    policy_generation: int = 0
    node: Node | None = None
    servers: dict[str, Server] = field(default_factory=dict)
    looks: dict[str, Look] = field(default_factory=dict)
    details: dict[str, ServerReport] = field(default_factory=dict)
    exits: dict[str, Exit] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    creating: set[tuple[str, int]] = field(default_factory=set)
    failures: dict[tuple[str, int], int] = field(default_factory=dict)
    shutdowns: dict[tuple[str, int], float] = field(default_factory=dict)
    presses: dict[tuple[str, int], float] = field(default_factory=dict)
    contact: Contact = field(default_factory=lambda: Contact(0.0, 0.0))
    capacity: Capacity = field(default_factory=Capacity)
    storage_failing: bool = False
    hypervisor_failing: bool = False
    heart_failing: bool = False
    scanned: bool = False
    fence_changed: Callable[[], None] = lambda: None
    """Called when the Node is known with another fence than before, by whatever read."""

    def view(self) -> HostView:
        """The picture of this moment; good until the next `await`."""
        return HostView(
            me=self.me,
            timings=self.timings,
            policy_generation=self.policy_generation,
            node=self.node,
            servers=self.servers,
            looks=self.looks,
            exits=self.exits,
            ended=self.ended,
            admitted=self.journal.admitted(),
            creating=frozenset(self.creating),
            failures=self.failures,
            shutdowns=self.shutdowns,
            presses=self.presses,
            contact=self.contact,
            capacity=self.capacity,
            storage_failing=self.storage_failing,
            hypervisor_failing=self.hypervisor_failing,
            heart_failing=self.heart_failing,
            scanned=self.scanned,
        )

    def touch(self, **changes: object) -> None:
        """Note what is new about the contact with the outside."""
        self.contact = replace(self.contact, **changes)  # type: ignore[arg-type]

    def put_server(self, server: Server) -> bool:
        """A server placed here, as watched or read; False when something newer is known."""
        known = self.servers.get(server.uid)
        if known is not None and int(server.resource_version) < int(known.resource_version):
            return False
        self.servers[server.uid] = server
        return True

    def put_node(self, node: Node) -> bool:
        """The own Node, as watched or read; False when something newer is known."""
        known = self.node
        if known is not None and int(node.resource_version) < int(known.resource_version):
            return False
        self.node = node
        if known is None or node.fence != known.fence:
            self.fence_changed()
        return True

    def forget(self, uid: str) -> None:
        """Drop everything about a server that is neither here nor to be here."""
        for memory in (self.servers, self.looks, self.details, self.exits, self.ended):
            memory.pop(uid, None)
        counts: tuple[dict[tuple[str, int], Any], ...]
        counts = (self.failures, self.shutdowns, self.presses)
        for count in counts:
            for known in [this for this in count if this[0] == uid]:
                del count[known]
