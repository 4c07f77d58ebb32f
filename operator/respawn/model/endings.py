"""How an instance ended, in the words that people read."""

from collections.abc import Mapping

from respawn.model.conditions import Reason
from respawn.model.server import Setback

ENDINGS: Mapping[str, str] = {
    Reason.QEMU_DIED: "its QEMU died",
    Reason.GUEST_PANICKED: "its guest's kernel panicked",
    Reason.GUEST_SHUTDOWN: "its guest powered itself off",
    Reason.START_FAILED: "it could not be started",
    Reason.DESTROYED: "somebody ended its domain",
    Reason.VANISHED: "it was gone and nobody saw how",
    Reason.HOST_LOST: "its host is dead or cut off",
    Reason.HOST_REBOOTED: "its host rebooted",
    Reason.HOST_FENCED: "its host was fenced",
    Reason.STORAGE_LOST: "its host lost its storage",
}


def ending(reason: str) -> str:
    """The sentence for a setback's reason, without its place and time."""
    return ENDINGS.get(reason, reason)


def ended(last: Setback, where: str) -> str:
    """The same with `where` it was, and with what its host said of it."""
    said = f": {last.message}" if last.message else ""
    return f"{ending(last.reason)}{where}{said}"
