"""The CRDs: current, structural, bounded, and described to the last field."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from respawn.api.base import Model, keyed
from respawn.api.crdgen import crd, files, outdated
from respawn.api.kinds import KINDS, Kind
from respawn.api.schema import NotStructural, Schema, structural_schema

CRDS = Path(__file__).parents[3] / "crds"
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def version_of(kind: Kind) -> dict[str, Any]:
    version: dict[str, Any] = crd(kind)["spec"]["versions"][0]
    return version


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every field of `schema` with its path, items and map values included."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if word in schema:
            yield f"{path}{mark}", schema[word]
            yield from fields(schema[word], f"{path}{mark}")


def all_fields(kind: Kind) -> dict[str, Schema]:
    return dict(fields(version_of(kind)["schema"]["openAPIV3Schema"]))


def test_the_committed_crds_are_as_generated() -> None:
    assert outdated(CRDS) == [], "run hack/generate-crds"


def test_drift_is_noticed(tmp_path: Path) -> None:
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    assert outdated(tmp_path) == []
    changed = next(iter(files()))
    (tmp_path / changed).write_text("changed")
    (tmp_path / "foreign.yaml").write_text("{}")
    assert outdated(tmp_path) == sorted([changed, "foreign.yaml"])


@every_kind
def test_every_field_is_described(kind: Kind) -> None:
    silent = [
        path
        for path, schema in all_fields(kind).items()
        if not schema.get("description") and not path.endswith(("[]", "{}", ".metadata"))
    ]
    assert silent == []


@every_kind
def test_every_string_list_and_map_is_bounded(kind: Kind) -> None:
    bounds = {"string": ("maxLength", "enum"), "array": ("maxItems",)}
    unbounded = [
        path
        for path, schema in all_fields(kind).items()
        if path not in (".apiVersion", ".kind")
        and not any(word in schema for word in bounds.get(schema["type"], ("type",)))
    ]
    assert unbounded == []
    maps = {p: s for p, s in all_fields(kind).items() if "additionalProperties" in s}
    assert all("maxProperties" in schema for schema in maps.values())


@every_kind
def test_every_list_says_how_it_merges_and_its_items_have_no_defaults(kind: Kind) -> None:
    found = all_fields(kind)
    for path, schema in found.items():
        if schema["type"] == "array":
            assert "x-kubernetes-list-type" in schema, path
        if schema.get("x-kubernetes-list-type") == "map":
            assert set(schema["x-kubernetes-list-map-keys"]) <= set(schema["items"]["required"])
    in_items = [path for path, schema in found.items() if "[]" in path and "default" in schema]
    assert in_items == []


@every_kind
def test_an_object_nobody_has_observed_says_so(kind: Kind) -> None:
    status = version_of(kind)["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}


@every_kind
def test_pruning_by_a_gitops_tool_spares_the_crd(kind: Kind) -> None:
    annotations = crd(kind)["metadata"]["annotations"]
    assert annotations["kustomize.toolkit.fluxcd.io/prune"] == "disabled"


@every_kind
def test_every_rule_has_a_message_that_ends_as_a_sentence_part(kind: Kind) -> None:
    root = version_of(kind)["schema"]["openAPIV3Schema"]
    schemas = [root, *all_fields(kind).values()]
    found = [rule for s in schemas for rule in s.get("x-kubernetes-validations", [])]
    assert found
    for rule in found:
        assert len(rule["message"]) > 10, rule
        assert "\n" not in rule["message"], rule
        assert not rule["message"].endswith("."), rule


def test_the_default_timings_are_in_the_crd_as_a_whole() -> None:
    policy = next(kind for kind in KINDS if kind.name == "RespawnPolicy")
    timings = all_fields(policy)[".spec.timings"]
    assert timings["default"] == {
        name: schema["default"] for name, schema in timings["properties"].items()
    }
    assert len(timings["default"]) == 6


def test_the_description_tells_the_default_for_explain_shows_none() -> None:
    server = next(kind for kind in KINDS if kind.name == "VirtualServer")
    fields = all_fields(server)
    assert fields[".spec.runPolicy"]["description"].endswith(" Default: Always.")
    assert fields[".spec.deletion.protected"]["description"].endswith(" Default: false.")
    assert "Default" not in fields[".status.observedGeneration"]["description"]


class Choice(Model):
    value: int | str = Field(description="Either.")


class Item(Model):
    name: str = Field(description="Key.")
    size: str = Field(default="1Gi", description="A default that GitOps tools see as drift.")


class Listed(Model):
    items: Annotated[list[Item], keyed("name")] = Field(description="Items.")


@pytest.mark.parametrize(
    ("model", "complaint"),
    [(Choice, "a choice of types"), (Listed, "no defaults inside list items")],
)
def test_what_a_crd_cannot_say_is_refused(model: type[Model], complaint: str) -> None:
    with pytest.raises(NotStructural, match=complaint):
        structural_schema(model)
