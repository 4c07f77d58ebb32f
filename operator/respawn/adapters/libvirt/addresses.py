"""What guests tell of themselves: their addresses and readiness. Never waited for.

Answers come from memory; asking goes on behind it, in a thread of its own, at most once every
REFRESH seconds for a server.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from xml.etree import ElementTree

import libvirt
import libvirt_qemu

from respawn.adapters.libvirt.arp import ADDRESSES_AT_MOST, ArpListener
from respawn.adapters.libvirt.connection import Workers
from respawn.adapters.libvirt.domain_xml import GUEST_AGENT
from respawn.model.host import Incarnation
from respawn.ports.errors import PortError

REFRESH = 10.0
AGENT_PATIENCE = 2
"""Seconds (whole ones) that a guest agent may take."""
DEADLINE = 5.0


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one guest."""

    addresses: tuple[str, ...] = ()
    guest_ready: bool | None = None


@dataclass(slots=True)
class _Memory:
    epoch: int = 0
    taps: tuple[str, ...] = ()
    by_agent: tuple[str, ...] = ()
    ready: bool | None = None
    asked_at: float = float("-inf")


class GuestAddresses:
    """One memory for all guests of this host. `on_news(uid)` tells of something new."""

    def __init__(self, uri: str, on_news: Callable[[str], None]) -> None:
        self._on_news = on_news
        self._workers = Workers(uri, "details")
        self._arp = ArpListener(self._heard)
        self._memory: dict[str, _Memory] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Stop listening and asking."""
        self._arp.close()
        self._workers.close()

    def known(self, domain: Incarnation) -> Told:
        """What is known now; asks again behind it when that is old."""
        memory = self._of(domain)
        now = asyncio.get_running_loop().time()
        if now - memory.asked_at >= REFRESH:
            memory.asked_at = now
            task = asyncio.create_task(self._ask(domain.uid, memory))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return self._told(memory)

    def _of(self, domain: Incarnation) -> _Memory:
        """Of this incarnation alone: the end of the one before may have been missed."""
        memory = self._memory.get(domain.uid)
        if memory is None or memory.epoch != domain.epoch:
            self.forget(domain.uid)
            memory = self._memory[domain.uid] = _Memory(domain.epoch)
        return memory

    def forget(self, uid: str) -> None:
        """The server's domain has ended."""
        for interface in self._memory.pop(uid, _Memory()).taps:
            self._arp.forget(interface)

    def _told(self, memory: _Memory) -> Told:
        heard = (address for name in memory.taps for address in self._arp.heard(name))
        return Told(ordered((*memory.by_agent, *heard)), memory.ready)

    async def _ask(self, uid: str, memory: _Memory) -> None:
        before = self._told(memory)
        try:
            memory.taps, answer = await self._workers.call(lambda c: _query(c, uid), DEADLINE)
        except PortError:
            return
        if self._memory.get(uid) is not memory:
            return  # it has ended meanwhile
        for interface in memory.taps:
            self._arp.listen(interface)
        if answer is not None:
            memory.by_agent, memory.ready = agent_addresses(answer), True
        if self._told(memory) != before:
            self._on_news(uid)

    def _heard(self, interface: str) -> None:
        for uid, memory in self._memory.items():
            if interface in memory.taps:
                self._on_news(uid)


def _query(connection: "libvirt.virConnect", uid: str) -> tuple[tuple[str, ...], str | None]:
    """The taps of a domain, and what its guest agent says of the guest's cards."""
    domain = connection.lookupByUUIDString(uid)
    root = ElementTree.fromstring(domain.XMLDesc())
    taps = tuple(t.get("dev", "") for t in root.iterfind("devices/interface/target"))
    targets = root.iterfind("devices/channel/target")
    if not any(t.get("name") == GUEST_AGENT and t.get("state") == "connected" for t in targets):
        return taps, None  # asking an agent that is not there would only wait for it
    command = '{"execute": "guest-network-get-interfaces"}'
    try:
        return taps, str(libvirt_qemu.qemuAgentCommand(domain, command, AGENT_PATIENCE, 0))
    except libvirt.libvirtError:
        return taps, None


def agent_addresses(answer: str) -> tuple[str, ...]:
    """Addresses in a guest agent's answer, those that only the guest itself can reach left out.

    Whatever a guest says, what is made of it can be written into its host's report.
    """
    try:
        cards: list[dict[str, Any]] = json.loads(answer)["return"]
        found = [a["ip-address"] for card in cards for a in card.get("ip-addresses", ())]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()
    return tuple(a for a in found if _reachable(a))


def _reachable(address: object) -> bool:
    # A number would be taken for an address, and a zone ("%...") can be any text of any length.
    if not isinstance(address, str) or "%" in address:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)


def ordered(addresses: Iterable[str]) -> tuple[str, ...]:
    """Each once, IPv4 first, in an order that only the set decides."""
    once = {ip_address(a) for a in addresses}
    return tuple(str(a) for a in sorted(once, key=lambda a: (a.version, int(a))))[
        :ADDRESSES_AT_MOST
    ]
