"""The host's cephx key, lent to libvirt for QEMU: kept in memory, private, under a fixed UUID."""

import base64
import re
from pathlib import Path

import libvirt

from respawn.adapters.libvirt.domain_xml import secret_xml
from respawn.model.conditions import Reason
from respawn.model.storage import Pool
from respawn.ports.errors import Refused

_KEY = re.compile(r"^\s*key\s*=\s*(\S+)\s*$", re.MULTILINE)


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
