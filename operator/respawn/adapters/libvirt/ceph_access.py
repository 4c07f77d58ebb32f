"""How the host's QEMUs reach Ceph: by the host's own key, and with a limit to their patience.

The key is lent to libvirt in memory, private, under a fixed UUID.
"""

import base64
import os
import re
from pathlib import Path

import libvirt

from respawn.adapters.libvirt.domain_xml import secret_xml
from respawn.model.conditions import Reason
from respawn.model.storage import Pool
from respawn.ports.errors import Refused

_KEY = re.compile(r"^\s*key\s*=\s*(\S+)\s*$", re.MULTILINE)

BASE = Path("/etc/ceph/ceph.conf")
OP_TIMEOUT = 30.0
"""Seconds; generous, since it strikes every guest when Ceph itself stalls."""


def read_key(keyring: Path) -> bytes:
    """The raw key in a keyring file. Raises Refused when there is none."""
    try:
        match = _KEY.search(keyring.read_text())
        if match is None:
            raise ValueError("it has no key")
        return base64.b64decode(match[1], validate=True)
    except (OSError, ValueError) as error:
        raise Refused(Reason.START_FAILED, f"no Ceph key in {keyring}: {error}") from error


def ensure_secret(connection: "libvirt.virConnect", pool: Pool, client: str, keyring: Path) -> None:
    """Define it and set its value: both are lost with libvirtd, and cost two short calls."""
    key = read_key(keyring)
    connection.secretDefineXML(secret_xml(pool, client)).setValue(key)


def write_conf(path: Path, *, base: Path = BASE, op_timeout: float = OP_TIMEOUT) -> None:
    """The host's ceph.conf for QEMU: an operation that takes longer than `op_timeout` s fails.

    With the error policy `stop` a guest that is cut off from its storage then pauses by itself,
    even when no agent lives to pause it. A second net: no proof of anything.
    """
    common = base.read_text() if base.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{common.rstrip()}\n\n[client]\nrados osd op timeout = {op_timeout:g}\n")
    os.replace(fresh, path)
