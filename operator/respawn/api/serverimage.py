"""ServerImage: a golden image, imported once into its pool and cloned copy-on-write."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from respawn.api.base import Extra, Model, Resource, Status, named_like_a_host, rule, rules
from respawn.api.conditions import Conditions
from respawn.api.storagepool import CephName
from respawn.api.types import Name, Size, Text, Time


class HTTPSource(Model):
    """A raw image at a URL."""

    url: Annotated[
        str,
        Field(max_length=2048),
        Extra(
            rule(
                "self.matches('^https?://.+')",
                "must be a URL such as https://images.example.com/debian-12.raw",
            ),
            rule(
                "!self.matches('^https?://[^/?#]*@')",
                "a user and password in the URL would be seen by everybody who may read the image: "
                "use a URL that needs none",
            ),
        ),
    ] = Field(
        description="Where the operator fetches it, such as https://images.example.com/a.raw."
    )


class FileSource(Model):
    """A raw image in a file."""

    path: Annotated[
        str,
        Field(max_length=1024),
        Extra(rule("self.startsWith('/')", "must be an absolute path, such as /images/a.raw")),
    ] = Field(description="Absolute path of a file that the operator can read.")


class RBDSource(Model):
    """An image that is in the same Ceph cluster already."""

    pool: CephName | None = Field(
        default=None, description="RBD pool it is in; the StoragePool's own if absent."
    )
    image: CephName = Field(description="Name of the RBD image.")
    snapshot: CephName | None = Field(
        default=None, description="Snapshot to take it from; its present content if absent."
    )


class ImageSource(Model):
    """Where the image comes from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.http), has(self.file), has(self.rbd)].filter(x, x).size() == 1",
                "say where the image comes from: set exactly one of http, file and rbd",
            )
        )
    )
    http: HTTPSource | None = Field(default=None, description="A raw image at a URL.")
    file: FileSource | None = Field(default=None, description="A raw image in a file.")
    rbd: RBDSource | None = Field(
        default=None, description="An image that is in the same Ceph cluster already."
    )


class ServerImageSpec(Model):
    """What is imported, and where to."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.checksum) || has(self.source.rbd)",
                "an image from http or file needs its checksum: set spec.checksum to sha256: and "
                "what sha256sum prints",
            )
        )
    )
    pool: Name = Field(description="Name of the StoragePool it is imported into.")
    source: ImageSource = Field(description="Where the image comes from.")
    checksum: (
        Annotated[
            str,
            Field(max_length=71),
            Extra(
                rule(
                    "self.matches('^sha256:[0-9a-f]{64}$')",
                    "must be sha256: and the 64 hexadecimal digits that sha256sum prints",
                )
            ),
        ]
        | None
    ) = Field(
        default=None, description="SHA-256 of the source, as sha256:HEX; checked at the import."
    )


class ServerImageStatus(Status):
    """What Respawn observes of the image."""

    phase: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="Summary for people: Pending, Importing, Ready, Failed. No program should read "
        "it; read the conditions.",
    )
    image: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="The image in the pool, as POOL/NAME@SNAPSHOT."
    )
    size: Size | None = Field(
        default=None, description="Size of the image: a disk cloned from it is at least as large."
    )
    imported_at: Time | None = Field(default=None, description="When the import was complete.")
    message: Text | None = Field(default=None, description="Why the import failed, for people.")
    conditions: Conditions = Field(default_factory=list, description="Ready, Reconciling, Stalled.")


class ServerImage(Resource):
    """A golden image."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            named_like_a_host("ServerImage"),
            rule(
                "!has(oldSelf.status) || !has(oldSelf.status.importedAt) || "
                "self.spec == oldSelf.spec",
                "an image is imported once, and servers are clones of it: make a ServerImage of "
                "another name",
            ),
        )
    )
    kind: Literal["ServerImage"] = "ServerImage"
    spec: ServerImageSpec = Field(
        description="What is imported, and where to. Respawn never writes it."
    )
    status: ServerImageStatus = Field(
        default=ServerImageStatus(), description="What Respawn observes of the image."
    )
