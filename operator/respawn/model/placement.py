"""Where a server may run: the one unit that safety hangs on, and the proofs that move it.

(absent) = Free(0) -> Placed(epoch, node, boot) -> Revoked -> Free | Placed(epoch + 1)
                                                          Free -> Deleted
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Phase(StrEnum):
    """`status.placement.phase`."""

    FREE = "Free"
    """No instance can write any more; the proof is recorded."""
    PLACED = "Placed"
    """Exactly one (host, boot, epoch) may be admitted."""
    REVOKED = "Revoked"
    """Nobody may be admitted any more; the proof is outstanding."""
    DELETED = "Deleted"
    """Terminal: the images may go."""


class ProofKind(StrEnum):
    """Why the old instance can no longer write."""

    FENCED = "Fenced"
    """(a) Every address of its host is blocklisted, read back."""
    POWERED_OFF = "PoweredOff"
    """(b) The BMC reports the power off."""
    NEW_BOOT = "NewBoot"
    """(c) The same machine came back with another boot ID."""
    ENDED = "Ended"
    """(d) The agent of that boot, having read the revocation, saw it absent."""
    CONFIRMED = "Confirmed"
    """(e) A person confirmed that the boot has ended (spec.fencing.endedBoots)."""


@dataclass(frozen=True, slots=True, order=True)
class Locker:
    """A client of an image: the holder of its lock, or (client and cookie empty) a watcher."""

    client: str
    cookie: str
    address: str
    """Ceph's entity address, `IP:PORT/NONCE`."""

    @property
    def ip(self) -> str:
        """The address without port and nonce: `[v6]` loses its brackets."""
        return entity_ip(self.address)


@dataclass(frozen=True, slots=True)
class Proof:
    """That a revoked placement's instance can no longer write; observed after the revocation."""

    kind: ProofKind
    observed_at: datetime | None = None
    fence_generation: int | None = None
    boot_id: str | None = None
    """The *other* boot ID that was seen (NewBoot)."""
    lockers: tuple[Locker, ...] = ()
    """The clients blocklisted for good because of it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """`status.placement`; every write of it is a compare-and-set on the whole object."""

    phase: Phase = Phase.FREE
    epoch: int = 0
    node: str | None = None
    """Absent while Free or Deleted."""
    machine_id: str | None = None
    boot_id: str | None = None
    proof: Proof | None = None
    grace: float | None = None
    """Revoked: seconds the guest has for an orderly shutdown, by the agent's clock."""

    @property
    def held(self) -> bool:
        """Whether an instance may exist because of it."""
        return self.phase in (Phase.PLACED, Phase.REVOKED)


UNPLACED = Placement()


def entity_ip(address: str) -> str:
    """The IP of a Ceph entity address: `v1:192.0.2.1:0/12`, `[2001:db8::1]:0/3`, or a bare IP."""
    head, slash, _ = address.partition("/")
    if head.startswith(("v1:", "v2:", "any:")):
        head = head.partition(":")[2]
    if head.startswith("["):
        return head[1:].partition("]")[0]
    return head.rpartition(":")[0] if slash else head
