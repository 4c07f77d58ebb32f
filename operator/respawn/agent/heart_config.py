"""The part of a host's configuration (/etc/respawn/agent.yaml) that its heart needs.

    node: host-1
    machineID: 4c4c4544-…        # optional, where the firmware's is not this host's own
    ceph:
      client: host-1             # optional: the node's name
      pool: vms
      conf: /etc/ceph/ceph.conf  # optional
      keyring: /etc/ceph/…       # optional: where Ceph looks for it

The agent reads the same file; what it has besides is left aside.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from respawn.adapters.ceph.access import Access

PATH = Path("/etc/respawn/agent.yaml")
CONF = "/etc/ceph/ceph.conf"


@dataclass(frozen=True, slots=True)
class HeartConfig:
    """Who beats, and where."""

    node: str
    pool: str
    access: Access
    machine_id: str = ""


def read(path: Path = PATH) -> HeartConfig:
    """Raises OSError, and ValueError that says what is missing."""
    return parse(yaml.safe_load(path.read_text()))


def parse(content: Any) -> HeartConfig:
    """From the file's content."""
    node = _text(content, "node")
    ceph = content.get("ceph")
    return HeartConfig(
        node=node,
        pool=_text(ceph, "pool", "ceph."),
        access=Access(
            client=str(ceph.get("client") or node),
            conffile=str(ceph.get("conf") or CONF),
            keyring=str(ceph.get("keyring") or ""),
        ),
        machine_id=str(content.get("machineID") or ""),
    )


def _text(content: Any, key: str, within: str = "") -> str:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, str) or not value:
        raise ValueError(f"{within}{key} is missing: say which")
    return value
