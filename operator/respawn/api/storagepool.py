"""StoragePool: where disks live."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from respawn.api.base import (
    Extra,
    Model,
    Resource,
    Status,
    keyed,
    named_like_a_host,
    rule,
    rules,
    unique,
)
from respawn.api.conditions import Conditions
from respawn.api.types import UUID, Name, Size

CephName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Extra(
        rule(
            "self.matches('^[A-Za-z0-9._-]+$')",
            "must be a name in Ceph, of letters, digits, '.', '_' and '-'",
        )
    ),
]

Monitor = Annotated[
    str,
    Field(min_length=3, max_length=64),
    Extra(
        rule(
            "self.matches('^([0-9.]+|[[][0-9a-fA-F:.]+[]]|[A-Za-z0-9.-]+):[0-9]{1,5}$')"
            " && int(self.substring(self.lastIndexOf(':') + 1)) >= 1"
            " && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535"
            " && (!self.matches('^[0-9.]+:') || isIP(self.substring(0, self.lastIndexOf(':'))))"
            " && (!self.startsWith('[') || isIP(self.substring(1, self.lastIndexOf(']'))))",
            "must be address:port of a Ceph monitor, such as 198.51.100.1:3300 or "
            "[2001:db8::1]:3300",
        )
    ),
]


class SecretReference(Model):
    """A Secret."""

    namespace: Name = Field(description="Namespace of the Secret.")
    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="Name of the Secret."
    )


class CephPool(Model):
    """A pool of a Ceph cluster."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.fsid == oldSelf.fsid && self.pool == oldSelf.pool",
                "fsid and pool are immutable: the disks are there. Make a StoragePool of another "
                "name",
            )
        )
    )
    fsid: UUID = Field(description="The cluster's fsid, as `ceph fsid` tells. Immutable.")
    monitors: Annotated[list[Monitor], Field(min_length=1, max_length=15), unique()] = Field(
        description="Addresses of its monitors, such as 198.51.100.1:3300."
    )
    pool: CephName = Field(description="The RBD pool. Immutable.")
    client_name: CephName = Field(
        description="Name of the operator's client, without `client.`, such as respawn."
    )
    credentials_secret: SecretReference = Field(
        description="The Secret whose `key` is that client's cephx key."
    )


class StoragePoolSpec(Model):
    """Where the disks live."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.ceph)", "say where the disks live: set spec.ceph"),
            rule("!has(oldSelf.ceph) || has(self.ceph)", "the kind of a pool is immutable"),
        )
    )
    ceph: CephPool | None = Field(
        default=None, description="A pool of a Ceph cluster, shared by all hosts."
    )


class PoolCapacity(Model):
    """How full the pool is."""

    total: Size = Field(description="What it can hold.")
    used: Size = Field(description="What is used.")


class RetainedImage(Model):
    """The image of a disk whose server was deleted with deletion.policy Retain."""

    image: Annotated[str, Field(max_length=256)] = Field(
        description="RBD image in that pool: vs-<uid>-<disk>."
    )
    server: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="Namespace and name of the server it belonged to."
    )


class StoragePoolStatus(Status):
    """What Respawn observes of the pool."""

    retained: Annotated[list[RetainedImage], Field(max_length=100), keyed("image")] = Field(
        default_factory=list,
        description="Images of disks that outlived their servers, the first 100 of them: yours to "
        "keep, copy or remove.",
    )
    capacity: PoolCapacity | None = Field(default=None, description="How full the pool is.")
    conditions: Conditions = Field(default_factory=list, description="Ready, Reconciling, Stalled.")


class StoragePool(Resource):
    """Where disks live."""

    model_config = ConfigDict(json_schema_extra=rules(named_like_a_host("StoragePool")))
    kind: Literal["StoragePool"] = "StoragePool"
    spec: StoragePoolSpec = Field(description="Where the disks live. Respawn never writes it.")
    status: StoragePoolStatus = Field(
        default=StoragePoolStatus(), description="What Respawn observes of the pool."
    )
