"""Ceph's blocklist as `osd blocklist ls -f json` prints it. Pure."""

from __future__ import annotations

import ipaddress
import json
import re

_ADDRESS = re.compile(r"(?P<ip>[0-9.]+):(?P<port>\d+)/(?P<nonce>\d+)")


def parse(text: str) -> list[str]:
    """The answer is two JSON arrays behind one another: single entries, then ranges."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        array, end = decoder.raw_decode(text)
        for entry in array:
            address = entry.get("addr") or entry["range"]
            found.append(address if "addr" in entry else f"cidr:{address.removeprefix('cidr:')}")
        text = text[end:].strip()
    return found


def address_blocked(entries: list[str], address: str) -> bool:
    """Whether a whole address is shut out, by `ip:0/0` or by a range."""
    if f"{address}:0/0" in entries:
        return True
    ranges = [e.removeprefix("cidr:") for e in entries if e.startswith("cidr:")]
    return any(_in_range(entry, address) for entry in ranges)


def _in_range(entry: str, address: str) -> bool:
    ip, _, bits = entry.partition("/")
    network = ipaddress.ip_network(f"{ip.rpartition(':')[0]}/{bits}", strict=False)
    return ipaddress.ip_address(address) in network


def blocked_nonces(entries: list[str], address: str) -> set[int]:
    matches = [m for m in map(_ADDRESS.match, entries) if m]
    return {int(m["nonce"]) for m in matches if m["ip"] == address and m["nonce"] != "0"}


def nonce_of(address: str) -> tuple[str, int] | None:
    """`198.51.100.11:0/123` -> (198.51.100.11, 123)."""
    match = _ADDRESS.match(address)
    return (match["ip"], int(match["nonce"])) if match else None
