"""How to reach a Ceph cluster, and the configuration that every client of ours has."""

from collections.abc import Callable
from dataclasses import dataclass, field

TIMEOUT = 3
"""Seconds for a monitor command, an OSD operation, and a connect: librados' default is for ever."""

_CONF = {
    "rados_mon_op_timeout": str(TIMEOUT),
    "rados_osd_op_timeout": str(TIMEOUT),
    "client_mount_timeout": str(TIMEOUT),
    "admin_socket": "",
    "log_file": "/dev/null",
    "log_to_stderr": "false",
    "err_to_stderr": "false",
    # clones that need no protected snapshot, and outlive its removal
    "rbd_default_clone_format": "2",
    # safety: a lock is broken only after its holder was blocklisted, by us, for good. librbd's own
    # blocklisting would expire after an hour.
    "rbd_blocklist_on_break_lock": "false",
}


@dataclass(frozen=True, slots=True)
class Access:
    """One client of one cluster: as a StoragePool and its Secret say, or as a host's files do.

    `client` goes without `client.`. With a `conffile`, monitors and keyring are found as every
    program of Ceph finds them there; an empty `fsid` is not checked.
    """

    client: str
    fsid: str = ""
    monitors: tuple[str, ...] = ()
    key: str = field(default="", repr=False)
    conffile: str = ""
    keyring: str = ""
    """A file with the key, instead of `key`."""

    @property
    def conf(self) -> dict[str, str]:
        """librados' options."""
        given = {"mon_host": ",".join(self.monitors), "key": self.key, "keyring": self.keyring}
        return {**_CONF, **{option: value for option, value in given.items() if value}}


Where = Callable[[], Access]
"""Tells the access as of now; raises Unavailable while nobody knows it."""


def fixed(access: Access) -> Where:
    """An access that never changes."""
    return lambda: access
