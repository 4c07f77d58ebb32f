"""Small worlds for decider tests: everything healthy, unless a test says otherwise."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from respawn.model.base import Now, Owner
from respawn.model.node import (
    Capacity,
    Fence,
    FencePhase,
    HostStatus,
    Node,
    NodeSpec,
    Registration,
    ServerReport,
)
from respawn.model.placement import Phase, Placement
from respawn.model.server import Disk, DiskStatus, Server, ServerSpec, ServerStatus, disk_image
from respawn.model.sight import Beat, Pulse, Sight
from respawn.model.storage import Image, Pool
from respawn.model.world import Me, World

GIB = 2**30
T0 = 1000.0
WALL = datetime(2030, 1, 1, tzinfo=UTC)
ME = Owner("operator-1", "life-1")


def now(after: float = 0.0) -> Now:
    """T0 and `after` seconds."""
    return Now(T0 + after, WALL + timedelta(seconds=after))


def pulse(silent: float = 0.0, *, read: float = 0.0) -> Pulse:
    """A sign read `read` seconds ago that had then not changed for `silent` seconds."""
    read_at = T0 - read
    changed = read_at - silent
    wall = WALL - timedelta(seconds=T0 - changed)
    return Pulse("token", changed, wall, read_at, read_since=0.0, moved=True)


def sight(lease: float = 0.0, heart: float = 0.0, **more: Any) -> Sight:
    """Silent for that many seconds, read just now."""
    return Sight(lease=pulse(lease), heart=pulse(heart), **more)


def beat(node: str = "host-1", boot: str = "boot-1", counter: int = 1) -> Beat:
    """A beat of that boot."""
    return Beat(f"machine-{node}", boot, counter)


def node(name: str = "host-1", **more: Any) -> Node:
    """A registered host with 16 GiB, protected, not fenced."""
    number = name.rpartition("-")[2]
    address = f"198.51.100.{10 + int(number)}"
    host = HostStatus(
        registration=Registration(f"machine-{name}", "boot-1", (address,)),
        policy_generation=1,
        capacity=Capacity(cores=8, memory=16 * GIB, machine="pc-q35-7.2"),
        servers=more.pop("reports", ()),
    )
    fields: dict[str, Any] = {
        "uid": f"uid-{name}",
        "labels": {"rack": "a"},
        "spec": NodeSpec(storage=(address,), management=(f"192.0.2.{10 + int(number)}",)),
        "host": host,
        "resource_version": "10",
        "protected_by_us": True,
        **more,
    }
    return Node(name, **fields)


def fenced(phase: FencePhase = FencePhase.FENCED, **more: Any) -> Fence:
    """host-1's fence of generation 1."""
    fields: dict[str, Any] = {
        "generation": 1,
        "addresses": ("198.51.100.11",),
        "machine_id": "machine-host-1",
        "boot_id": "boot-1",
        **more,
    }
    return Fence(phase, **fields)


def server(name: str = "web-1", **more: Any) -> Server:
    """A protected server whose disk is there; Free unless `placement` is given."""
    uid = f"uid-{name}"
    spec = ServerSpec(memory=GIB, disks=(Disk("root", "ceph", GIB, "golden"),))
    spec = replace(spec, **more.pop("spec", {}))
    status = ServerStatus(
        placement=more.pop("placement", Placement()),
        disks=(DiskStatus("root", "ceph", disk_image(uid, "root"), GIB),),
    )
    status = replace(status, **more.pop("status", {}))
    fields: dict[str, Any] = {"resource_version": "20", "protected_by_us": True, **more}
    return Server(uid, "customer-a", name, spec, status, **fields)


def placed(epoch: int = 1, node: str = "host-1", boot: str = "boot-1") -> Placement:
    """Placed there."""
    return Placement(Phase.PLACED, epoch, node, f"machine-{node}", boot)


def revoked(epoch: int = 1, node: str = "host-1", **more: Any) -> Placement:
    """Revoked there."""
    return replace(placed(epoch, node), phase=Phase.REVOKED, **more)


def report(uid: str = "uid-web-1", epoch: int = 1, **more: Any) -> ServerReport:
    """What the agent says."""
    return ServerReport(uid, epoch, **more)


def world(
    *servers: Server,
    nodes: tuple[Node, ...] | None = None,
    sights: dict[str, Sight] | None = None,
    **more: Any,
) -> World:
    """Three healthy hosts, this operator leading, with those servers."""
    hosts = nodes if nodes is not None else (node("host-1"), node("host-2"), node("host-3"))
    by_node: dict[str, frozenset[str]] = {}
    for s in servers:
        if s.here:
            by_node[s.here] = by_node.get(s.here, frozenset()) | {s.uid}
    recovering = frozenset(
        s.uid for s in servers if s.status.recovery is not None and s.status.recovery.open
    )
    fields: dict[str, Any] = {
        "me": Me(ME, leader=True, lease_until=T0 + 5, api_ok_at=T0, ceph_ok_at=T0),
        "pools": {"ceph": Pool("ceph", pool="vms")},
        "images": {"uid-golden": Image("uid-golden", "golden", "ceph", GIB // 2, ready=True)},
        "recovering": recovering,
        **more,
    }
    return World(
        servers={s.uid: s for s in servers},
        nodes={n.name: n for n in hosts},
        sights={n.name: sight() for n in hosts} | (sights or {}),
        by_node=by_node,
        **fields,
    )
