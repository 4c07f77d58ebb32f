"""Addresses of Ceph's daemons, from the cluster's maps. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

from respawn.model.placement import entity_ip


def addresses(maps: Iterable[Any]) -> frozenset[str]:
    """The IPs of all daemons in maps: every `addr` of every address vector."""
    found = (entity_ip(f"{address}/0") for part in maps for address in _addresses(part))
    return frozenset(ip for ip in found if ip not in ("", "0.0.0.0", "::", "-"))


#: clients in the maps (the blocklist, the mgr's own clients) are not infrastructure of itself
_NO_DAEMONS = ("blocklist", "range_blocklist", "active_clients")


def _addresses(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "addrvec" in part:
            yield from (entry["addr"] for entry in part["addrvec"])
        for key, value in part.items():
            if key not in _NO_DAEMONS and key != "addrvec":
                yield from _addresses(value)
    elif isinstance(part, list):
        for value in part:
            yield from _addresses(value)
