"""VirtualServer.status: where the server is placed, with which proof, and what is observed.

The operator alone writes it, by merge patches under metadata.resourceVersion. `placement` is the
unit of every decision that could start or stop something: docs/protocol.md says what each phase
permits.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from respawn.api.base import Model, Status, keyed, rule, rules, unique, whole
from respawn.api.conditions import Conditions
from respawn.api.types import (
    Address,
    Count,
    Identity,
    Reason,
    Ref,
    Size,
    Span,
    Text,
    Time,
)

ProofKind = Literal["Fenced", "PoweredOff", "NewBoot", "Ended", "Confirmed"]


class Locker(Model):
    """A Ceph client that held or watched an image, and was blocklisted by its nonce for good."""

    client: Identity = Field(description="Ceph client, such as client.4123; empty for a watcher.")
    cookie: Identity = Field(description="Cookie of its lock; empty for a watcher.")
    address: Address = Field(description="Address with the nonce, as blocklisted.")


class Proof(Model):
    """Why no instance of an epoch can write any more."""

    kind: ProofKind = Field(
        description="Fenced: every address of its host is blocklisted, read back. PoweredOff: the "
        "BMC reports power off. NewBoot: the same machine came back with another boot ID. Ended: "
        "the agent of that boot read the revocation, then saw that nothing of it is left. "
        "Confirmed: a person confirmed, in the Node's spec, that its boot has ended."
    )
    fence_generation: Count | None = Field(
        default=None, description="Fenced: the generation of its host's fence."
    )
    boot_id: Identity | None = Field(
        default=None,
        description="NewBoot: the boot ID seen instead. Confirmed: the one that has ended.",
    )
    observed_at: Time | None = Field(
        default=None, description="When it was observed; the observation began after Revoked."
    )
    lockers: Annotated[list[Locker], Field(max_length=64), whole()] = Field(
        default_factory=list,
        description="The clients found on its images after the revocation, each blocklisted.",
    )


class Move(Model):
    """A live migration under way."""

    phase: Literal["None", "Open", "Closing"] = Field(
        description="Open: the target may be admitted. Closing: no longer; it may still commit."
    )
    target_epoch: Count | None = Field(
        default=None, description="The epoch that the target gets when the move is committed."
    )
    target_node: Ref | None = Field(default=None, description="Node it moves to.")
    target_boot_id: Identity | None = Field(
        default=None, description="Boot ID of that Node as read when the move was opened."
    )


class PlacementStatus(Model):
    """Who may run the server. Every change is one write under resourceVersion.

    The rules are a net beneath the operator: the API server itself refuses a step that the
    protocol does not have.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.epoch >= oldSelf.epoch", "an epoch is never used again: it may only grow"),
            rule(
                "oldSelf.phase != 'Deleted' || self.phase == 'Deleted'",
                "Deleted is for good",
            ),
            # safety: what may still run has to be revoked before anything is observed of it.
            rule(
                "oldSelf.phase != 'Placed' || self.phase in ['Placed', 'Revoked']",
                "a placed server is revoked first",
            ),
            # safety: leaving Revoked says that no old instance can write; that takes a proof.
            rule(
                "oldSelf.phase != 'Revoked' || self.phase == 'Revoked' || has(self.proof)",
                "a revoked placement ends with a proof",
            ),
            # safety: an epoch belongs to one host and one boot of it.
            rule(
                "self.phase != 'Placed' || self.epoch > oldSelf.epoch || "
                "(oldSelf.phase == 'Placed' && self.node == oldSelf.node && "
                "self.bootID == oldSelf.bootID)",
                "a new placement has a new epoch",
            ),
            rule(
                "self.phase != 'Placed' || "
                "(has(self.node) && has(self.machineID) && has(self.bootID))",
                "a placement names node, machineID and bootID",
            ),
        )
    )
    phase: Literal["Free", "Placed", "Revoked", "Deleted"] = Field(
        description="Free: no instance can write its disks. Placed: `node` may run this epoch. "
        "Revoked: no longer, but it may still run. Deleted: never again, for good."
    )
    epoch: Count = Field(
        description="Number of the placement: one more at every start and at every migration."
    )
    node: Ref | None = Field(default=None, description="Node it is, or was last, placed on.")
    machine_id: Identity | None = Field(
        default=None, description="Hardware identity of that Node as read when placing."
    )
    boot_id: Identity | None = Field(
        default=None,
        description="Boot ID of that Node as read when placing; no other may start it.",
    )
    grace: Span | None = Field(
        default=None,
        description="Revoked: how long the guest may take to shut down; at once if absent.",
    )
    move: Move | None = Field(default=None, description="A live migration under way.")
    proof: Proof | None = Field(
        default=None, description="Why no instance of the epoch before can write any more."
    )


class DiskHardware(Model):
    """How a disk appears in the guest."""

    name: Ref = Field(description="Name of the disk in spec.disks.")
    serial: Annotated[str, Field(max_length=20)] | None = Field(
        default=None, description="Serial the guest sees."
    )
    slot: Count | None = Field(default=None, description="PCI slot in the guest.")


