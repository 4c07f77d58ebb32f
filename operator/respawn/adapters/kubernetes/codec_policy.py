"""RespawnPolicy."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from respawn.adapters.kubernetes import codec_conditions
from respawn.adapters.kubernetes.codec_base import Fields
from respawn.adapters.kubernetes.patch import difference
from respawn.model.policy import Policy, Timings
from respawn.model.units import format_duration

_KEYS = {
    "lease_renew": "leaseRenew",
    "heartbeat": "heartbeat",
    "pause_after": "pauseAfter",
    "fence_after": "fenceAfter",
    "unresponsive_after": "unresponsiveAfter",
    "storage_lost_after": "storageLostAfter",
}


def decode(body: Mapping[str, Any], now: datetime) -> Policy:
    """The policy in an object of the API server, as it stands at `now`. Raises Malformed."""
    whole = Fields(body)
    metadata, spec, status = (whole.part(key) for key in ("metadata", "spec", "status"))
    brake, default = spec.part("brake"), Policy()
    until = brake.time("releasedUntil")
    return Policy(
        timings=read_timings(spec.part("timings")),
        generation=metadata.number("generation", 1),
        earlier={part.number("generation"): read_timings(part) for part in status.parts("earlier")},
        brake_window=brake.duration("window", default.brake_window),
        brake_released=until is not None and now < until,
        resource_version=metadata.text("resourceVersion"),
        released_until=until,
        worst_case=status.duration("worstCaseRecovery", 0.0),
        conditions=codec_conditions.decode(status),
        observed_generation=status.number("observedGeneration", -1),
        uid=metadata.needed("uid"),
    )


def read_timings(part: Fields) -> Timings:
    """Timings, as their fields are named everywhere. Raises Malformed."""
    default = Timings()
    return Timings(
        **{name: part.duration(key, getattr(default, name)) for name, key in _KEYS.items()}
    )


def patch(read: Policy, policy: Policy) -> dict[str, Any]:
    """The merge patch of the status that makes `policy` of what was read."""
    return {
        **difference(encode(read), encode(policy)),
        "observedGeneration": policy.observed_generation,
    }


def encode(policy: Policy) -> dict[str, Any]:
    """All named fields of its status, None where there is nothing."""
    return {
        "worstCaseRecovery": format_duration(policy.worst_case) if policy.worst_case else None,
        "earlier": [
            {"generation": generation, **written_timings(policy.earlier[generation])}
            for generation in sorted(policy.earlier)
        ]
        or None,
        "conditions": codec_conditions.encode(policy.conditions),
    }


def written_timings(timings: Timings) -> dict[str, str]:
    """All of them, as they are named everywhere."""
    assert {field.name for field in fields(timings)} == set(_KEYS)
    return {key: format_duration(getattr(timings, name)) for name, key in _KEYS.items()}
