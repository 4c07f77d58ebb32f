"""The objects in which a host's heart beats: two, on different primary OSDs. Pure.

There are WAYS candidates, `heart.HOST.0` and so on, whose placement groups have various primaries.
The first writer picks two by the OSD map of that moment; from then on *existing* is what makes a
candidate a place. So reader and writer agree whatever becomes of the OSD map, also while an OSD is
down and its groups have other primaries for a time.
"""

from collections.abc import Mapping, Sequence

NAMESPACE = "respawn"
WAYS = 8


def names(prefix: str) -> tuple[str, ...]:
    """All candidates, such as `heart.host-1.3` of the prefix `heart.host-1`."""
    return tuple(f"{prefix}.{way}" for way in range(WAYS))


def settled(found: Mapping[str, bool | None]) -> tuple[str, ...] | None:
    """The places, when candidates were looked for: there (True), absent, or unreadable (None).

    None: too few could be read to tell. Less than two places: the rest is still to be picked.
    """
    there = tuple(name for name, exists in found.items() if exists)
    unknown = any(exists is None for exists in found.values())
    return None if unknown and len(there) < 2 else there


def pick(there: Sequence[str], primaries: Mapping[str, int]) -> tuple[str, ...]:
    """Two places: those that are there, and as many new ones, if possible on other primaries.

    `primaries` has the acting primary OSD of each candidate (-1: none at the moment).
    """
    chosen = list(there[:2])
    while len(chosen) < 2:
        used = {primaries[name] for name in chosen}
        left = [name for name in primaries if name not in chosen]
        apart = [name for name in left if primaries[name] not in used | {-1}]
        chosen.append((apart or left)[0])
    return tuple(chosen)
