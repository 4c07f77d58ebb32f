"""Which of the host's addresses are used towards Ceph: local ends of real sockets, and routes."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

log = logging.getLogger(__name__)
MONITOR_PORTS = frozenset({3300, 6789})
DAEMON_PORTS = range(6800, 7569)
"""Ceph's own default range for OSDs and managers (ms_bind_port_min, ms_bind_port_max)."""
LISTEN = "0A"
RESOLVE, RESOLVE_AGAIN = 0.5, 60.0
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


@dataclass(frozen=True, slots=True)
class Link:
    """A TCP connection of this host whose other end has a port of Ceph's."""

    local: str
    remote: str
    inode: int
    """0 when no process has it any more."""


def links(table: str) -> Iterator[Link]:
    """Those in a /proc/net/tcp. Closing ones too: a late write may still leave through them."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] == LISTEN:
            continue
        port = int(fields[2].rpartition(":")[2], 16)
        local = _address(fields[1].partition(":")[0])
        if (port in MONITOR_PORTS or port in DAEMON_PORTS) and not local.is_loopback:
            remote = _address(fields[2].partition(":")[0])
            yield Link(str(local), str(remote), int(fields[9]))


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


class TowardsCeph:
    """Which addresses of this host are used towards Ceph, or would be for a new connection.

    The port alone does not tell: any service may use one of Ceph's, also by an address that other
    hosts have too (a container bridge, a floating one), which nobody may fence. So the other end
    must be a monitor, or have been seen as the other end of a Ceph client of ours. `owned` tells
    the inodes of their sockets; it is asked only when there is an unknown other end.
    """

    def __init__(
        self, owned: Callable[[], frozenset[int]], tables: Iterable[Path] = TABLES
    ) -> None:
        self._owned, self._tables = owned, tuple(tables)
        self._peers: set[str] = set()
        """Only ever added to, each time in one step: looks of several threads share it."""

    def addresses(self, monitors: Iterable[str]) -> frozenset[str]:
        """All of them; `monitors` as `IP:PORT`."""
        given = tuple(monitors)
        self._peers.update([parts(monitor)[0] for monitor in given])
        found = [link for t in self._tables if t.exists() for link in links(t.read_text())]
        strange = [link for link in found if link.remote not in self._peers and link.inode]
        if strange:
            ours = self._owned()
            # safety: once a peer, always one: what a QEMU leaves behind in the kernel belongs to
            # no process, and is still to be covered by a fence.
            self._peers.update([link.remote for link in strange if link.inode in ours])
        routes = (route_source(monitor) for monitor in given)
        used = {link.local for link in found if link.remote in self._peers}
        return frozenset(used.union(route for route in routes if route is not None))
