"""Which server bore which name, and whether nobody answers or nothing is there."""

import io
import urllib.error
from email.message import Message
from pathlib import Path

import pytest

from labkit import controlplane, memory
from labkit.memory import Remembered
from labkit.names import ServerName
from labkit.state import Folder, LabState

NAME = ServerName("customer-a", "web-1")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder("x")
    made.path = tmp_path
    return made


def test_a_server_is_known_until_it_is_forgotten(folder: Folder) -> None:
    assert memory.recall(folder, NAME) is None
    memory.remember(folder, NAME, "u-1", ["52:54:00:AA:00:01"])
    memory.remember(folder, NAME, "u-1", [])  # nothing was seen of its cards: they are kept
    assert memory.recall(folder, NAME) == Remembered("u-1", ["52:54:00:aa:00:01"])
    memory.remember(folder, NAME, "u-2", [])  # another server of that name
    assert memory.recall(folder, NAME) == Remembered("u-2", [])
    memory.forget(folder, NAME)
    memory.forget(folder, NAME)
    assert memory.recall(folder, NAME) is None


def refusal(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("url", code, "text", Message(), io.BytesIO())


@pytest.mark.parametrize(
    "said", [refusal(500), refusal(403), TimeoutError(), urllib.error.URLError("x"), b"{", b""]
)
def test_silence_is_not_taken_for_absence(
    folder: Folder, said: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> object:
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr(controlplane, "_fetch", fetch)
    with pytest.raises(controlplane.Silent):
        controlplane.get(folder, LabState("x"), "/path")


def test_what_is_there_is_returned_and_what_is_not_is_none(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controlplane, "_fetch", lambda *_: b'{"a": 1}')
    assert controlplane.get(folder, LabState("x"), "/path") == {"a": 1}

    def absent(*_: object) -> bytes:
        raise refusal(404)

    monkeypatch.setattr(controlplane, "_fetch", absent)
    assert controlplane.get(folder, LabState("x"), "/path") is None
