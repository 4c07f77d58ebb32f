"""Node.status: one unit under resourceVersion with two writers. `host` is the agent's, everything
else the operator's; an admission policy keeps the agent to it.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from respawn.api.base import Model, Status, keyed, rule, rules, unique
from respawn.api.conditions import Conditions
from respawn.api.types import Address, Count, Identity, Reason, Size, Span, Text, Time

FenceForm = Literal["ip", "range"]
"""How a blocklist entry is written: `IP:0/0` or range `IP/32`, two keys with one effect."""


class Registration(Model):
    """Which machine, and which boot of it, the agent speaks for."""

    machine_id: Identity = Field(description="Identity of the hardware.")
    boot_id: Identity = Field(description="Identity of this boot.")
    addresses: Annotated[list[Address], Field(max_length=32), unique()] = Field(
        default_factory=list,
        description="IP addresses its Ceph clients use, read from their real sockets.",
    )
    heart_objects: Annotated[list[Identity], Field(max_length=8), unique()] = Field(
        default_factory=list,
        description="RADOS objects its heart writes, on different primary OSDs.",
    )


class Capacity(Model):
    """What the host has."""

    cores: Count = Field(description="Logical processors.")
    memory: Size = Field(description="Memory of the host.")
    reserved: Size | None = Field(default=None, description="Memory kept for the host itself.")
    foreign: Size | None = Field(
        default=None, description="Memory of domains that Respawn did not create."
    )
    overhead: Size | None = Field(
        default=None,
        description="Memory QEMU needs beside each server's own, as measured.",
    )
    machine_type: Identity | None = Field(
        default=None, description="Newest machine type its QEMU offers, such as pc-q35-7.2."
    )
    cpu_model: Identity | None = Field(
        default=None, description="CPU model that a server first started here gets."
    )
    bridges: Annotated[list[Identity], Field(max_length=4096), unique()] | None = Field(
        default=None, description="Bridges that servers can be plugged into."
    )


class ServerReport(Model):
    """What the agent sees of one incarnation of a server."""

    uid: Identity = Field(description="UID of the VirtualServer.")
    epoch: Count = Field(description="Epoch of the incarnation.")
    state: Literal["Starting", "Running", "Paused", "Failed", "Ended"] = Field(
        description="Starting, Running, Paused: as libvirt shows. Failed: a start failed; that "
        "proves nothing. Ended: after the agent read this epoch as Revoked no domain and no "
        "QEMU process of it was left."
    )
    migrated_to: Count | None = Field(
        default=None,
        description="Epoch of the target, once libvirt told here that the migration succeeded.",
    )
    pid: Count | None = Field(default=None, description="Process ID of its QEMU on the host.")
    reason: Reason | None = Field(default=None, description="Why, in one word.")
    message: Text | None = Field(default=None, description="Why, for people.")
    addresses: Annotated[list[Address], Field(max_length=32), unique()] = Field(
        default_factory=list, description="IP addresses seen: from the guest's agent or ARP."
    )
    guest_ready: Literal["True", "False", "Unknown"] | None = Field(
        default=None, description="Whether the guest tells that it is up, where it can tell."
    )
    started: Time | None = Field(
        default=None, description="When its QEMU was started, by the host's clock."
    )


class ObeyedTimings(Model):
    """The timings that the agent obeys."""

    lease_renew: Span = Field(description="leaseRenew that it obeys.")
    heartbeat: Span = Field(description="heartbeat that it obeys.")
    pause_after: Span = Field(description="pauseAfter that it obeys.")
    fence_after: Span = Field(description="fenceAfter that it obeys.")
    unresponsive_after: Span = Field(description="unresponsiveAfter that it obeys.")
    storage_lost_after: Span = Field(description="storageLostAfter that it obeys.")


class HostStatus(Model):
    """What the host's agent reports."""

    registration: Registration | None = Field(
        default=None, description="Which machine, and which boot of it, the agent speaks for."
    )
    clean_generation: Count | None = Field(
        default=None,
        description="Generation of the fence for which the agent ended every domain with a disk in "
        "Ceph and saw none left.",
    )
    policy_generation: Count | None = Field(
        default=None,
        description="metadata.generation of the RespawnPolicy whose timings the agent obeys.",
    )
    timings: ObeyedTimings | None = Field(
        default=None,
        description="The timings that the agent obeys: the host is judged by the slower of these "
        "and the policy's.",
    )
    capacity: Capacity | None = Field(default=None, description="What the host has.")
    storage: Literal["OK", "Failing"] | None = Field(
        default=None, description="Failing: the agent itself sees storage I/O of this host fail."
    )
    hypervisor: Literal["OK", "Failing"] | None = Field(
        default=None, description="Failing: libvirtd does not answer the agent; its servers run on."
    )
    heart: Literal["OK", "Failing"] | None = Field(
        default=None,
        description="Failing: the heart process of this host is silent; the agent beats for it.",
    )
    servers: Annotated[list[ServerReport], Field(max_length=512), keyed("uid", "epoch")] = Field(
        default_factory=list, description="The incarnations of servers on the host."
    )


