"""VirtualServer: one customer's machine. Here is what its owner says; `virtualserver_status` has
what Respawn observes."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from respawn.api.base import Extra, Model, Resource, keyed, named_like_a_host, rule, rules, unique
from respawn.api.types import (
    DiskName,
    Duration,
    InterfaceName,
    LabelKey,
    Labels,
    MACAddress,
    Name,
    Quantity,
    at_least,
    between_durations,
    is_size,
)
from respawn.api.virtualserver_status import VirtualServerStatus

ROOT_DISK = "root"
"""The disk a server boots from."""
HOST_LABEL = "respawn.dev/host"
"""The label every Node carries with its own name; anti-affinity keeps apart by it unless told."""


class CPU(Model):
    """Processors of a server."""

    cores: Annotated[int, Field(ge=1, le=256, json_schema_extra={"format": "int32"})] = Field(
        description="Number of virtual processors, 1 to 256."
    )


class Memory(Model):
    """Memory of a server."""

    size: Annotated[Quantity, Extra(at_least("16Mi", what="memory"))] = Field(
        description="Memory the guest sees, such as 2Gi; at least 16Mi."
    )


class DiskSource(Model):
    """What a new disk is filled with."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.image)", "name what the disk is cloned from: set image to a ServerImage")
        )
    )
    image: Name | None = Field(
        default=None,
        description="Name of the ServerImage the disk is cloned from, copy-on-write.",
    )


class Disk(Model):
    """One disk of a server."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"!{is_size('self.size')} || !{is_size('oldSelf.size')} || "
                "quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",
                "a disk cannot shrink: set its size back, or larger",
                messageExpression="'disk ' + self.name + ' cannot shrink from ' + oldSelf.size + "
                "' to ' + self.size + ': set its size to ' + oldSelf.size + ' or more'",
            ),
            rule(
                "has(self.source) == has(oldSelf.source) && "
                "(!has(self.source) || self.source == oldSelf.source)",
                "source is immutable: it only fills a new disk. Set it back, or add a disk of "
                "another name (root: delete the server, and apply it anew)",
            ),
            rule(
                "self.pool == oldSelf.pool",
                "pool is immutable: a disk cannot move between pools yet. Set it back, or add a "
                "disk of another name (root: delete the server, and apply it anew)",
            ),
        )
    )
    name: DiskName = Field(
        description="Name of the disk within its server, and its serial in the guest; the server "
        "boots from root."
    )
    pool: Name = Field(description="Name of the StoragePool that holds it. Immutable.")
    size: Annotated[Quantity, Extra(at_least("1Mi", what="a disk"))] = Field(
        description="Size, such as 20Gi. It may grow, never shrink."
    )
    source: DiskSource | None = Field(
        default=None,
        description="What the new disk is filled with; blank if absent. Immutable.",
    )


class NetworkInterface(Model):
    """One network interface of a server."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.bridge) != has(self.network)",
                "say where the interface is plugged in: set exactly one of bridge and network",
            )
        )
    )
    name: Name = Field(description="Name of the interface within its server.")
    bridge: InterfaceName | None = Field(
        default=None, description="Bridge to plug it into; it starts only on hosts that have it."
    )
    network: Name | None = Field(
        default=None,
        description="Name of a Network to plug it into. Not carried out yet: a server that names "
        "one waits, and says so.",
    )
    mac_address: MACAddress | None = Field(
        default=None,
        description="MAC address; derived from the server's UID if absent. It never changes by "
        "itself.",
    )


class Recovery(Model):
    """What happens to the server when its host is lost."""

    mode: Literal["Restart", "None"] = Field(
        default="Restart",
        description="Restart: started on another host once the old one is fenced. None: waits for "
        "its own host.",
    )
    priority: Annotated[int, Field(ge=0, le=1000, json_schema_extra={"format": "int32"})] = Field(
        default=100, description="Order of recovery, 0 to 1000: higher is restarted first."
    )


