"""Beating for as long as it takes: a new connection whenever the old one is of no use any more.

No event loop, no thread of its own: this is what the heart process runs. The agent, and the
operator's proof that it can write, run it in a thread.
"""

from respawn.adapters.ceph import errors
from respawn.adapters.ceph.access import TIMEOUT, Where
from respawn.adapters.ceph.errors import Shut
from respawn.adapters.ceph.handle import connect
from respawn.adapters.ceph.session import Session
from respawn.model.conditions import Reason
from respawn.model.sight import Beat
from respawn.ports.errors import PortError, Refused

HEART = "heart"
"""`heart.HOST.K` are the objects of a host; its key lets it write no others."""


class Beater:
    """Writes beats into two objects of `prefix`. Used by one thread at a time."""

    def __init__(self, where: Where, *, pool: str, prefix: str) -> None:
        self._where, self._pool, self._prefix = where, pool, prefix
        self._session: Session | None = None

    @property
    def addresses(self) -> frozenset[str]:
        """The entity address of its client, if it is connected."""
        return frozenset([self._session.handle.address] if self._session else [])

    def beat(self, beat: Beat, *, patience: float) -> None:
        """Write both objects; returns when one has it.

        Takes at most `patience` seconds, and a connect if one is needed. The counter is raised
        above that of every beat that was read or written before: each beat changes the content,
        and a later boot's are higher. Raises Refused (Blocklisted), Unavailable.
        """
        try:
            with errors.translated("beat"):
                if self._session is None:
                    self._session = self._open()
                self._session.beat(beat, patience)
        except Shut as shut:
            # safety: a fenced host learns here that it is fenced. The old handle stays shut for
            # ever; a new one is let in as soon as the fence is lifted, and not before.
            self.close()
            raise Refused(Reason.BLOCKLISTED, "this host is blocklisted in Ceph") from shut
        except PortError:
            if self._session and self._session.handle.silence > TIMEOUT:
                # after a cut the old sockets sit in TCP's back-off, for up to a minute
                self.close()
            raise

    def _open(self) -> Session:
        handle = connect(self._where())
        try:
            return Session(handle, self._pool, self._prefix)
        except BaseException:
            handle.retire()
            raise

    def close(self) -> None:
        """Give the connection up; the next beat makes a new one."""
        if self._session:
            self._session.handle.retire()
        self._session = None


def heart_of(host: str) -> str:
    """The prefix of a host's heart objects."""
    return f"{HEART}.{host}"
