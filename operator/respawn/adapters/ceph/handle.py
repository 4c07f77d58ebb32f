"""One librados client: used by many threads, thrown away as a whole, shut down by its last user."""

import contextlib
import errno
import threading
import time
from collections.abc import Iterator

import rados

from respawn.adapters.ceph import errors
from respawn.adapters.ceph.access import Access
from respawn.model.conditions import Reason
from respawn.ports.errors import Refused, Unavailable

_NOT_TRANSIENT = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOENT)


class Handle:
    """A connected client.

    librados must not be shut down while another thread is in a call of it, and a call may hang:
    so `retire` only says that it is to end, and the last user ends it.
    """

    def __init__(self, access: Access, cluster: rados.Rados) -> None:
        self.access = access
        self.cluster = cluster
        self.address = entity_address(cluster)
        self.fsid: str = cluster.get_fsid()
        self._lock = threading.Lock()
        self._ioctxs: dict[tuple[str, str], rados.Ioctx] = {}
        self._users = 0
        self._retired = False
        self._ended = threading.Event()
        self._heard_at = time.monotonic()

    def heard(self, code: int) -> None:
        """An operation ended with this code; anything but a time-out was an answer."""
        if code != -errno.ETIMEDOUT:
            self._heard_at = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since Ceph last answered one of the operations told to `heard`."""
        return time.monotonic() - self._heard_at

    def acquire(self) -> None:
        """Become a user, until `release`. Raises Unavailable when it was retired."""
        with self._lock:
            if self._retired:
                raise Unavailable("this connection to Ceph was given up")
            self._users += 1

    def release(self) -> None:
        """Be a user no more."""
        with self._lock:
            self._users -= 1
            last = self._retired and not self._users
        if last:
            self._end()

    @contextlib.contextmanager
    def used(self) -> Iterator["Handle"]:
        """`acquire` and `release` around a block."""
        self.acquire()
        try:
            yield self
        finally:
            self.release()

    def retire(self) -> None:
        """No new users; ends with its last one. Never blocks."""
        with self._lock:
            idle = not self._users and not self._retired
            self._retired = True
        if idle:
            self._end()

    @property
    def retired(self) -> bool:
        """Whether it is to be used no more."""
        return self._retired

    @property
    def ended(self) -> bool:
        """Whether it is shut down: no watch or lock of its is left."""
        return self._ended.is_set()

    def ioctx(self, pool: str, namespace: str = "") -> rados.Ioctx:
        """The I/O context of a pool; it belongs to the handle. Raises Refused: no such pool."""
        with self._lock:
            if (pool, namespace) not in self._ioctxs:
                self._ioctxs[pool, namespace] = self._open(pool, namespace)
            return self._ioctxs[pool, namespace]

    def _open(self, pool: str, namespace: str) -> rados.Ioctx:
        try:
            ioctx = self.cluster.open_ioctx(pool)
        except rados.ObjectNotFound as error:
            raise Refused(Reason.UNKNOWN_POOL, f"Ceph has no pool {pool}") from error
        ioctx.set_namespace(namespace)
        return ioctx

    def _end(self) -> None:
        """Shut down in a thread of its own: with the network gone it takes its time."""
        threading.Thread(target=self._shut_down, name="ceph-shutdown", daemon=True).start()

    def _shut_down(self) -> None:
        for ioctx in self._ioctxs.values():
            ioctx.close()
        self.cluster.shutdown()
        self._ended.set()


def connect(access: Access) -> Handle:
    """A new client; takes at most the connect timeout.

    Raises Unavailable, and Refused when the cluster is another one or does not know the client.
    """
    what = f"connect to Ceph as client.{access.client}"
    conffile = access.conffile or rados.Rados.NO_CONF_FILE
    try:
        cluster = rados.Rados(
            name=f"client.{access.client}",
            clustername="ceph",
            conffile=conffile,
            conf=access.conf,
        )
        cluster.connect()
    except rados.Error as error:
        number = getattr(error, "errno", errno.EIO)
        if number in _NOT_TRANSIENT:
            raise Refused(Reason.POOL_NOT_READY, f"{what}: {error}") from error
        raise errors.of(number, what) from error
    return _checked(Handle(access, cluster))


def _checked(handle: Handle) -> Handle:
    wanted = handle.access.fsid
    if wanted and handle.fsid != wanted:
        handle.retire()
        message = f"the cluster at these monitors has fsid {handle.fsid}, not {wanted}"
        raise Refused(Reason.POOL_NOT_READY, message)
    return handle


def entity_address(cluster: rados.Rados) -> str:
    """The client's own address, as watchers, lockers and the blocklist name it: IP:0/NONCE."""
    told: str = cluster.get_addrs()
    if told.startswith(("[v1:", "[v2:")):  # several: they share the nonce
        told = told[1:-1].partition(",")[0]
    return told.removeprefix("v1:").removeprefix("v2:").removeprefix("any:")
