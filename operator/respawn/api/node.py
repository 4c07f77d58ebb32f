"""Node: one hypervisor host. Here is what its owner says; `node_status` has what is observed."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from respawn.api.base import Extra, Model, Resource, named_like_a_host, rule, rules, unique
from respawn.api.node_status import NodeStatus
from respawn.api.types import BootID, HostAddress, Quantity


class Libvirt(Model):
    """How the operator looks at the host's libvirt."""

    uri: Annotated[
        str,
        Field(max_length=512),
        Extra(
            rule(
                "self.startsWith('qemu+tls://')",
                "must be a libvirt URI over TLS, such as qemu+tls://192.0.2.11/system",
            )
        ),
    ] = Field(
        description="libvirt URI over TLS, such as qemu+tls://192.0.2.11/system. The operator only "
        "looks there, as a witness for a silent host; orders go through the host's agent."
    )


HostAddresses = Annotated[list[HostAddress], Field(max_length=8), unique()]


class Addresses(Model):
    """The host's addresses by network: single addresses, every one the host could ever use."""

    management: Annotated[HostAddresses, Field(min_length=1)] = Field(
        description="On the network of the API server."
    )
    storage: Annotated[HostAddresses, Field(min_length=1)] = Field(
        description="On the network of Ceph. All it could ever use there: these are fenced."
    )
    migration: HostAddresses = Field(
        default_factory=list, description="On the network for live migration, where it has one."
    )


class Scheduling(Model):
    """Whether servers are placed here, and with how much memory."""

    mode: Literal["Enabled", "Cordoned"] = Field(
        default="Enabled",
        description="Enabled: servers may be placed here. Cordoned: no new ones; those here stay.",
    )
    reserved_memory: Quantity | None = Field(
        default=None,
        description="Memory kept for the host itself, such as 4Gi; never given to servers. What "
        "its agent is configured to keep if absent.",
    )


class Maintenance(Model):
    """Emptying the host."""

    mode: Literal["None", "Drain"] = Field(
        default="None",
        description="None: nothing. Drain: no new servers are placed here. That those here leave "
        "it live is not carried out yet: condition Schedulable says so.",
    )


class Fencing(Model):
    """What a person knows of the host that nothing can tell Respawn."""

    ended_boots: Annotated[list[BootID], Field(max_length=16), unique()] = Field(
        default_factory=list,
        description="Boot IDs (status.fence.bootID, or a server's placement) of which a person "
        "confirms that they have ended: the machine was switched off, or is destroyed. Counts as "
        "proof for their servers and lifts their fence, once the boot gives no sign of life (Lease "
        "or heart) for fenceAfter. What has followed from it cannot be taken back: never name a "
        "boot that may still run.",
    )


class NodeSpec(Model):
    """What the host's owner says."""

    libvirt: Libvirt = Field(description="How the operator looks at the host's libvirt.")
    addresses: Addresses = Field(description="The host's addresses by network.")
    scheduling: Scheduling = Field(
        default=Scheduling(),
        description="Whether servers are placed here, and what is kept from them.",
    )
    maintenance: Maintenance = Field(default=Maintenance(), description="Emptying the host.")
    fencing: Fencing | None = Field(
        default=None, description="What a person knows that nothing can tell Respawn."
    )


class Node(Resource):
    """One hypervisor host."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            named_like_a_host("Node"),
            # The hosts' Leases bear their names, beside those of the operator.
            rule(
                "!self.metadata.name.startsWith('operator-')",
                "names that begin with operator- are reserved: give the Node another name",
            ),
        )
    )
    kind: Literal["Node"] = "Node"
    spec: NodeSpec = Field(description="What the host's owner says. Respawn never writes it.")
    status: NodeStatus = Field(
        default=NodeStatus(),
        description="What is observed: `host` is written by the host's agent, the rest by the "
        "operator.",
    )
