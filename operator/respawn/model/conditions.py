"""Condition types and reasons: the constants that users may compare with.

Every reason of a wait comes with a message that says what would end it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One aspect of an object's state, as metav1.Condition says it."""

    type: str
    status: Status
    reason: str
    message: str = ""
    observed_generation: int = 0
    last_transition: datetime | None = None

    def same_as(self, other: "Condition | None") -> bool:
        """Whether writing this over `other` would tell nobody anything new."""
        return other is not None and replace(self, last_transition=None) == replace(
            other, last_transition=None
        )


class Type(StrEnum):
    """Types of conditions, of all kinds."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    # VirtualServer
    PLACED = "Placed"
    DISKS_READY = "DisksReady"
    RUNNING = "Running"
    GUEST_READY = "GuestReady"
    RECOVERING = "Recovering"
    RESTART_REQUIRED = "RestartRequired"
    # Node
    REGISTERED = "Registered"
    AGENT_ALIVE = "AgentAlive"
    STORAGE_REACHABLE = "StorageReachable"
    HYPERVISOR_REACHABLE = "HypervisorReachable"
    FENCING_READY = "FencingReady"
    FENCED = "Fenced"
    SCHEDULABLE = "Schedulable"
    # RespawnPolicy
    ACCEPTED = "Accepted"
    FAILOVER_HELD = "FailoverHeld"


class Reason(StrEnum):
    """Reasons, in the order in which a server or host usually meets them."""

    # all kinds
    AS_SPECIFIED = "AsSpecified"
    WORKING = "Working"
    NOT_NEEDED = "NotNeeded"
    MALFORMED = "Malformed"
    API_REFUSED = "RefusedByApi"
    # pools and images
    CREDENTIALS_MISSING = "CredentialsMissing"
    IMPORTING = "Importing"
    # disks
    PREPARING_DISKS = "PreparingDisks"
    UNKNOWN_POOL = "UnknownPool"
    POOL_NOT_READY = "PoolNotReady"
    UNKNOWN_IMAGE = "UnknownImage"
    IMAGE_NOT_READY = "ImageNotReady"
    SOURCE_UNREADABLE = "SourceUnreadable"
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    IMAGE_LARGER_THAN_DISK = "ImageLargerThanDisk"
    DISK_LARGER_THAN_POOL = "DiskLargerThanPool"
    DISK_IN_OTHER_POOL = "DiskInOtherPool"
    DISK_FROM_OTHER_SOURCE = "DiskFromOtherSource"
    DISK_FAILED = "DiskFailed"
    # placement
    NETWORKS_COME_LATER = "NetworksComeLater"
    NO_HOST_FITS = "NoHostFits"
    WAITING_FOR_WAVE = "WaitingForHigherPriority"
    WAITING_FOR_OWN_HOST = "WaitingForOwnHost"
    STARTING_ELSEWHERE_BUSY = "HostsBusyStarting"
    FOREIGN_CLIENT = "ForeignClient"
    BANNED_BRIEFLY = "BannedBriefly"
    EPOCH_BEHIND_IMAGE = "EpochBehindImage"
    PLACED = "Placed"
    # running
    STARTING = "Starting"
    RUNNING = "Running"
    SPEC_CHANGED = "SpecChanged"
    PAUSED = "Paused"
    SUSPENDED = "Suspended"
    STOPPING = "Stopping"
    HALTED = "Halted"
    COMPLETED = "Completed"
    DELETING = "Deleting"
    PROTECTED = "Protected"
    AGENT_DOWN = "AgentDown"
    BACK_OFF = "BackOff"
    # why an instance ended
    QEMU_DIED = "QemuDied"
    GUEST_PANICKED = "GuestPanicked"
    GUEST_SHUTDOWN = "GuestShutdown"
    START_FAILED = "StartFailed"
    DESTROYED = "Destroyed"
    VANISHED = "Vanished"
    HOST_LOST = "HostLost"
    HOST_REBOOTED = "HostRebooted"
    HOST_FENCED = "HostFenced"
    STORAGE_LOST = "StorageLost"
    # recovery
    RESTARTING = "Restarting"
    RECOVERED = "Recovered"
    # host
    ALIVE = "Alive"
    NOT_REGISTERED = "NotRegistered"
    CORDONED = "Cordoned"
    DRAIN_COMES_LATER = "DrainComesLater"
    SILENT = "Silent"
    SUSPECT = "Suspect"
    UNKNOWN = "Unknown"
    FIRST_SIGNS_AWAITED = "FirstSignsAwaited"
    UNREACHABLE = "Unreachable"
    HYPERVISOR_DOWN = "LibvirtDown"
    HEART_DOWN = "HeartDown"
    CUT_OFF_BUT_ALIVE = "CutOffButAlive"
    CONFIRMED_BUT_ALIVE = "ConfirmedButAlive"
    UNRESPONSIVE = "Unresponsive"
    UNRESPONSIVE_BUT_RUNNING = "UnresponsiveButRunning"
    DEAD = "Dead"
    FENCING = "Fencing"
    FENCED = "Fenced"
    LIFTING = "Lifting"
    NOT_FENCED = "NotFenced"
    FENCE_GONE = "FenceEntriesGone"
    ALL_FORMS_TAINTED = "AllFormsTainted"
    ADDRESS_IN_USE = "AddressBelongsToOthers"
    NO_ADDRESSES = "NoStorageAddresses"
    BLOCKLISTED = "BlocklistedWhileOK"
    # policy, self-doubt and brake
    ENFORCED = "Enforced"
    TIMINGS_UNSAFE = "TimingsUnsafe"
    TOO_MANY_HOSTS = "TooManyHostsFailed"
    NOT_LEADER = "NotLeader"
    API_UNPROVEN = "OwnApiAccessUnproven"
    CEPH_UNPROVEN = "OwnCephAccessUnproven"
    NO_OTHER_HEART = "NoOtherHeartAdvances"


def known(reason: str, otherwise: Reason) -> Reason:
    """`reason` as one of ours; what somebody else wrote becomes `otherwise`."""
    return Reason(reason) if reason in Reason.__members__.values() else otherwise


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of that type, if there is one."""
    return next((c for c in conditions if c.type == kind), None)


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """Whether the condition of that type is there and True."""
    condition = find(conditions, kind)
    return condition is not None and condition.status == "True"


def merged(
    old: Iterable[Condition], new: Iterable[Condition], now: datetime
) -> tuple[Condition, ...]:
    """`new` over `old`: transition times move only with the status; other types are kept."""
    known = {c.type: c for c in old}
    for condition in new:
        before = known.get(condition.type)
        since = before.last_transition if before and before.status == condition.status else now
        known[condition.type] = replace(condition, last_transition=since)
    return tuple(known.values())
