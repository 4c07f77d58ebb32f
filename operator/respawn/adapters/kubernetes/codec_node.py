"""Node: what its owner says, and the operator's part of its status: fence, conditions, columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from respawn.adapters.kubernetes import codec_conditions, codec_host
from respawn.adapters.kubernetes.codec_base import Fields, Malformed, listed, texts, time_text
from respawn.adapters.kubernetes.patch import difference
from respawn.decide.node_sentences import HELD
from respawn.model.base import Owner
from respawn.model.conditions import Condition, Reason, Type, find
from respawn.model.node import Fence, FencePhase, Form, Node, NodeSpec, Taint
from respawn.model.server import FINALIZER
from respawn.model.units import format_quantity

# Reading.


def decode(body: Mapping[str, Any]) -> Node:
    """The node in an object of the API server. Raises Malformed."""
    whole = Fields(body)
    metadata, status = whole.part("metadata"), whole.part("status")
    return Node(
        name=metadata.needed("name"),
        uid=metadata.needed("uid"),
        labels=metadata.mapping("labels"),
        spec=_spec(whole.part("spec")),
        host=codec_host.decode(status.part("host")),
        fence=_fence(status.maybe("fence")),
        conditions=codec_conditions.decode(status),
        observed_generation=status.number("observedGeneration", -1),
        resource_version=metadata.text("resourceVersion"),
        generation=metadata.number("generation", 1),
        deleting="deletionTimestamp" in metadata,
        protected_by_us=FINALIZER in metadata.texts("finalizers"),
    )


def _spec(spec: Fields) -> NodeSpec:
    addresses, scheduling = spec.part("addresses"), spec.part("scheduling")
    return NodeSpec(
        libvirt_uri=spec.part("libvirt").text("uri"),
        management=addresses.addresses("management"),
        storage=addresses.addresses("storage"),
        migration=addresses.addresses("migration"),
        cordoned=scheduling.text("mode") == "Cordoned",
        drain=spec.part("maintenance").text("mode") == "Drain",
        reserved=scheduling.size("reservedMemory") if "reservedMemory" in scheduling else None,
        ended_boots=spec.part("fencing").texts("endedBoots"),
    )


def _fence(part: Fields | None) -> Fence:
    if part is None:
        return Fence()
    part.needed("phase")
    owner = part.text("owner")
    return Fence(
        phase=part.word("phase", FencePhase.OK),
        generation=part.number("generation"),
        addresses=part.addresses("addresses"),
        machine_id=part.text_or_none("machineID"),
        boot_id=part.text_or_none("bootID"),
        form=part.word("form", Form.IP) if "form" in part else None,
        owner=Owner.parse(owner) if owner else None,
        tainted=tuple(_taint(x) for x in part.parts("taintedForms")),
        reason=part.text("reason"),
        fenced=part.time("fencedAt"),
    )


def _taint(part: Fields) -> Taint:
    part.needed("form")
    return Taint(part.word("form", Form.IP), Owner.parse(part.needed("owner")))


# Writing.


@dataclass(frozen=True, slots=True)
class Columns:
    """What `kubectl get vnode` counts: servers, cores, and bytes of memory."""

    servers: int = 0
    cores_used: int = 0
    cores_free: int = 0
    memory_used: int = 0
    memory_free: int = 0

    def written(self) -> dict[str, Any]:
        """As in the status."""
        return {
            "servers": self.servers,
            "cpu": {"used": str(self.cores_used), "free": str(self.cores_free)},
            "memory": {
                "used": format_quantity(self.memory_used),
                "free": format_quantity(self.memory_free),
            },
        }


def columns(body: Mapping[str, Any]) -> Columns | None:
    """What the columns say now; None when there are none, or they make no sense."""
    status = Fields(body).part("status")
    try:
        cpu, memory = status.part("cpu"), status.part("memory")
        return Columns(
            servers=status.number("servers", -1),
            cores_used=int(cpu.text("used", "0")),
            cores_free=int(cpu.text("free", "0")),
            memory_used=memory.size("used"),
            memory_free=memory.size("free"),
        )
    except (ValueError, Malformed):
        return None


def patch(
    read: Node, fence: Fence, conditions: tuple[Condition, ...], columns: Columns | None = None
) -> dict[str, Any]:
    """The merge patch of the operator's part of the status: never of `host`."""
    changes = difference(
        encode(read.fence, read.conditions),
        encode(fence, conditions),
    )
    # An absent fence is OK(0): then a difference alone would lack what a fence must have.
    named = {"phase": str(fence.phase), "generation": fence.generation}
    return {
        **changes,
        "fence": {**changes.get("fence", {}), **named},
        "observedGeneration": read.generation,
        "state": state(read, fence, conditions),
        **(columns.written() if columns else {}),
    }


def encode(fence: Fence, conditions: tuple[Condition, ...]) -> dict[str, Any]:
    """All named fields of the operator's part, None where there is nothing."""
    # safety: no address and no taint is ever left out; the API server refuses what is too long.
    return {
        "fence": {
            "phase": str(fence.phase),
            "generation": fence.generation,
            "addresses": texts(fence.addresses),
            "machineID": fence.machine_id,
            "bootID": fence.boot_id,
            "form": str(fence.form) if fence.form else None,
            "owner": str(fence.owner) if fence.owner else None,
            "taintedForms": listed(
                {"form": str(t.form), "owner": str(t.owner)} for t in fence.tainted
            ),
            "reason": fence.reason or None,
            "fencedAt": time_text(fence.fenced),
        },
        "conditions": codec_conditions.encode(conditions),
    }


_STATES = {
    FencePhase.FENCING: "Fencing",
    FencePhase.FENCED: "Fenced",
    FencePhase.LIFTING: "Rejoining",
}
_BY_REASON = {
    Reason.AGENT_DOWN: "AgentDown",
    Reason.NOT_REGISTERED: "NotRegistered",
    Reason.UNRESPONSIVE: "Unresponsive",
    Reason.UNRESPONSIVE_BUT_RUNNING: "Unresponsive",
    Reason.CUT_OFF_BUT_ALIVE: "CutOff",
    Reason.DEAD: "Dead",
    Reason.HYPERVISOR_DOWN: "LibvirtDown",
    Reason.UNREACHABLE: "NoStorage",
    Reason.STORAGE_LOST: "NoStorage",
    **dict.fromkeys(HELD, "Held"),
}


def state(read: Node, fence: Fence, conditions: tuple[Condition, ...]) -> str:
    """One word for people."""
    if fence.phase is not FencePhase.OK:
        return _STATES[fence.phase]
    if read.deleting:
        return "Deleting"
    ready = find(conditions, Type.READY)
    if ready is None:
        return "Unknown"
    if ready.status == "True":
        if read.spec.drain:
            return "Drain"
        return "Cordoned" if read.spec.cordoned else "Ready"
    known = {str(reason): word for reason, word in _BY_REASON.items()}
    return known.get(ready.reason, "Unknown" if ready.status == "Unknown" else "NotReady")
