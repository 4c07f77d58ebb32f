"""Guests' IPv4 addresses, learned from the ARP packets that they send into their taps."""

import asyncio
import ctypes
import logging
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address

log = logging.getLogger(__name__)
ETH_P_ALL = 0x0003
SO_ATTACH_FILTER = 26
# Classic BPF: load the Ethernet type; take 128 bytes of an ARP frame, nothing of any other.
ARP_ONLY = b"".join(
    struct.pack("HBBI", *step)
    for step in ((0x28, 0, 0, 12), (0x15, 0, 1, 0x0806), (0x06, 0, 0, 128), (0x06, 0, 0, 0))
)
ETHERNET_HEADER = 14
ARP_IPV4 = bytes.fromhex("000108000604")
"""Over Ethernet, for IPv4, with the lengths of both addresses."""
PACKETS_AT_ONCE = 64
ADDRESSES_AT_MOST = 8


def sender(frame: bytes) -> str | None:
    """The IPv4 address that an ARP frame's sender claims, None when it claims none (a probe)."""
    arp = frame[ETHERNET_HEADER:]
    if len(arp) < 28 or arp[:6] != ARP_IPV4:
        return None
    address = IPv4Address(arp[14:18])
    usable = not (address.is_unspecified or address.is_multicast or address.is_loopback)
    return str(address) if usable else None


def _arp_socket(interface: str) -> socket.socket:
    """What passes a tap, before its bridge takes it. Raises OSError.

    The filter comes before the interface, so no other packet is ever queued.
    """
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        program = ctypes.create_string_buffer(ARP_ONLY)
        steps = len(ARP_ONLY) // 8
        tap.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", steps, ctypes.addressof(program))
        )
        tap.bind((interface, ETH_P_ALL))
    except OSError:
        tap.close()
        raise
    return tap


class ArpListener:
    """Listens on single taps: what comes out of one is its own guest's claim and no other's.

    `on_news(interface)` tells of an address not heard there before.
    """

    def __init__(self, on_news: Callable[[str], None]) -> None:
        self._on_news = on_news
        self._heard: dict[str, dict[str, None]] = {}
        self._sockets: dict[str, socket.socket] = {}

    def listen(self, interface: str) -> None:
        """Listen to that tap from now on, in the running event loop; done already is done."""
        if interface in self._sockets:
            return
        try:
            tap = _arp_socket(interface)
        except OSError as error:  # no such tap any more, or no right to listen (CAP_NET_RAW)
            log.info("no addresses are learned from %s: %s", interface, error)
            return
        self._sockets[interface] = tap
        asyncio.get_running_loop().add_reader(tap, self._read, interface, tap)

    def forget(self, interface: str) -> None:
        """Its guest has ended."""
        self._heard.pop(interface, None)
        tap = self._sockets.pop(interface, None)
        if tap is not None:
            asyncio.get_running_loop().remove_reader(tap)
            tap.close()

    def close(self) -> None:
        """Stop listening."""
        for interface in list(self._sockets):
            self.forget(interface)

    def heard(self, interface: str) -> tuple[str, ...]:
        """Addresses that were claimed through that interface, oldest first."""
        return tuple(self._heard.get(interface, ()))

    def _read(self, interface: str, tap: socket.socket) -> None:
        for _ in range(PACKETS_AT_ONCE):
            try:
                frame, (_name, _type, direction, *_rest) = tap.recvfrom(128)
            except BlockingIOError:
                return
            except OSError:  # the tap is gone
                self.forget(interface)
                return
            if direction != socket.PACKET_OUTGOING:  # that would be what the guest is sent
                self.hear(interface, frame)

    def hear(self, interface: str, frame: bytes) -> None:
        """Take in one frame."""
        address = sender(frame)
        known = self._heard.setdefault(interface, {})
        if address is not None and address not in known and len(known) < ADDRESSES_AT_MOST:
            known[address] = None
            self._on_news(interface)
