"""Conditions, between metav1.Condition and the model."""

from collections.abc import Iterable
from datetime import UTC
from typing import Any

from respawn.adapters.kubernetes.codec_base import Fields
from respawn.model.conditions import Condition, Status

_LONGEST = 32768


def decode(status: Fields) -> tuple[Condition, ...]:
    """The conditions of a status."""
    return tuple(_condition(part) for part in status.parts("conditions"))


def _condition(part: Fields) -> Condition:
    known: dict[str, Status] = {"True": "True", "False": "False"}
    return Condition(
        type=part.needed("type"),
        status=known.get(part.text("status"), "Unknown"),
        reason=part.text("reason"),
        message=part.text("message"),
        observed_generation=part.number("observedGeneration"),
        last_transition=part.time("lastTransitionTime"),
    )


def encode(conditions: Iterable[Condition]) -> list[dict[str, Any]] | None:
    """As they are written: whole seconds, as everybody writes them."""
    return [_written(condition) for condition in conditions] or None


def _written(condition: Condition) -> dict[str, Any]:
    moment = condition.last_transition
    if moment is None:
        raise ValueError(f"when did condition {condition.type} change?")
    return {
        "type": condition.type,
        "status": condition.status,
        "observedGeneration": condition.observed_generation,
        "lastTransitionTime": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": condition.reason,
        "message": condition.message[:_LONGEST],
    }
