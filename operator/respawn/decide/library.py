"""Pools and golden images: what is to be done, and what their status should say."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime

from respawn.decide.kstatus import kstatus, tells_more
from respawn.model.base import Now
from respawn.model.conditions import Reason, merged
from respawn.model.storage import Image, Kept, Pool
from respawn.model.world import Trouble, World

RETRY_AFTER: dict[str, float] = {Reason.CHECKSUM_MISMATCH: 600.0, Reason.SOURCE_UNREADABLE: 60.0}
"""Seconds until an import that failed for that reason is tried again."""
PATIENCE = 30.0
NEEDS_USER = frozenset(
    {Reason.CHECKSUM_MISMATCH, Reason.SOURCE_UNREADABLE, Reason.CREDENTIALS_MISSING}
)
"""Only a person can change these; they are looked at again all the same."""
MEBIBYTE = 1 << 20
KEPT_AT_MOST = 100
USAGE_STEP = 0.02
"""Share of a pool by which its use must change to be written again."""


# Images.


@dataclass(frozen=True, slots=True)
class ImageDecision:
    """What to do about an image: import it, or look again at `next_check`; `told` is the image with
    the status that it should have, None if it has it.
    """

    start: bool = False
    next_check: float | None = None
    told: Image | None = None


def image(
    image: Image, pool: Pool | None, *, importing: bool, trouble: Trouble | None, now: Now
) -> ImageDecision:
    """What to do about `image`, that is imported by this process now or not (`importing`)."""
    if image.ready:
        return ImageDecision(told=_tell(image, "Ready", Reason.AS_SPECIFIED, "", now.wall))
    if importing:
        message = f"it is being imported into StoragePool {image.pool}"
        return ImageDecision(told=_tell(image, "Importing", Reason.IMPORTING, message, now.wall))
    if pool is None:
        message = f"there is no StoragePool {image.pool}; create it"
        return _waits(image, Reason.UNKNOWN_POOL, message, now)
    if not pool.ready:
        message = f"waits until StoragePool {image.pool} is Ready"
        return _waits(image, Reason.POOL_NOT_READY, message, now)
    if trouble is not None:
        again = trouble.at + RETRY_AFTER.get(trouble.reason, PATIENCE)
        if now.mono < again:
            told = _tell(image, "Failed", trouble.reason, _advised(trouble), now.wall)
            return ImageDecision(next_check=again, told=told)
    return ImageDecision(start=True)


def _advised(trouble: Trouble) -> str:
    again = f"tried again every {RETRY_AFTER.get(trouble.reason, PATIENCE):g} s"
    if trouble.reason == Reason.CHECKSUM_MISMATCH:
        again += "; if the checksum in its spec is wrong, make another ServerImage: specs are final"
    return f"{trouble.message}; {again}"


def imported(image: Image, pool: Pool, size: int, wall: datetime) -> Image:
    """The image with its status when it is there, `size` bytes large."""
    there = replace(
        image,
        ready=True,
        size=size,
        location=f"{pool.pool}/{image.rbd_name}@golden",
        imported=image.imported or wall,
    )
    return _tell(there, "Ready", Reason.AS_SPECIFIED, "", wall) or there


def _waits(image: Image, reason: Reason, message: str, now: Now) -> ImageDecision:
    told = _tell(image, "Pending", reason, message, now.wall)
    return ImageDecision(next_check=now.mono + PATIENCE, told=told)


def _tell(
    image: Image, phase: str, reason: str, message: str, wall: datetime
) -> Image | None:  # fmt: skip
    fresh = kstatus(
        ready=image.ready,
        stalled=reason in NEEDS_USER,
        reason=reason,
        message=message,
        generation=image.generation,
    )
    as_it_is = image.phase == phase and image.observed_generation == image.generation
    if as_it_is and not tells_more(image.conditions, fresh):
        return None
    return replace(
        image,
        phase=phase,
        observed_generation=image.generation,
        conditions=merged(image.conditions, fresh, wall),
    )


# Pools.


def contents(world: World, pool: Pool) -> tuple[str, ...]:
    """What of ours is in it, in words: as long as there is something, the pool is needed."""
    servers = (
        f"VirtualServer {s.namespace}/{s.name}"
        for _, s in sorted(world.servers.items())
        if any(d.pool == pool.name for d in s.status.disks)
    )
    images = (
        f"ServerImage {i.name}"
        for _, i in sorted(world.images.items())
        if i.pool == pool.name and i.ready
    )
    return (*servers, *images)


@dataclass(frozen=True, slots=True)
class PoolLook:
    """What a look at a pool has shown."""

    trouble: Trouble | None = None
    usage: tuple[int, int] | None = None
    """Bytes, total and used; None when it cannot be had, because of `trouble`."""
    contents: tuple[str, ...] = ()
    kept: tuple[Kept, ...] | None = None
    """None: not known now."""


def pool(pool: Pool, look: PoolLook, wall: datetime) -> Pool | None:
    """The pool with the status it should have, None if it has it."""
    trouble, usage = look.trouble, look.usage
    reason, message = (trouble.reason, trouble.message) if trouble else (Reason.AS_SPECIFIED, "")
    if pool.deleting:
        reason, message = Reason.DELETING, _waits_for(look.contents)
    fresh = kstatus(
        ready=trouble is None and not pool.deleting,
        stalled=reason in NEEDS_USER,
        reason=reason,
        message=message,
        generation=pool.generation,
    )
    total, used = (_whole(n) for n in usage) if usage else (pool.total, pool.used)
    kept = pool.kept if look.kept is None else look.kept[:KEPT_AT_MOST]
    known = pool.observed_generation == pool.generation and not tells_more(pool.conditions, fresh)
    if known and kept == pool.kept and not _differs(pool, total, used):
        return None
    return replace(
        pool,
        total=total,
        used=used,
        kept=kept,
        observed_generation=pool.generation,
        conditions=merged(pool.conditions, fresh, wall),
    )


def _waits_for(contents: tuple[str, ...]) -> str:
    told = ", ".join(contents[:3]) or "nothing"
    left = Counter(what.partition(" ")[0] for what in contents[3:])
    more = "".join(f" and {n} more {kind}{'s' * (n > 1)}" for kind, n in left.items())
    return f"it is to be deleted, and still holds {told}{more}: delete those first"


def _whole(size: int) -> int:
    """Whole mebibytes, rounded up: nobody reads bytes of a pool."""
    return -(-size // MEBIBYTE) * MEBIBYTE


def _differs(pool: Pool, total: int, used: int) -> bool:
    step = USAGE_STEP * max(total, 1)
    return abs(total - pool.total) > step or abs(used - pool.used) > step
