"""Which of the host's addresses are used towards Ceph: local ends of real sockets, and routes."""

import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

MONITOR_PORTS = frozenset({3300, 6789})
DAEMON_PORTS = range(6800, 7569)
"""Ceph's own default range for OSDs and managers (ms_bind_port_min, ms_bind_port_max)."""
LISTEN = "0A"
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def used_towards_ceph(table: str) -> Iterator[str]:
    """Local addresses in a /proc/net/tcp whose other end is a port of Ceph's.

    Closing sockets count: a late write may still leave through them. A foreign service on such a
    port adds an address of this host that is not used for Ceph, which harms nobody.
    """
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] == LISTEN:
            continue
        remote = int(fields[2].rpartition(":")[2], 16)
        if remote in MONITOR_PORTS or remote in DAEMON_PORTS:
            address = _address(fields[1].partition(":")[0])
            if not address.is_loopback:
                yield str(address)


def _address(digits: str) -> IPv4Address | IPv6Address:
    """The kernel prints an address as 32-bit words, each in the order of this machine's bytes."""
    words = [int(digits[at : at + 8], 16).to_bytes(4, "little") for at in range(0, len(digits), 8)]
    address = ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def route_source(monitor: str) -> str | None:
    """The address that this host would use towards a monitor (`IP:PORT`); None: no route."""
    host, _, port = monitor.rpartition(":")
    target = ip_address(host.strip("[]"))
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(target), int(port)))  # sends nothing: it only asks for the route
        except OSError:
            return None
        return str(ip_address(probe.getsockname()[0]))


def storage_addresses(monitors: Iterable[str], tables: Iterable[Path] = TABLES) -> frozenset[str]:
    """Every address that is used towards Ceph now, or would be for a new connection."""
    used = {a for t in tables if t.exists() for a in used_towards_ceph(t.read_text())}
    routes = {source for monitor in monitors if (source := route_source(monitor)) is not None}
    return frozenset(used | routes)
