"""Merge patches from named fields: only what differs is sent, and what is gone is sent as null.

`before` and `after` hold the fields that this version knows, so a field of a newer version is in
neither and survives. Lists are replaced as a whole: that is how a merge patch works.
"""

from collections.abc import Mapping
from typing import Any


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes `after` of `before`; empty if nothing differs.

    None and absence are the same thing.
    """
    patch: dict[str, Any] = {}
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if nested := difference(old, new):
                patch[key] = nested
        elif old != new:
            patch[key] = new
    return patch
