"""Reads and writes of single objects that do not block: librados calls back from its own thread.

While one is under way the handle is in use, so nobody shuts it down.
"""

import contextlib
from collections.abc import Callable, Iterator

import rados

from respawn.adapters.ceph import errors
from respawn.adapters.ceph.handle import Handle

LARGEST = 128 << 10
"""Bytes read of an object at most; a heart tells of a server in about 80."""

ReadDone = Callable[[int, bytes], None]
WriteDone = Callable[[int], None]
"""Get the result; negative is an errno. Called from librados' thread: to return at once."""


def read(handle: Handle, ioctx: rados.Ioctx, name: str, done: ReadDone) -> None:
    """Read a whole object."""

    def complete(completion: rados.Completion, data: bytes | None) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(handle.release)
            code = completion.get_return_value()
            handle.heard(code)
            done(code, data or b"")

    handle.acquire()
    with _released_on_error(handle), errors.translated(f"read {name}"):
        ioctx.aio_read(name, LARGEST, 0, complete)


def write(handle: Handle, ioctx: rados.Ioctx, name: str, content: bytes, done: WriteDone) -> None:
    """Write a whole object."""

    def complete(completion: rados.Completion) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(handle.release)
            code = completion.get_return_value()
            handle.heard(code)
            done(code)

    handle.acquire()
    with _released_on_error(handle), errors.translated(f"write {name}"):
        ioctx.aio_write_full(name, content, complete)


@contextlib.contextmanager
def _released_on_error(handle: Handle) -> Iterator[None]:
    try:
        yield
    except BaseException:
        handle.release()
        raise
