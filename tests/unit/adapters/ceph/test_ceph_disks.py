"""What goes to the trash is what was looked at, though RBD takes names only."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rados", reason="Debian's python3-rados")
pytest.importorskip("rbd", reason="Debian's python3-rbd")

from respawn.adapters.ceph import disks, marks
from respawn.ports.errors import Conflict, NotFound


class Pool:
    """One name, and the image that has it at each look; None: none has."""

    def __init__(self, patch: pytest.MonkeyPatch, *ids: str | None) -> None:
        self.trashed: list[str] = []
        looks: Iterator[str | None] = iter(ids)

        def image_id(ioctx: Any, name: str) -> str:
            found = next(looks)
            if found is None:
                raise NotFound(name)
            return found

        patch.setattr(marks, "image_id", image_id)
        patch.setattr(marks, "read", lambda ioctx, name: {})
        patch.setattr(disks, "_refuse_foreign", lambda *_: None)
        patch.setattr(disks, "_make_idle", lambda *_: None)
        patch.setattr(disks, "move_to_trash", lambda ioctx, name: self.trashed.append(name))

    def clear_away(self) -> None:
        ioctx: Any = self
        disks._clear_away(ioctx, "vs-u-root", "u")


@pytest.mark.parametrize("image", ["1a", None])
def test_what_broke_off_is_trashed(monkeypatch: pytest.MonkeyPatch, image: str | None) -> None:
    pool = Pool(monkeypatch, image, image)
    pool.clear_away()
    assert pool.trashed == ["vs-u-root"]


@pytest.mark.parametrize("ids", [("1a", "2b"), (None, "2b"), ("1a", None)])
def test_what_was_made_in_its_place_is_not(
    monkeypatch: pytest.MonkeyPatch, ids: tuple[str | None, str | None]
) -> None:
    pool = Pool(monkeypatch, *ids)
    with pytest.raises(Conflict):
        pool.clear_away()
    assert pool.trashed == []
