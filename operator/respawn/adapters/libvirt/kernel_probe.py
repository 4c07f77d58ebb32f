"""Does a kernel answer at an address? ICMP echo, and TCP: a reset is an answer as good as any."""

import asyncio
import os
import socket
import struct
from ipaddress import ip_address

PORTS = (16514, 22)
"""libvirt over TLS, and one that most hosts have open, or closed with a reset."""
PING_EVERY = 0.2
ECHO = {4: (8, 0), 6: (128, 129)}
"""ICMP types of request and reply, by IP version."""


async def answers(address: str) -> bool:
    """True at the first sign of life; False when nothing can come any more. Never raises.

    It may take for ever: the caller sets the deadline.
    """
    probes = [asyncio.create_task(_ping(address))]
    probes += [asyncio.create_task(_connects(address, port)) for port in PORTS]
    try:
        for first in asyncio.as_completed(probes):
            if await first:
                return True
    finally:
        for probe in probes:
            probe.cancel()
    return False


async def _connects(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except ConnectionRefusedError:
        return True
    except OSError:  # unreachable: our own kernel or a router says so
        return False
    writer.close()
    return True


async def _ping(address: str) -> bool:
    """An echo request every PING_EVERY seconds until one is answered."""
    try:
        pinger = _Pinger(address)
    except OSError:
        return False  # no right to send any: TCP must do
    with pinger.socket:
        while True:
            pinger.send()
            try:
                async with asyncio.timeout(PING_EVERY):
                    return await pinger.reply()
            except TimeoutError:
                continue


class _Pinger:
    """A socket that hears only `address`. Raises OSError without the right to have one."""

    def __init__(self, address: str) -> None:
        self._version = ip_address(address).version
        self._ident, self._number = os.getpid() & 0xFFFF, 0
        family = socket.AF_INET if self._version == 4 else socket.AF_INET6
        protocol = socket.IPPROTO_ICMP if self._version == 4 else socket.IPPROTO_ICMPV6
        try:
            self.socket = socket.socket(family, socket.SOCK_DGRAM, protocol)
            self._raw = False
        except PermissionError:
            self.socket = socket.socket(family, socket.SOCK_RAW, protocol)
            self._raw = True
        self.socket.setblocking(False)
        try:
            self.socket.connect((address, 0))
        except OSError:
            self.socket.close()
            raise

    def send(self) -> None:
        """One request; one that cannot be sent now counts as lost."""
        self._number += 1
        try:
            self.socket.send(echo_request(self._version, self._ident, self._number))
        except OSError:
            return

    async def reply(self) -> bool:
        """Return when a reply has come."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                packet = await loop.sock_recv(self.socket, 512)
            except OSError:  # an error of an earlier packet; the socket lives on
                await asyncio.sleep(PING_EVERY)
                continue
            if is_reply(self._version, packet, self._ident if self._raw else None):
                return True


def echo_request(version: int, ident: int, number: int) -> bytes:
    """An ICMP echo request; for IPv6 the kernel fills in the checksum."""
    header = struct.pack("!BBHHH", ECHO[version][0], 0, 0, ident, number)
    if version == 6:
        return header
    return header[:2] + struct.pack("!H", _checksum(header)) + header[4:]


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def is_reply(version: int, packet: bytes, ident: int | None) -> bool:
    """Whether it is an echo reply; `ident` of a raw socket, which hears everybody's."""
    if ident is not None and version == 4:
        packet = packet[(packet[0] & 0x0F) * 4 :] if packet else b""
    if len(packet) < 8 or packet[0] != ECHO[version][1]:
        return False
    return ident is None or struct.unpack("!H", packet[4:6])[0] == ident
