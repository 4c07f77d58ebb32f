"""Monitor commands."""

import json
from typing import Any

import rados

from respawn.adapters.ceph import errors


def command(cluster: rados.Rados, **fields: Any) -> str:
    """Send one, and return its answer. Blocks; raises the ports' errors."""
    code, out, said = cluster.mon_command(json.dumps({"format": "json", **fields}), b"")
    if code:
        raise errors.of(code, f"{fields['prefix']}: {said}" if said else fields["prefix"])
    return out.decode()


def answer(cluster: rados.Rados, prefix: str, **fields: Any) -> Any:
    """The same, for commands that answer in JSON."""
    return json.loads(command(cluster, prefix=prefix, **fields))
