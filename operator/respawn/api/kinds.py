"""The kinds, and how kubectl names and lists them."""

from dataclasses import dataclass
from typing import Any

from respawn.api.base import Resource
from respawn.api.node import Node
from respawn.api.respawnpolicy import RespawnPolicy
from respawn.api.serverimage import ServerImage
from respawn.api.storagepool import StoragePool
from respawn.api.virtualserver import VirtualServer


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of `kubectl get`; a wide one is shown with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    description: str = ""

    def as_dict(self) -> dict[str, Any]:
        result: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            result["description"] = self.description
        if self.wide:
            result["priority"] = 1
        return result


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind: its model and its CRD's particulars."""

    model: type[Resource]
    plural: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    namespaced: bool = False
    selectable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.model.__name__


def _condition(kind: str, field: str = "status") -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


READY = Column(name="Ready", path=_condition("Ready"), description="Whether the spec is realised.")
REASON = Column(name="Reason", path=_condition("Ready", "reason"), wide=True)
MESSAGE = Column(name="Message", path=_condition("Ready", "message"), wide=True)
PHASE = Column(name="Phase", path=".status.phase")
AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date")

KINDS: tuple[Kind, ...] = (
    Kind(
        model=VirtualServer,
        plural="virtualservers",
        short_names=("vs",),
        namespaced=True,
        columns=(
            READY,
            PHASE,
            Column(name="Node", path=".status.node"),
            Column(name="IP", path=".status.addresses[0]"),
            AGE,
            Column(name="Epoch", path=".status.placement.epoch", type="integer", wide=True),
            Column(name="Recovered", path=".status.lastRecovery.started", type="date", wide=True),
            REASON,
            MESSAGE,
        ),
        # Agents watch the servers of their own host by it.
        selectable=(".status.node",),
    ),
    Kind(
        model=Node,
        plural="nodes",
        short_names=("vnode",),
        columns=(
            READY,
            Column(name="State", path=".status.state"),
            Column(name="Servers", path=".status.servers", type="integer"),
            Column(name="CPU-Used", path=".status.cpu.used"),
            Column(name="CPU-Free", path=".status.cpu.free"),
            Column(name="Memory-Used", path=".status.memory.used"),
            Column(name="Memory-Free", path=".status.memory.free"),
            AGE,
            Column(name="Fence", path=".status.fence.phase", wide=True),
            REASON,
            MESSAGE,
        ),
    ),
    Kind(
        model=StoragePool,
        plural="storagepools",
        short_names=("vpool",),
        columns=(
            READY,
            Column(name="Pool", path=".spec.ceph.pool"),
            Column(name="Used", path=".status.capacity.used"),
            Column(name="Total", path=".status.capacity.total"),
            AGE,
            REASON,
            MESSAGE,
        ),
    ),
    Kind(
        model=ServerImage,
        plural="serverimages",
        short_names=("vimage",),
        columns=(
            READY,
            PHASE,
            Column(name="Pool", path=".spec.pool"),
            Column(name="Size", path=".status.size"),
            AGE,
            REASON,
            MESSAGE,
        ),
    ),
    Kind(
        model=RespawnPolicy,
        plural="respawnpolicies",
        short_names=("vpolicy",),
        columns=(
            READY,
            Column(name="Held", path=_condition("FailoverHeld")),
            Column(name="Fence-After", path=".spec.timings.fenceAfter"),
            Column(name="Worst-Case", path=".status.worstCaseRecovery"),
            AGE,
            REASON,
            MESSAGE,
            Column(name="Held-Because", path=_condition("FailoverHeld", "message"), wide=True),
        ),
    ),
)