class InterfaceHardware(Model):
    """How a network interface appears in the guest."""

    name: Ref = Field(description="Name of the interface in spec.networks.")
    mac_address: Annotated[str, Field(max_length=17)] | None = Field(
        default=None, description="MAC address."
    )
    slot: Count | None = Field(default=None, description="PCI slot in the guest.")
    bridge: Ref | None = Field(
        default=None, description="Bridge it was plugged into at the last start."
    )


class Hardware(Model):
    """The virtual hardware, fixed at the first start so that the guest never sees it change."""

    machine_type: Identity | None = Field(
        default=None, description="QEMU machine type, such as pc-q35-7.2."
    )
    cpu_model: Identity | None = Field(default=None, description="CPU model shown to the guest.")
    cores: Count | None = Field(default=None, description="CPU cores at the last start.")
    memory: Size | None = Field(default=None, description="Memory at the last start.")
    disks: Annotated[list[DiskHardware], Field(max_length=16), keyed("name")] = Field(
        default_factory=list, description="Disks as they appear in the guest."
    )
    networks: Annotated[list[InterfaceHardware], Field(max_length=8), keyed("name")] = Field(
        default_factory=list, description="Network interfaces as they appear in the guest."
    )


class DiskContent(Model):
    """What a disk was filled with when it was made; of a blank one nothing."""

    image: Ref | None = Field(default=None, description="Name of the ServerImage.")


class DiskStatus(Model):
    """A disk that exists, or is being made."""

    name: Ref = Field(description="Name of the disk in spec.disks.")
    pool: Ref = Field(description="Name of the StoragePool that holds it.")
    image: Annotated[str, Field(max_length=256)] = Field(
        description="RBD image in that pool: vs-<uid>-<disk>."
    )
    size: Size = Field(description="Its size as read from the image; 0 until it is made.")
    source: DiskContent | None = Field(
        default=None, description="What it was filled with; {} if blank. It stays its content."
    )


class Setback(Model):
    """How an instance last ended unwanted; it paces the next attempt."""

    epoch: Count = Field(description="Epoch of the instance.")
    node: Ref = Field(description="Node it was on; avoided for the next attempt.")
    reason: Reason = Field(description="How it ended: QemuDied, GuestPanicked, StartFailed, ...")
    at: Time = Field(description="When it was observed.")
    count: Count = Field(description="How many in a row; back-off grows with it.")
    message: Text | None = Field(default=None, description="What its host said of it.")
    generation: Count | None = Field(
        default=None, description="Of the spec then; a later one is tried without back-off."
    )


class RecoveryTimeline(Model):
    """The last recovery: what happened when. Times are by the operator's clock."""

    reason: Reason = Field(description="Why it was needed: HostLost, GuestPanicked, ...")
    from_node: Ref | None = Field(default=None, description="Node it ran on before.")
    to_node: Ref | None = Field(default=None, description="Node it runs on now.")
    proof: ProofKind | None = Field(
        default=None, description="Kind of the proof that the old instance can no longer write."
    )
    last_seen: Time | None = Field(default=None, description="Last sign of life of the old one.")
    suspected: Time | None = Field(
        default=None, description="When it had been silent for so long that its host was asked."
    )
    decided: Time | None = Field(
        default=None, description="When it was decided to restart it: its old placement is revoked."
    )
    fenced: Time | None = Field(default=None, description="When the old host's fence was proven.")
    placed: Time | None = Field(default=None, description="When the new placement was written.")
    started: Time | None = Field(default=None, description="When it was observed running.")
    ready: Time | None = Field(default=None, description="When its status said Ready again.")


class VirtualServerStatus(Status):
    """What Respawn observes."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(oldSelf.placement) || has(self.placement)",
                "placement says who may run the server: it cannot be dropped",
            )
        )
    )
    phase: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="Summary for people: Preparing, Waiting, Starting, Running, Paused, "
        "Recovering, Restarting, Stopping, Halted, Completed, Deleting, NoStorage, Unknown. "
        "No program should read it; read the conditions.",
    )
    node: Ref | None = Field(
        default=None, description="Node it is placed on: placement.node; absent while Free."
    )
    addresses: Annotated[list[Address], Field(max_length=32), unique()] = Field(
        default_factory=list,
        description="IP addresses of the guest, as its agent or ARP tells; it never delays Ready.",
    )
    uuid: Identity | None = Field(
        default=None, description="UUID of the domain and in the guest's SMBIOS: metadata.uid."
    )
    placement: PlacementStatus | None = Field(
        default=None, description="Who may run the server: the token of the safety protocol."
    )
    hardware: Hardware | None = Field(
        default=None, description="The virtual hardware, fixed at the first start."
    )
    disks: Annotated[list[DiskStatus], Field(max_length=32), keyed("name")] = Field(
        default_factory=list, description="The disks that exist or are being made."
    )
    setback: Setback | None = Field(
        default=None, description="How an instance last ended unwanted, until one lasts."
    )
    last_recovery: RecoveryTimeline | None = Field(
        default=None, description="The last recovery: what happened when."
    )
    conditions: Conditions = Field(
        default_factory=list,
        description="Ready, Reconciling, Stalled, Placed, DisksReady, Running, GuestReady, "
        "Recovering, RestartRequired.",
    )
