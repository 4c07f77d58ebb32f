"""Orders to a guest over the tenant network: panic, poweroff, reboot. No product part helps.

`python -m labkit.guestctl ADDRESS status|panic|poweroff|reboot [--server UUID]`, run inside the
tenant network, prints one JSON object and ends when the effect is true.

The guest listens on UDP port CONTROL_PORT. `status` is answered `status BOOT SERVER`; an order is
`ORDER BOOT`, answered `ok BOOT SERVER` or, if the guest is in another boot by now, `refused …`.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

CONTROL_PORT = 7911
ORDERS = ("panic", "poweroff", "reboot")
RETRY_S = 0.2
SILENCE_S = 1.0  # a guest that answered within milliseconds and is silent so long has stopped


class GuestError(RuntimeError):
    """The guest did not answer, is another server, or did not do as told."""


@dataclass(frozen=True)
class GuestStatus:
    boot: str  # 16 hex digits, new at each boot
    server: str  # the domain's UUID


@dataclass(frozen=True)
class _Reply:
    verdict: str  # status, ok or refused
    status: GuestStatus


def status(address: str, *, timeout: float = 5.0) -> GuestStatus:
    """Who answers at ADDRESS; TIMEOUT in seconds. Raises GuestError if nobody does."""
    reply = _ask(address, "status", timeout)
    if reply is None:
        raise GuestError(f"no guest answers at {address} within {timeout:g} s")
    return reply.status


def order(
    address: str,
    what: str,
    *,
    server: str | None = None,
    timeout: float = 5.0,
    effect_timeout: float = 60.0,
) -> GuestStatus:
    """Give the order WHAT and wait until its effect is true; return who obeyed.

    `panic` and `poweroff` are true when that boot answers no more, `reboot` when another boot
    answers. With SERVER, a guest with another UUID is left alone. Raises GuestError.
    """
    if what not in ORDERS:
        raise ValueError(f"{what!r} is none of {', '.join(ORDERS)}")
    guest = status(address, timeout=timeout)
    if server is not None and guest.server.lower() != server.lower():
        raise GuestError(f"{address} is server {guest.server}, not {server}")
    # safety: names the boot it is for; repeated, it cannot stop the boot that follows
    reply = _ask(address, f"{what} {guest.boot}", timeout)
    if reply is None and not _ended(address, guest, what, SILENCE_S):
        raise GuestError(f"the guest at {address} did not acknowledge {what}")
    if not _ended(address, guest, what, effect_timeout):
        missing = "no new boot answers" if what == "reboot" else "its boot still answers"
        raise GuestError(
            f"the guest at {address} acknowledged {what}, but {missing} after {effect_timeout:g} s"
        )
    return guest


def _ended(address: str, guest: GuestStatus, what: str, timeout: float) -> bool:
    """True as soon as GUEST's boot is over, as the order WHAT wanted it."""
    give_up = time.monotonic() + timeout
    while True:
        reply = _ask(address, "status", SILENCE_S)
        if reply and reply.status.boot != guest.boot:
            return True
        if reply is None and what != "reboot":
            return True
        if time.monotonic() >= give_up:
            return False
        time.sleep(RETRY_S)


def _ask(address: str, request: str, timeout: float) -> _Reply | None:
    """Send REQUEST until it is answered or TIMEOUT seconds are over: then None."""
    give_up = time.monotonic() + timeout
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect((address, CONTROL_PORT))
        while (left := give_up - time.monotonic()) > 0:
            started = time.monotonic()
            udp.settimeout(min(RETRY_S, left))
            try:
                udp.send(request.encode())
                if reply := _parse(udp.recv(256)):
                    return reply
            except TimeoutError:
                continue
            except OSError:
                # refused or unreachable comes at once: nobody listens *yet*
                time.sleep(max(0.0, min(RETRY_S, left) - (time.monotonic() - started)))
    return None


def _parse(datagram: bytes) -> _Reply | None:
    words = datagram.decode("ascii", "replace").split()
    if len(words) != 3 or words[0] not in {"status", "ok", "refused"}:
        return None
    return _Reply(words[0], GuestStatus(boot=words[1], server=words[2]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="labkit.guestctl")
    parser.add_argument("address")
    parser.add_argument("order", choices=("status", *ORDERS))
    parser.add_argument("--server", help="UUID of the server that is meant")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds until it must answer")
    options = parser.parse_args(arguments)
    try:
        if options.order == "status":
            guest = status(options.address, timeout=options.timeout)
        else:
            guest = order(
                options.address, options.order, server=options.server, timeout=options.timeout
            )
    except GuestError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(asdict(guest)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
