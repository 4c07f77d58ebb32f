"""What every kind shares: how its Python names become Kubernetes ones, and how rules are attached.

The models say what an object looks like. The CRDs are generated from them (`crdgen`), and the API
server enforces those; Python reads tolerantly, since a newer version may have added fields.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

GROUP = "respawn.dev"
VERSION = "v1alpha1"
POLICY_NAME = "default"
"""The name of the one RespawnPolicy."""


def kubernetes_name(name: str) -> str:
    """`machine_id` as Kubernetes writes it: `machineID`."""
    head, *tail = name.split("_")
    return head + "".join("ID" if word == "id" else word.capitalize() for word in tail)


def rule(expression: str, message: str, **more: str) -> dict[str, str]:
    """One CEL rule: the object is refused with `message` unless `expression` holds.

    `more` takes `messageExpression`, `fieldPath` and `reason` of x-kubernetes-validations.
    """
    return {"rule": expression, "message": message, **more}


def rules(*entries: Mapping[str, str]) -> dict[str, Any]:
    """`json_schema_extra` of a model with these CEL rules."""
    return {"x-kubernetes-validations": list(entries)}


class Extra:
    """Annotation that adds keywords to a field's schema; CEL rules add up, the rest replaces."""

    def __init__(self, *validations: Mapping[str, str], **keywords: Any) -> None:
        self.validations = list(validations)
        self.keywords = {key.replace("_", "-"): value for key, value in keywords.items()}

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        schema.update(self.keywords)
        if self.validations:
            schema.setdefault("x-kubernetes-validations", []).extend(self.validations)
        return schema


def keyed(*keys: str) -> Extra:
    """A list whose items are told apart by `keys`: no two of one key, and merges go by key."""
    return Extra(x_kubernetes_list_type="map", x_kubernetes_list_map_keys=list(keys))


def unique() -> Extra:
    """A list of scalars without repetition."""
    return Extra(x_kubernetes_list_type="set")


def whole() -> Extra:
    """A list that is replaced as a whole."""
    return Extra(x_kubernetes_list_type="atomic")


class Model(BaseModel):
    """A part of an object."""

    model_config = ConfigDict(
        alias_generator=kubernetes_name, populate_by_name=True, frozen=True, extra="ignore"
    )


class Metadata(Model):
    """What Respawn reads of an object's metadata."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class Resource(Model):
    """An object of one of our kinds; subclasses add `spec` and `status`."""

    api_version: Literal["respawn.dev/v1alpha1"] = "respawn.dev/v1alpha1"
    kind: str
    metadata: Metadata = Metadata()


class Status(Model):
    """What is observed; Kubernetes tools take the object as unfinished until it was."""

    observed_generation: Annotated[int, Field(ge=-1, json_schema_extra={"format": "int64"})] = (
        Field(default=-1, description="The metadata.generation this status speaks of.")
    )


DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


def named_like_a_host(kind: str) -> dict[str, str]:
    """The rule that keeps an object's name to a DNS label."""
    return rule(
        f"size(self.metadata.name) <= 63 && self.metadata.name.matches('{DNS_LABEL.pattern}')",
        f"the name of a {kind} must be a DNS label: at most 63 of a-z, 0-9 and -, "
        "beginning and ending with a letter or digit (no dots)",
    )
