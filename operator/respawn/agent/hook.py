#!/bin/sh
""":"
# libvirt's hook for QEMU domains, installed by `respawn install-hook`. Shell first: whatever
# becomes of Python on this host, an operation that must not be refused is let pass at once.
# libvirt kills a running guest whose `reconnect` hook fails, and all its list calls hang for as
# long as a `prepare` hook does. So: three operations are guarded, for 3 s at the most.
case "$2" in
  prepare|migrate|restore) exec /usr/bin/timeout -s KILL 3 /usr/bin/python3 -SE "$0" "$@" ;;
esac
exit 0
"""
# Called as `hook GUEST OPERATION SUBOPERATION EXTRA` with the domain's XML on stdin. Exit 0 lets
# the domain start, anything else refuses it, with the reason on stderr. A domain that is not ours
# is let pass without asking anybody; one of ours, or one that touches an image of ours, only on
# the agent's yes. It never calls libvirt and has no children. Nothing but built-in modules is
# imported: start-up is all that this program costs.

import _signal  # type: ignore[import-not-found]
import _socket
import pyexpat
import sys

AGENT = "/run/respawn/agent.sock"
POOLS = "/var/lib/respawn/pools"
DEADLINE = 2.8
METADATA = "https://respawn.dev/domain/v1 server"


class Reading:
    """What of a domain's XML makes it ours, or touches what is ours."""

    def __init__(self, xml):
        self.marked = False
        self.images = []
        self.names = []
        parser = pyexpat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._element
        parser.CharacterDataHandler = self._text
        parser.Parse(xml, True)

    def _element(self, tag, attributes):
        self.marked = self.marked or tag == METADATA
        if attributes.get("protocol") == "rbd":
            self.images.append(attributes.get("name", ""))
        for value in attributes.values():
            self._text(value)

    def _text(self, text):
        if names_our_image(text):
            self.names.append(text.strip())


def names_our_image(text):
    """Whether it contains `vs-<uid>-`, as our images do however they are attached."""
    start = text.find("vs-")
    while start >= 0:
        uid = text[start + 3 : start + 40]
        if len(uid) == 37 and [at for at, c in enumerate(uid) if c == "-"] == [8, 13, 18, 23, 36]:
            return True
        start = text.find("vs-", start + 1)
    return False


def why_ours(xml, pools):
    """Why the agent must be asked about this domain; "" when it must not.

    `pools`: names of Respawn's Ceph pools; None when they are not known, and any might be one.
    """
    try:
        found = Reading(xml)
    except pyexpat.ExpatError as error:
        return f"its XML cannot be read ({error})"
    if found.marked:
        return "it is a server of Respawn"
    if found.names:
        return f"it names {found.names[0]}, a disk of Respawn"
    ours = [i for i in found.images if pools is None or i.partition("/")[0] in pools]
    if ours:
        return f"it uses {ours[0]}, in a pool of Respawn"
    return ""


def read_pools(path):
    """Names of our pools as the agent last wrote them, None when it never did."""
    try:
        with open(path) as lines:
            return {line.strip() for line in lines} - {""}
    except OSError:
        return None


def ask(path, operation, xml):
    """The agent's answer: "yes", or "no" with a reason. Raises OSError."""
    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        agent.connect(path)
        agent.sendall(operation.encode() + b"\n" + xml)
        agent.shutdown(_socket.SHUT_WR)
        parts = []
        while part := agent.recv(4096):
            parts.append(part)
    finally:
        agent.close()
    return b"".join(parts).decode("utf-8", "replace").strip()


class TooLate(OSError):
    """The deadline passed."""


def give_up(*_):
    raise TooLate(f"no answer within {DEADLINE:g} s")


def refusal(operation, xml, agent=AGENT, pools=POOLS):
    """Why the domain may not start; "" when it may."""
    why = why_ours(xml, read_pools(pools))
    if not why:
        return ""
    try:
        answer = ask(agent, operation, xml)
    except OSError as error:
        return f"{why}, and its agent cannot be asked: {error}"
    # safety: only a plain yes lets a domain of ours start.
    return "" if answer == "yes" else answer.removeprefix("no").strip() or "no answer"


def main(arguments):
    """Exit code for libvirt."""
    _signal.signal(_signal.SIGALRM, give_up)
    _signal.setitimer(_signal.ITIMER_REAL, DEADLINE)
    try:
        why = refusal(" ".join(arguments[2:4]), sys.stdin.buffer.read())
    except TooLate as error:
        why = str(error)
    if why:
        sys.stderr.write(f"Respawn: {why}\n")
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
