"""How our domains, disks and cards are called on a host: read back from names alone. Pure."""

import re
from hashlib import sha256
from uuid import NAMESPACE_URL, uuid5

METADATA_URI = "https://respawn.dev/domain/v1"
"""Namespace of `<respawn:server/>` in a domain's metadata."""
UID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_DOMAIN = re.compile(rf"vs-(?P<uid>{UID})\.(?P<epoch>[1-9][0-9]*)")
_IMAGE = re.compile(rf"vs-(?P<uid>{UID})-")


def incarnation_of(domain: str) -> tuple[str, int] | None:
    """(UID, epoch) of a domain's name, None when it is not one of ours."""
    match = _DOMAIN.fullmatch(domain)
    return (match["uid"], int(match["epoch"])) if match else None


def image_owner(image: str) -> str | None:
    """UID of the server whose disk an RBD image is, by its name."""
    match = _IMAGE.match(image)
    return match["uid"] if match else None


def tap(uid: str, nic: str) -> str:
    """The host's end of a server's card, at most 15 characters; libvirt's own are `vnet…`."""
    return "vs" + sha256(f"{uid}/{nic}".encode()).hexdigest()[:12]


def secret_uuid(fsid: str, client: str) -> str:
    """UUID of libvirt's secret that holds the cephx key of `client` in cluster `fsid`."""
    return str(uuid5(NAMESPACE_URL, f"{METADATA_URI}/ceph/{fsid}/{client}"))
