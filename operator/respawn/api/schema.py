"""Pydantic's JSON schema, rewritten into the structural schema that a CRD takes.

Structural schemas have no references, no null, no `const`, and say each type once. What cannot be
rewritten raises, so that a model the API server would refuse is noticed here.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT = {
    "type",
    "format",
    "description",
    "default",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "items",
    "properties",
    "required",
    "additionalProperties",
}
_DROPPED = {"title"}


class NotStructural(TypeError):
    """A model says something that a structural schema cannot."""


def structural_schema(model: type[BaseModel]) -> Schema:
    """The structural schema of `model`, its fields by their Kubernetes names."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    return _rewrite(schema, definitions, path=model.__name__)


def _rewrite(schema: Mapping[str, Any], definitions: Mapping[str, Schema], path: str) -> Schema:
    source = _without_null(_resolved(schema, definitions), definitions, path)
    result: Schema = {}
    for key, value in source.items():
        if key in _DROPPED:
            continue
        if key == "const":
            result["enum"] = [value]
        elif key == "default":
            _keep_default(result, value)
        elif key == "properties":
            result[key] = {
                name: _rewrite(child, definitions, f"{path}.{name}")
                for name, child in value.items()
            }
        elif key == "items":
            result[key] = _item(_rewrite(value, definitions, f"{path}[]"), f"{path}[]")
        elif key == "additionalProperties":
            if value is not False and value is not True:
                result[key] = _rewrite(value, definitions, f"{path}{{}}")
        elif key in _KEPT or key.startswith("x-kubernetes-"):
            result[key] = value
        else:
            raise NotStructural(f"{path}: {key} has no place in a structural schema")
    if ".status." not in path:
        _tell_default(result)
    if "type" not in result:
        raise NotStructural(f"{path}: no single type")
    return result


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """`schema` with its reference replaced by what it names; what stands beside it wins."""
    result = dict(schema)
    while "$ref" in result:
        target = definitions[result.pop("$ref").removeprefix("#/$defs/")]
        result = _merged(target, result)
    return result


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Schema:
    rules = "x-kubernetes-validations"
    both = [*under.get(rules, ()), *over.get(rules, ())]
    return {**under, **over, **({rules: both} if both else {})}


def _without_null(schema: Schema, definitions: Mapping[str, Schema], path: str) -> Schema:
    """An optional field is one that may be absent, never null."""
    if "anyOf" not in schema:
        return schema
    options = [option for option in schema["anyOf"] if option.get("type") != "null"]
    if len(options) != 1:
        raise NotStructural(f"{path}: a choice of types")
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return _merged(_resolved(options[0], definitions), rest)


def _keep_default(result: Schema, value: Any) -> None:
    """Defaults of the CRD are those of the model; what is empty is simply absent."""
    pruned = _pruned(value)
    if pruned not in (None, {}, []):
        result["default"] = pruned


def _tell_default(result: Schema) -> None:
    """`kubectl explain` shows no defaults, so the description does."""
    default = result.get("default")
    if "description" in result and isinstance(default, str | int | bool):
        told = str(default).lower() if isinstance(default, bool) else default
        result["description"] += f" Default: {told}."


def _pruned(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    children = {key: _pruned(child) for key, child in value.items()}
    return {key: child for key, child in children.items() if child not in (None, {}, [])}


def _item(schema: Schema, path: str) -> Schema:
    """A list's item. A default inside it would show up as drift in GitOps tools: refused."""
    for name, child in schema.get("properties", {}).items():
        if "default" in child:
            raise NotStructural(f"{path}.{name}: no defaults inside list items")
        _item(child, f"{path}.{name}")
    return schema
