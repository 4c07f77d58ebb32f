"""VirtualServer.status, read and written."""

from typing import Any

from respawn.adapters.kubernetes import codec_conditions
from respawn.adapters.kubernetes.codec_base import Fields, listed, texts, time_text
from respawn.adapters.kubernetes.patch import difference
from respawn.model.placement import UNPLACED, Locker, Phase, Placement, Proof, ProofKind
from respawn.model.server import (
    DiskHardware,
    DiskStatus,
    Hardware,
    NicHardware,
    Recovery,
    Server,
    ServerStatus,
    Setback,
)
from respawn.model.units import format_duration, format_quantity

# Reading.


def decode(status: Fields) -> ServerStatus:
    """A status; an absent one is that of an object nobody has looked at yet."""
    return ServerStatus(
        observed_generation=status.number("observedGeneration", -1),
        phase=status.text("phase"),
        placement=_placement(status.maybe("placement")),
        addresses=status.texts("addresses"),
        hardware=_hardware(status.maybe("hardware")),
        disks=tuple(_disk(part) for part in status.parts("disks")),
        setback=_setback(status.maybe("setback")),
        recovery=_recovery(status.maybe("lastRecovery")),
        conditions=codec_conditions.decode(status),
    )


def _placement(part: Fields | None) -> Placement:
    if part is None:
        return UNPLACED
    part.needed("phase")
    grace = part.duration("grace", 0.0)
    return Placement(
        phase=part.word("phase", Phase.FREE),
        epoch=part.number("epoch"),
        node=part.text_or_none("node"),
        machine_id=part.text_or_none("machineID"),
        boot_id=part.text_or_none("bootID"),
        proof=_proof(part.maybe("proof")),
        grace=grace if "grace" in part else None,
    )


def _proof(part: Fields | None) -> Proof | None:
    if part is None:
        return None
    part.needed("kind")
    return Proof(
        kind=part.word("kind", ProofKind.FENCED),
        observed_at=part.time("observedAt"),
        fence_generation=part.number("fenceGeneration") if "fenceGeneration" in part else None,
        boot_id=part.text_or_none("bootID"),
        lockers=tuple(
            Locker(x.text("client"), x.text("cookie"), x.text("address"))
            for x in part.parts("lockers")
        ),
    )


def _hardware(part: Fields | None) -> Hardware | None:
    if part is None:
        return None
    return Hardware(
        machine=part.text("machineType"),
        cpu_model=part.text("cpuModel"),
        nics=tuple(
            NicHardware(x.needed("name"), x.text("macAddress"), x.number("slot"), x.text("bridge"))
            for x in part.parts("networks")
        ),
        disks=tuple(
            DiskHardware(x.needed("name"), x.text("serial"), x.number("slot"))
            for x in part.parts("disks")
        ),
        cores=part.number("cores"),
        memory=part.size("memory"),
    )


def _disk(part: Fields) -> DiskStatus:
    source = part.maybe("source")
    return DiskStatus(
        name=part.needed("name"),
        pool=part.needed("pool"),
        image=part.needed("image"),
        size=part.size("size"),
        source=None if source is None else source.text("image"),
    )


def _written_disk(disk: DiskStatus) -> dict[str, Any]:
    source = {"image": disk.source} if disk.source else {}
    return {
        "name": disk.name,
        "pool": disk.pool,
        "image": disk.image,
        "size": format_quantity(disk.size),
        "source": None if disk.source is None else source,
    }


def _setback(part: Fields | None) -> Setback | None:
    if part is None:
        return None
    return Setback(
        epoch=part.number("epoch"),
        node=part.text("node"),
        reason=part.text("reason"),
        at=part.needed_time("at"),
        count=part.number("count", 1),
        message=part.text("message"),
        generation=part.number("generation"),
    )


_MOMENTS = {
    "last_seen": "lastSeen",
    **{m: m for m in ("suspected", "decided", "fenced", "placed", "started", "ready")},
}


def _recovery(part: Fields | None) -> Recovery | None:
    if part is None:
        return None
    return Recovery(
        reason=part.text("reason"),
        from_node=part.text("fromNode"),
        to_node=part.text_or_none("toNode"),
        proof=part.text_or_none("proof"),
        **{name: part.time(key) for name, key in _MOMENTS.items()},
    )


# Writing.


def patch(read: Server, status: ServerStatus) -> dict[str, Any]:
    """The merge patch of the status that makes `status` of what was read.

    What follows from other fields is in every patch, so that no write leaves them apart.
    """
    changes, placement = difference(encode(read.status), encode(status)), status.placement
    # Free(0) may not be written yet: then a difference alone would lack what a placement must have.
    named = {"phase": str(placement.phase), "epoch": placement.epoch}
    return {
        **changes,
        "placement": {**changes.get("placement", {}), **named},
        "observedGeneration": status.observed_generation,
        "uuid": read.uid,
        # Agents select the servers of their host by it.
        "node": placement.node if placement.held else None,
    }


def encode(status: ServerStatus) -> dict[str, Any]:
    """All named fields of a status, None where there is nothing."""
    return {
        "phase": status.phase or None,
        "placement": _written_placement(status.placement),
        "addresses": texts(status.addresses, 32),
        "hardware": _written_hardware(status.hardware),
        "disks": listed(_written_disk(d) for d in status.disks),
        "setback": _written_setback(status.setback),
        "lastRecovery": _written_recovery(status.recovery),
        "conditions": codec_conditions.encode(status.conditions),
    }


def _written_placement(placement: Placement) -> dict[str, Any]:
    grace, proof = placement.grace, placement.proof
    return {
        "phase": str(placement.phase),
        "epoch": placement.epoch,
        "node": placement.node,
        "machineID": placement.machine_id,
        "bootID": placement.boot_id,
        "grace": None if grace is None else format_duration(grace),
        "proof": None if proof is None else _written_proof(proof),
    }


def _written_proof(proof: Proof) -> dict[str, Any]:
    return {
        "kind": str(proof.kind),
        "observedAt": time_text(proof.observed_at),
        "fenceGeneration": proof.fence_generation,
        "bootID": proof.boot_id,
        "lockers": listed(
            {"client": x.client, "cookie": x.cookie, "address": x.address}
            for x in proof.lockers[:64]
        ),
    }


def _written_hardware(hardware: Hardware | None) -> dict[str, Any] | None:
    if hardware is None:
        return None
    return {
        "machineType": hardware.machine,
        "cpuModel": hardware.cpu_model,
        "networks": listed(
            {"name": n.name, "macAddress": n.mac, "slot": n.slot, "bridge": n.bridge or None}
            for n in hardware.nics
        ),
        "disks": listed(
            {"name": d.name, "serial": d.serial, "slot": d.slot} for d in hardware.disks
        ),
        "cores": hardware.cores or None,
        "memory": format_quantity(hardware.memory) if hardware.memory else None,
    }


def _written_setback(setback: Setback | None) -> dict[str, Any] | None:
    if setback is None:
        return None
    return {
        "epoch": setback.epoch,
        "node": setback.node,
        "reason": setback.reason,
        "at": time_text(setback.at),
        "count": setback.count,
        "message": setback.message or None,
        "generation": setback.generation or None,
    }


def _written_recovery(recovery: Recovery | None) -> dict[str, Any] | None:
    if recovery is None:
        return None
    return {
        "reason": recovery.reason,
        "fromNode": recovery.from_node,
        "toNode": recovery.to_node,
        "proof": recovery.proof,
        **{key: time_text(getattr(recovery, name)) for name, key in _MOMENTS.items()},
    }
