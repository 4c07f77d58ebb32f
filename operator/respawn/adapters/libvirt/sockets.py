"""Which of the host's addresses are used towards Ceph: local ends of real sockets, and routes."""

import asyncio
import logging
import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

log = logging.getLogger(__name__)
MONITOR_PORTS = frozenset({3300, 6789})
DAEMON_PORTS = range(6800, 7569)
"""Ceph's own default range for OSDs and managers (ms_bind_port_min, ms_bind_port_max)."""
LISTEN = "0A"
RESOLVE, RESOLVE_AGAIN = 0.5, 60.0
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


def parts(monitor: str) -> tuple[str, int]:
    """Host (an address or a name) and port of a monitor; port 0 when it has none."""
    host, _, port = monitor.rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


class Monitors:
    """Monitors by address, also those that are given by name."""

    def __init__(self) -> None:
        self._resolved: dict[str, frozenset[str]] = {}
        self._due = 0.0

    async def by_address(self, monitors: Iterable[str]) -> frozenset[str]:
        """`IP:PORT` of all of them; of a name that cannot be resolved now, what it last was.

        Names are asked about once a minute, side by side, for RESOLVE seconds at the most: the
        hook's answer waits for this.
        """
        given = frozenset(monitors)
        names = {monitor for monitor in given if not _is_address(parts(monitor)[0])}
        loop = asyncio.get_running_loop()
        if names - self._resolved.keys() or loop.time() >= self._due:
            self._due = loop.time() + RESOLVE_AGAIN
            await asyncio.gather(*(self._resolve(name) for name in sorted(names)))
        found = (self._resolved.get(name, frozenset()) for name in names)
        return (given - names).union(*found)

    async def _resolve(self, monitor: str) -> None:
        host, port = parts(monitor)
        self._resolved.setdefault(monitor, frozenset())
        try:
            async with asyncio.timeout(RESOLVE):
                loop = asyncio.get_running_loop()
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, OverflowError, UnicodeError) as error:
            # TimeoutError is an OSError
            log.warning("monitor %s cannot be resolved: %s", monitor, error or "no answer in time")
            return
        self._resolved[monitor] = frozenset(_joined(where[4][0], port) for where in found)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _joined(host: str | int, port: int) -> str:
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def route_source(monitor: str) -> str | None:
    """The address that this host would use towards a monitor (`IP:PORT`).

    None: there is no route, or it is not such an address.
    """
    host, port = parts(monitor)
    try:
        target = ip_address(host)
    except ValueError:
        return None
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(target), port))  # sends nothing: it only asks for the route
        except (OSError, OverflowError):
            return None
        return str(ip_address(probe.getsockname()[0]))


def storage_addresses(monitors: Iterable[str], tables: Iterable[Path] = TABLES) -> frozenset[str]:
    """Every address that is used towards Ceph now, or would be for a new connection."""
    used = {a for t in tables if t.exists() for a in used_towards_ceph(t.read_text())}
    routes = {source for monitor in monitors if (source := route_source(monitor)) is not None}
    return frozenset(used | routes)
