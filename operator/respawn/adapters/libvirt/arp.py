"""Guests' IPv4 addresses, learned from the ARP packets that they send through their taps."""

import asyncio
import logging
import socket
from collections.abc import Callable
from ipaddress import IPv4Address

log = logging.getLogger(__name__)
ETH_P_ARP = 0x0806
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


class ArpListener:
    """Listens on every interface; keeps what came in through each, by the interface's name.

    `on_news(interface)` tells of an address not heard there before. Without the right to listen
    (CAP_NET_RAW) it hears nothing, and says so once.
    """

    def __init__(self, on_news: Callable[[str], None]) -> None:
        self._on_news = on_news
        self._heard: dict[str, dict[str, None]] = {}
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen in the running event loop."""
        try:
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ARP)
            )
        except PermissionError as error:
            log.warning("guests' addresses are not learned from ARP: %s", error)
            return
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def heard(self, interface: str) -> tuple[str, ...]:
        """Addresses that were claimed through that interface, oldest first."""
        return tuple(self._heard.get(interface, ()))

    def forget(self, interface: str) -> None:
        """Its guest has ended."""
        self._heard.pop(interface, None)

    def _read(self) -> None:
        assert self._socket is not None
        for _ in range(PACKETS_AT_ONCE):
            try:
                frame, (interface, *_rest) = self._socket.recvfrom(128)
            except BlockingIOError:
                return
            except OSError as error:  # an interface went down: the socket lives on
                log.debug("ARP: %s", error)
                return
            self.hear(interface, frame)

    def hear(self, interface: str, frame: bytes) -> None:
        """Take in one frame."""
        address = sender(frame)
        # only taps of ours: on the bridge anybody's packets pass
        if address is None or not interface.startswith("vs"):
            return
        known = self._heard.setdefault(interface, {})
        if address not in known and len(known) < ADDRESSES_AT_MOST:
            known[address] = None
            self._on_news(interface)
