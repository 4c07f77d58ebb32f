"""What a host has left: guest memory and QEMU's overhead, what is reserved and what is foreign."""

from dataclasses import dataclass

from respawn.model.node import Node, ReportState
from respawn.model.placement import Phase
from respawn.model.server import Server
from respawn.model.world import World


@dataclass(frozen=True, slots=True)
class Use:
    """Of one host: bytes and cores, with placements that are being written counted in."""

    servers: int
    cores: int
    memory: int
    memory_total: int
    starting: int
    """Placed there and not yet seen running."""

    @property
    def memory_free(self) -> int:
        """Bytes left for guests and their overhead; none when more is promised than there is."""
        return max(0, self.memory_total - self.memory)


def most(node: Node) -> int:
    """Bytes that guests and their overhead can have on that host when it runs nothing."""
    return node.host.capacity.memory - node.reserved


def need(server: Server, node: Node) -> int:
    """Bytes that the server takes on that host when it is started."""
    return server.spec.memory + node.host.capacity.overhead


def use(world: World, node: Node, without: str = "") -> Use:
    """What is used on `node`, leaving the server `without` (a UID) out."""
    reserved = {uid for uid, name in world.reserved.items() if name == node.name}
    uids = (world.by_node.get(node.name, frozenset()) | reserved) - {without}
    servers = [world.servers[uid] for uid in uids if uid in world.servers]
    capacity = node.host.capacity
    return Use(
        servers=len(servers),
        cores=sum(s.spec.cores for s in servers),
        memory=sum(_held(s, node) for s in servers),
        memory_total=most(node) - capacity.foreign,
        starting=sum(_starting(s, node) for s in servers),
    )


def _held(server: Server, node: Node) -> int:
    """Bytes that are kept for it there: what its QEMU was started with, or its next start's, if
    the host could ever give that.
    """
    hardware = server.status.hardware
    started = hardware.memory if hardware is not None and server.here == node.name else 0
    if started and need(server, node) > most(node):
        return started + node.host.capacity.overhead
    return max(server.spec.memory, started) + node.host.capacity.overhead


def _starting(server: Server, node: Node) -> bool:
    if server.placement.phase is Phase.REVOKED and server.here == node.name:
        return False
    report = node.report(server.uid, server.placement.epoch)
    here = server.here == node.name
    return not here or report is None or report.state is ReportState.STARTING
