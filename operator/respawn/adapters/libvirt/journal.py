"""Marks on a tmpfs: one empty file each. They survive the agent and end with the boot."""

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)
FOLDER = Path("/run/respawn")


class Marks:
    """A set of (UID, epoch) in a folder; every mark is made by one system call, or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, uid: str, epoch: int) -> bool:
        """Set the mark; False when it was there."""
        try:
            os.close(os.open(self._path(uid, epoch), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True

    def drop(self, uid: str, epoch: int) -> None:
        """Take it off; gone already is done."""
        self._path(uid, epoch).unlink(missing_ok=True)

    def has(self, uid: str, epoch: int) -> bool:
        """Whether it is set."""
        return self._path(uid, epoch).exists()

    def all(self) -> frozenset[tuple[str, int]]:
        """Every mark there is."""
        pairs = (name.partition(".")[::2] for name in os.listdir(self._folder))
        return frozenset((uid, int(epoch)) for uid, epoch in pairs if epoch.isdecimal())

    def _path(self, uid: str, epoch: int) -> Path:
        return self._folder / f"{uid}.{epoch}"


class RunJournal:
    """Port Journal. The folder must be on a tmpfs, as /run is: its marks end with the boot."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._admitted = Marks(folder / "admitted")
        self._contact = folder / "contact"
        self._known = self._admitted.all()

    def admitted(self) -> frozenset[tuple[str, int]]:
        """(UID, epoch) that were admitted in this boot."""
        return self._known

    def admit(self, uid: str, epoch: int) -> bool:
        """Mark it; False when it was marked already (then the hook says no)."""
        new = self._admitted.put(uid, epoch)
        self._known |= {(uid, epoch)}
        return new

    def contact(self) -> float | None:
        """When contact was last had in this boot, by CLOCK_MONOTONIC; None: nothing is kept."""
        try:
            return float(self._contact.read_text())
        except (OSError, ValueError):
            return None

    def keep_contact(self, at: float) -> None:
        """Contact was had then."""
        fresh = self._contact.with_suffix(".new")
        try:
            fresh.write_text(f"{at!r}\n")
            os.replace(fresh, self._contact)
        except OSError as error:
            log.warning("cannot keep the moment of the last contact: %s", error)
