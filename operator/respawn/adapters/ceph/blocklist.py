"""Blocklist entries as monitor commands, and as the listing shows them. Pure."""

import ipaddress
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from respawn.model.node import Form
from respawn.model.placement import entity_ip
from respawn.model.storage import Entry

EXPIRE = 31536000.0
"""Seconds (a year): a fence must outlive every QEMU that it fences, and Ceph forgets an entry after
an hour unless told otherwise. Adding an entry again does not prolong it. A float: Ceph refuses an
integer."""

BRIEF = timedelta(days=30)
"""What ends within this time was not made by Respawn, or long ago."""


def command(entry: Entry, operation: str) -> dict[str, Any]:
    """The monitor command that does `operation` (add or rm) with exactly that entry."""
    fields: dict[str, Any] = {"prefix": "osd blocklist", "blocklistop": operation}
    if entry.form is Form.RANGE:
        fields |= {"range": "range", "addr": _range(entry.address)}
    else:
        fields["addr"] = entry.address if entry.form is None else f"{_bracketed(entry.address)}:0/0"
    return fields | {"expire": EXPIRE} if operation == "add" else fields


def _range(address: str) -> str:
    ip = ipaddress.ip_address(address)
    return f"{ip}/{ip.max_prefixlen}"


def _bracketed(address: str) -> str:
    ip = ipaddress.ip_address(address)
    return f"[{ip}]" if ip.version == 6 else str(ip)


def parse(listing: str, now: datetime) -> frozenset[Entry]:
    """The entries of `osd blocklist ls` in JSON: two arrays behind one another.

    IPs come out in their canonical form. A range of more than one address (which Respawn never
    makes) is an Entry with the whole CIDR as its address. Raises ValueError for an end that is no
    moment.
    """
    return frozenset(_entry(found, now) for array in _arrays(listing) for found in array)


def _entry(found: dict[str, str], now: datetime) -> Entry:
    entry = _single(found["addr"]) if "addr" in found else _cidr(found["range"])
    until = datetime.fromisoformat(found["until"])
    if until.tzinfo is None:  # as Ceph prints it in UTC
        until = until.replace(tzinfo=UTC)
    return replace(entry, brief=until - now < BRIEF)


def _arrays(text: str) -> Iterator[list[dict[str, str]]]:
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        array, end = decoder.raw_decode(text)
        yield array
        text = text[end:].lstrip()


def _single(address: str) -> Entry:
    """`IP:0/0` is a whole address, anything else one client."""
    if address.endswith(":0/0"):
        return Entry(_canonical(entity_ip(address)), Form.IP)
    return Entry(address)


def _cidr(text: str) -> Entry:
    """`IP:0/BITS`, with or without `cidr:` before it."""
    head, _, bits = text.removeprefix("cidr:").rpartition("/")
    ip = ipaddress.ip_address(entity_ip(f"{head}/0"))
    if int(bits) == ip.max_prefixlen:
        return Entry(str(ip), Form.RANGE)
    return Entry(f"{ip}/{bits}", Form.RANGE)


def _canonical(ip: str) -> str:
    return str(ipaddress.ip_address(ip))