class AntiAffinity(Model):
    """Keeps servers of one group apart."""

    group: Name = Field(
        description="Servers of this namespace that name the same group are kept apart."
    )
    topology_key: LabelKey | None = Field(
        default=None,
        description="Node label in which they must differ; respawn.dev/host (one per host) if "
        "absent.",
    )
    mode: Literal["Required", "Preferred"] | None = Field(
        default=None,
        description="Required (if absent too): rather not started than together. Preferred: a "
        "wish that never blocks.",
    )


class Placement(Model):
    """Where the server may run."""

    node_selector: Labels = Field(
        default_factory=dict, description="Labels a host must have, all of them, with these values."
    )
    preferred_nodes: Annotated[list[Name], Field(max_length=16), unique()] = Field(
        default_factory=list,
        description="Names of Nodes to prefer, best first: a wish that never blocks.",
    )
    anti_affinity: Annotated[list[AntiAffinity], Field(max_length=8), keyed("group")] = Field(
        default_factory=list, description="Groups of servers to keep apart from."
    )


class Deletion(Model):
    """What deleting the object does."""

    policy: Literal["Delete", "Retain"] = Field(
        default="Delete",
        description="Delete: its disks go to the trash of their pool. Retain: its disks stay.",
    )
    protected: bool = Field(
        default=False, description="While true, the API server refuses to delete the object."
    )


class VirtualServerSpec(Model):
    """What the owner wants."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.memory)", "say how much memory: set spec.memory.size, such as 2Gi"),
            rule(
                f"self.disks.exists(d, d.name == '{ROOT_DISK}')",
                "a server boots from its disk named root: spec.disks must have it, and it cannot "
                "be removed or renamed",
            ),
            rule(
                "!has(self.networks) || self.networks.all(n, !has(n.macAddress) || "
                "self.networks.exists_one(m, has(m.macAddress) && "
                "m.macAddress.lowerAscii() == n.macAddress.lowerAscii()))",
                "two interfaces have one macAddress: give each its own, or leave it out",
            ),
        )
    )
    run_policy: Literal["Always", "RerunOnFailure", "Halted"] = Field(
        default="Always",
        description="Always: kept running whatever ends it. RerunOnFailure: restarted after a "
        "failure, left alone when its guest powers off. Halted: shut down and kept so.",
    )
    cpu: CPU | None = Field(default=None, description="Processors; one core if absent.")
    memory: Memory | None = Field(default=None, description="Memory. It must be set.")
    disks: Annotated[list[Disk], Field(min_length=1, max_length=16), keyed("name")] = Field(
        description="Disks, 1 to 16; one of them is named root."
    )
    networks: Annotated[list[NetworkInterface], Field(max_length=8), keyed("name")] = Field(
        default_factory=list, description="Network interfaces, at most 8, in the guest's order."
    )
    recovery: Recovery = Field(
        default=Recovery(), description="What happens to the server when its host is lost."
    )
    placement: Placement | None = Field(
        default=None, description="Where the server may run; anywhere if absent."
    )
    deletion: Deletion = Field(default=Deletion(), description="What deleting the object does.")
    shutdown_grace_period: Annotated[Duration, Extra(between_durations("0s", "1h"))] = Field(
        default="30s",
        description="How long the guest may take to shut down (ACPI) before it is stopped; at "
        "most 1h.",
    )


class VirtualServer(Resource):
    """One customer's virtual machine, kept running on one of the hosts."""

    model_config = ConfigDict(json_schema_extra=rules(named_like_a_host("VirtualServer")))
    kind: Literal["VirtualServer"] = "VirtualServer"
    spec: VirtualServerSpec = Field(description="What the owner wants. Respawn never writes it.")
    status: VirtualServerStatus = Field(
        default=VirtualServerStatus(),
        description="What Respawn observes. Only the operator writes it.",
    )