class TaintedForm(Model):
    """A form of entry that a late removal may still hit, so the next fence uses the other."""

    form: FenceForm = Field(description="The form.")
    owner: Identity = Field(description="The process whose removal may still come.")


class Fence(Model):
    """The host's fence: a numbered object with phases of its own.

    The rules are a net beneath the operator: the API server itself refuses a step that the
    protocol does not have.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            # safety: a fence counts only once it was read back, and is lifted only in its order.
            rule(
                "self.phase == oldSelf.phase || self.phase == {'OK': 'Fencing', "
                "'Fencing': 'Fenced', 'Fenced': 'Lifting', 'Lifting': 'OK'}[oldSelf.phase]",
                "a fence goes OK, Fencing, Fenced, Lifting, OK, and never back or across",
            ),
            rule(
                "self.generation == oldSelf.generation + "
                "(oldSelf.phase == 'OK' && self.phase == 'Fencing' ? 1 : 0)",
                "each fence has the next generation, and keeps it",
            ),
            # safety: what was blocklisted must be what is lifted.
            rule(
                "self.phase == 'OK' || oldSelf.phase == 'OK' || ("
                "(has(self.form) ? self.form : '') == (has(oldSelf.form) ? oldSelf.form : '') && "
                "(!has(oldSelf.addresses) || (has(self.addresses) && "
                "oldSelf.addresses.all(a, a in self.addresses))))",
                "the addresses and the form of a fence stay until it is lifted",
            ),
        )
    )
    phase: Literal["OK", "Fencing", "Fenced", "Lifting"] = Field(
        description="OK: not fenced. Fencing: intended, proves nothing. Fenced: every address is "
        "blocklisted and was read back. Lifting: the entries are being removed."
    )
    generation: Count = Field(description="Number of the fence: one more at every Fencing.")
    addresses: Annotated[list[Address], Field(max_length=64), unique()] = Field(
        default_factory=list, description="The IP addresses that are fenced."
    )
    machine_id: Identity | None = Field(default=None, description="The machine that is fenced.")
    boot_id: Identity | None = Field(default=None, description="The boot that is fenced.")
    form: FenceForm | None = Field(
        default=None,
        description="How the entries are written: ip (IP:0/0) or range (IP/32).",
    )
    owner: Identity | None = Field(
        default=None, description="Operator process that lifts it, as NAME/INCARNATION."
    )
    tainted_forms: Annotated[list[TaintedForm], Field(max_length=16), keyed("form", "owner")] = (
        Field(default_factory=list, description="Forms not to use, and whose removal may come.")
    )
    reason: Reason | None = Field(default=None, description="Why it was fenced, in one word.")
    fenced_at: Time | None = Field(default=None, description="When the entries had been read back.")


class Usage(Model):
    """A resource of the host."""

    used: Size = Field(description="Given to the servers placed here.")
    free: Size = Field(description="Left for more.")


class NodeStatus(Status):
    """What is observed of the host."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(oldSelf.fence) || has(self.fence)",
                "the fence says who may write to Ceph: it cannot be dropped",
            ),
            # safety: Fenced is a proof; it comes only after the intent was written and carried out.
            rule(
                "has(oldSelf.fence) || !has(self.fence) || self.fence.phase in ['OK', 'Fencing']",
                "a fence begins with OK or Fencing",
            ),
        )
    )
    state: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="Summary for people: Ready, Cordoned, Drain, Deleting, AgentDown, "
        "LibvirtDown, Unresponsive, CutOff, NoStorage, Dead, Held, Fencing, Fenced, Rejoining, "
        "NotRegistered, NotReady, Unknown. "
        "No program should read it; read the conditions.",
    )
    servers: Count | None = Field(default=None, description="Number of servers placed here.")
    cpu: Usage | None = Field(default=None, description="Virtual processors used and free.")
    memory: Usage | None = Field(default=None, description="Memory used and free.")
    host: HostStatus | None = Field(default=None, description="What the host's agent reports.")
    fence: Fence | None = Field(
        default=None, description="The host's fence; absent means OK of generation 0."
    )
    conditions: Conditions = Field(
        default_factory=list,
        description="Ready, Registered, AgentAlive, StorageReachable, HypervisorReachable, "
        "FencingReady, Fenced, Schedulable.",
    )
