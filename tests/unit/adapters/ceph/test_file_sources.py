"""Which files may hold a golden image."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rbd", reason="Debian's python3-rbd")

from respawn.adapters.ceph.sources import FileSource
from respawn.ports.errors import Refused

NO_CEPH: Any = None


@pytest.mark.parametrize("path", ["/dev/zero", "/proc", "/nowhere"])
def test_what_holds_no_image_is_refused_before_it_is_read(path: str) -> None:
    """A device that never ends would fill the pool."""
    with pytest.raises(Refused, match=path), FileSource(path).open(NO_CEPH, "vms"):
        pytest.fail("it was opened")


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    image = tmp_path / "a.raw"
    image.write_bytes(b"x" * 1000)
    with FileSource(str(image)).open(NO_CEPH, "vms") as stream:
        assert (b"".join(stream.chunks), stream.total) == (b"x" * 1000, 1000)
