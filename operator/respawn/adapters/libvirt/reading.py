"""What a domain's XML says of whose it is. Pure.

Used on libvirt's own output: what it shows of a domain, hands to its hook, and keeps in /run.
"""

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from respawn.adapters.libvirt.names import METADATA_URI, image_owner, incarnation_of
from respawn.model.conditions import Reason
from respawn.model.host import Ask

_SHUTTING_DOWN = re.compile(r"^[-0-9: .+]+: shutting down, reason=(\w+)$", re.MULTILINE)
_SIGNALLED = re.compile(
    r": terminating on signal \d+\b(?! from pid \d+ \((?:\S*/)?(?:libvirtd|virtqemud)[) ])"
)
"""By somebody else than libvirt, which so ends a QEMU whose guest has powered itself off."""
_SERVER = f"{{{METADATA_URI}}}server"


@dataclass(frozen=True, slots=True)
class Mark:
    """`<respawn:server/>`: which server's incarnation a domain says it is."""

    uid: str
    namespace: str
    name: str
    epoch: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Description:
    """The parts of a domain's XML that safety hangs on."""

    name: str
    uuid: str
    mark: Mark | None
    images: tuple[str, ...]
    """Every RBD image it names, as POOL/IMAGE: disks, backing files, mirrors."""


def read_mark(xml: str) -> Mark | None:
    """The mark in a metadata element, as `virDomainGetMetadata` gives it; None: not ours."""
    element = ElementTree.fromstring(xml)
    return _mark(element if _is_server(element) else _find(element))


def describe(xml: str) -> Description:
    """Read a whole domain, or libvirt's status file around one. Raises ValueError."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"no XML: {error}") from error
    domain = root if root.tag == "domain" else root.find("domain")
    if domain is None:
        raise ValueError("no domain in it")
    rbd = [e.get("name", "") for e in domain.iter() if e.get("protocol") == "rbd"]
    return Description(
        name=domain.findtext("name", ""),
        uuid=domain.findtext("uuid", "").lower(),
        mark=_mark(_find(domain)),
        images=tuple(dict.fromkeys(rbd)),
    )


def _is_server(element: ElementTree.Element) -> bool:
    return element.tag in (_SERVER, "server")


def _find(element: ElementTree.Element) -> ElementTree.Element | None:
    return next(element.iter(_SERVER), None)


def _mark(element: ElementTree.Element | None) -> Mark | None:
    if element is None:
        return None
    text = {key: element.get(key, "") for key in ("uid", "namespace", "name", "bootID", "epoch")}
    epoch = int(text["epoch"]) if text["epoch"].isdecimal() else 0
    return Mark(text["uid"], text["namespace"], text["name"], epoch, text["bootID"])


def logged_ending(log: str) -> Reason | None:
    """How an incarnation ended, from libvirt's log of its QEMU; None when that leaves it open.

    `crashed` is a panic or the death of QEMU; `shutdown` is also said of a QEMU that got a signal.
    """
    reasons = _SHUTTING_DOWN.findall(log)
    if not reasons:
        return None
    if reasons[-1] in ("destroyed", "saved"):
        return Reason.DESTROYED
    if reasons[-1] != "shutdown":
        return None
    return Reason.QEMU_DIED if _SIGNALLED.search(log) else Reason.GUEST_SHUTDOWN


def question(description: Description, operation: str) -> Ask | str:
    """The question about a domain that the hook takes for ours, or why it is refused unasked.

    safety: name, UUID, mark and images must tell the same story. A mark with another server's
    UUID would escape every look by UUID; one with another server's image would write it.
    """
    mark = description.mark
    if mark is None:
        return f"it uses {' '.join(description.images) or 'an image'} of Respawn without being ours"
    if incarnation_of(description.name) != (mark.uid, mark.epoch):
        return f"its name {description.name} is not that of epoch {mark.epoch} of {mark.uid}"
    if description.uuid != mark.uid:
        return f"its UUID {description.uuid} is not the server's, {mark.uid}"
    strange = [i for i in description.images if image_owner(i.partition("/")[2]) != mark.uid]
    if strange:
        return f"{' '.join(strange)} is no disk of server {mark.uid}"
    return Ask(
        uid=mark.uid,
        epoch=mark.epoch,
        boot_id=mark.boot_id,
        namespace=mark.namespace,
        name=mark.name,
        operation=operation,
    )
