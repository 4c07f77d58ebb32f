"""ICMP echo every 10 ms from the network namespace this runs in.

`python -m labkit.pinger ADDRESS SECONDS` prints {sent, lost, longestGapMs} on stdout; needs
CAP_NET_RAW. Run it inside the lab's tenant network.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import TypedDict

PERIOD_S = 0.01
GRACE_S = 1.0  # how long a reply is waited for after the last request
_PAYLOAD = struct.Struct("!8sQ")
_MAGIC = b"labping\0"
_HEADER = struct.Struct("!BBHHH")
_REQUEST, _REPLY = 8, 0


class PingResult(TypedDict):
    sent: int
    lost: int  # requests without a reply GRACE_S after the last request
    longestGapMs: int  # longest time without a reply, the ends of the run included


def ping(address: str, seconds: float) -> PingResult:
    """Ping ADDRESS for SECONDS. Raises OSError if there is no right to a raw socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.setblocking(False)
        return _Run(raw, address).run(seconds)


def answers_until(address: str, seconds: float, silence: float) -> float:
    """Seconds for which ADDRESS answers before it is silent for SILENCE; of at most SECONDS.

    What answers after that, at the same address, may be another.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.setblocking(False)
        run, start = _Run(raw, address), time.monotonic()
        run.run(seconds)
    return last_before(silence, sorted(run.replies.values()), start)


class _Run:
    def __init__(self, raw: socket.socket, address: str) -> None:
        self.raw = raw
        self.address = address
        self.ident = int.from_bytes(os.urandom(2), "big")
        self.sent = 0
        self.replies: dict[int, float] = {}  # number of the request -> arrival

    def run(self, seconds: float) -> PingResult:
        start = due = time.monotonic()
        end = start + seconds
        while due < end:
            self._send()
            # A late sender skips ahead: a burst to catch up would measure us, not the network.
            due = max(due + PERIOD_S, time.monotonic())
            self._receive_until(due)
        patience = time.monotonic() + GRACE_S
        while len(self.replies) < self.sent and time.monotonic() < patience:
            self._receive_until(min(patience, time.monotonic() + PERIOD_S))
        gap = longest_gap(list(self.replies.values()), start, end)
        return {
            "sent": self.sent,
            "lost": self.sent - len(self.replies),
            "longestGapMs": round(gap * 1000),
        }

    def _send(self) -> None:
        packet = echo_request(self.ident, self.sent)
        self.sent += 1
        try:
            self.raw.sendto(packet, (self.address, 0))
        except OSError:
            return  # no route, no neighbour, a full queue: a request that nobody will answer

    def _receive_until(self, due: float) -> None:
        while (left := due - time.monotonic()) > 0:
            if select.select([self.raw], [], [], left)[0]:
                self._receive()

    def _receive(self) -> None:
        try:
            packet, (sender, _) = self.raw.recvfrom(2048)
        except OSError:
            return  # an ICMP error that the kernel hands to the socket: no reply
        number = echo_reply(packet, self.ident)
        if sender == self.address and number is not None:
            self.replies.setdefault(number, time.monotonic())


def longest_gap(arrivals: Sequence[float], start: float, end: float) -> float:
    """Longest stretch of [START, END] in which nothing arrived, in seconds."""
    inside = sorted(at for at in arrivals if start < at < end)
    return max(b - a for a, b in zip([start, *inside], [*inside, end], strict=True))


def last_before(silence: float, arrivals: Sequence[float], start: float) -> float:
    """Seconds from START to the last of the sorted ARRIVALS that SILENCE follows; 0: to none."""
    last = start
    for at in arrivals:
        if at - last > silence:
            break
        last = at
    return last - start


def checksum(data: bytes) -> int:
    """The Internet checksum of an even number of bytes."""
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(ident: int, number: int) -> bytes:
    """NUMBER travels in the payload too: the header's 16 bits last for 11 minutes only."""
    payload = _PAYLOAD.pack(_MAGIC, number)
    bare = _HEADER.pack(_REQUEST, 0, 0, ident, number & 0xFFFF) + payload
    return bare[:2] + struct.pack("!H", checksum(bare)) + bare[4:]


def echo_reply(packet: bytes, ident: int) -> int | None:
    """The number in an IP packet that answers our request IDENT; None for any other packet."""
    body = packet[(packet[0] & 15) * 4 :] if packet else b""
    if len(body) < _HEADER.size + _PAYLOAD.size:
        return None
    kind, _, _, replied, _ = _HEADER.unpack_from(body)
    number: int
    magic, number = _PAYLOAD.unpack_from(body, _HEADER.size)
    return number if (kind, replied, magic) == (_REPLY, ident, _MAGIC) else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="labkit.pinger")
    parser.add_argument("address")
    parser.add_argument("seconds", type=float)
    options = parser.parse_args(arguments)
    print(json.dumps(ping(options.address, options.seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
