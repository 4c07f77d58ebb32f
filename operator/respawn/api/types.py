"""Scalars of the API: each bounded, and refused with a message that says how it should look.

Spec fields use CEL rules rather than `pattern`, because a pattern's message shows only the
regular expression. The bounds keep the rules' estimated cost within the API server's budget.
"""

from typing import Annotated

from pydantic import Field

from respawn.api.base import DNS_LABEL, Extra, rule
from respawn.model.units import QUANTITY_PATTERN


def is_duration(value: str = "self") -> str:
    """CEL: `value` has the form of a duration (units.DURATION_PATTERN), and is none that CEL's
    `duration` (64 bits of nanoseconds) could not hold.
    """
    return f"{value}.matches('^([0-9]{{1,9}}(ms|s)|[0-9]{{1,6}}(m|h))+$')"


def is_size(value: str = "self") -> str:
    """CEL: `value` has the form of a size."""
    return f"{value}.matches('{QUANTITY_PATTERN}')"


def at_least(limit: str, *, what: str) -> dict[str, str]:
    """The rule that a size is no smaller than `limit`; silent about what is no size at all."""
    return rule(
        f"!{is_size()} || quantity(self).compareTo(quantity('{limit}')) >= 0",
        f"{what} must be at least {limit}",
    )


def between_durations(low: str, high: str) -> dict[str, str]:
    """The rule that a duration lies in [low, high]."""
    return rule(
        f"!{is_duration()} || (duration(self) >= duration('{low}') && "
        f"duration(self) <= duration('{high}'))",
        f"must be a duration between {low} and {high}",
    )


_LABEL = f"self.matches('{DNS_LABEL.pattern}')"

Name = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Extra(rule(_LABEL, "must be a name of a-z, 0-9 and -, beginning and ending with a-z or 0-9")),
]
"""A DNS label."""

DiskName = Annotated[
    str,
    Field(min_length=1, max_length=20),
    Extra(
        rule(_LABEL, "must be a disk name of at most 20 of a-z, 0-9 and -, such as root or data-1")
    ),
]
"""A DNS label of at most 20 characters: it becomes the disk's serial, and virtio cuts those."""

Quantity = Annotated[
    str,
    Field(min_length=1, max_length=20),
    Extra(
        rule(
            is_size(),
            "must be a size: a number and one of Ki Mi Gi Ti Pi Ei (powers of 1024) or k M G T P "
            "E (powers of 1000), such as 512Mi, 20Gi or 1Ti",
        )
    ),
]
"""Bytes, as a Kubernetes quantity; `respawn.model.units.parse_quantity` reads it."""

Duration = Annotated[
    str,
    Field(min_length=1, max_length=16),
    Extra(
        rule(
            is_duration(),
            "must be a duration: whole numbers each with ms, s, m or h, such as 500ms, 8s, "
            "5m or 1h30m (hours and minutes of at most six digits)",
        )
    ),
]
"""A span of time; `respawn.model.units.parse_duration` reads it."""

IPAddress = Annotated[
    str,
    Field(min_length=2, max_length=45),
    Extra(
        rule(
            "isIP(self)",
            "must be one IP address such as 192.0.2.11 or 2001:db8::11 (no CIDR, no host name)",
        )
    ),
]

HostAddress = Annotated[
    IPAddress,
    Extra(
        rule(
            "!isIP(self) || ip(self).isGlobalUnicast()",
            "must be an address of this host alone: not a loopback, link-local, multicast or "
            "unspecified one",
        )
    ),
]

MACAddress = Annotated[
    str,
    Field(min_length=17, max_length=17),
    Extra(
        rule(
            "self.matches('^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$') && "
            "!self.matches('^[0:]+$')",
            "must be a unicast MAC address such as 52:54:00:12:34:56",
        )
    ),
]

_LABEL_NAME = "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_LABEL_KEY = f"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_LABEL_NAME}$"

LabelKey = Annotated[
    str,
    Field(min_length=1, max_length=317),
    Extra(
        rule(
            f"self.matches('{_LABEL_KEY}')",
            "must be a label key of hosts, such as respawn.dev/host or rack",
        )
    ),
]

Labels = Annotated[
    dict[str, Annotated[str, Field(max_length=63)]],
    Field(max_length=16),
    Extra(
        rule(
            f"self.all(k, k.matches('{_LABEL_KEY}') && self[k].matches('^({_LABEL_NAME})?$'))",
            "no host can have such a label: a key is like rack or respawn.dev/host, and a value "
            "has letters, digits, and any of - _ . between them",
        )
    ),
]
"""Labels that a host must have, with their values."""

InterfaceName = Annotated[
    str,
    Field(min_length=1, max_length=15),
    Extra(
        rule(
            "self.matches('^[A-Za-z0-9][A-Za-z0-9_.-]*$')",
            "must be the name of a bridge on the hosts, such as br0 (at most 15 characters)",
        )
    ),
]

UUID = Annotated[
    str,
    Field(min_length=36, max_length=36),
    Extra(
        rule(
            "self.matches('^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$')",
            "must be a UUID such as 9c2f5a3e-6e0e-4f37-8f0e-0c4c9f1f8a5e",
        )
    ),
]

BootID = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Extra(
        rule(
            "self.matches('^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')",
            "must be a boot ID as status.fence.bootID tells it, such as "
            "6e052bc0-4ec9-41cc-9f54-1287d8ac83ad",
        )
    ),
]
"""As in /proc/sys/kernel/random/boot_id (random(4))."""

# What only programs write, in status: bounded, not judged.
Ref = Annotated[str, Field(max_length=63)]
"""The name of an object, or of a part of one."""
Identity = Annotated[str, Field(max_length=128)]
"""An opaque identity: machine ID, boot ID, UID, process."""
Text = Annotated[str, Field(max_length=1024)]
Address = Annotated[str, Field(max_length=128)]
"""An IP address, or a Ceph entity address such as `v1:198.51.100.11:0/3710147553`."""
Size = Annotated[str, Field(max_length=20)]
"""Bytes, as a Kubernetes quantity."""
Span = Annotated[str, Field(max_length=16)]
Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
"""RFC 3339, UTC."""
Count = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]
"""An epoch, a generation, a number of things."""
Reason = Annotated[str, Field(max_length=128)]
"""One word in CamelCase, which programs may compare."""
