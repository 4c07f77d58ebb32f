"""The demo's words, and what it takes for proof."""

import datetime
from types import SimpleNamespace

import pytest

pytest.importorskip("rbd", reason="Debian's python3-rbd")
pytest.importorskip("libvirt", reason="Debian's python3-libvirt")

from labkit import demo, telling
from labkit.errors import LabError


@pytest.mark.parametrize(
    "words",
    [
        ["now"], ["--bare"], ["-o", "json"], ["--seconds", "3"], ["--profile", "reckless"],
        ["--hosts", "1"], ["--name", ""], ["--frob"], ["--", "x"],
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_is_started(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "show", lambda _: pytest.fail("it was started"))
    assert demo.main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1


def test_help_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "show", lambda _: pytest.fail("it was started"))
    assert demo.main(["--help"]) == 0
    assert "hack/demo" in capsys.readouterr().out


def test_only_what_was_looked_at_and_is_empty_is_proof() -> None:
    demo.judge([], [], [])
    for findings in (([7], [], []), ([], None, []), ([], [], None), (None, [1], [])):
        with pytest.raises(LabError):
            demo.judge(*findings)


def test_boots_of_an_earlier_showing_do_not_count() -> None:
    off = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
    early, late = "2026-01-01T11:59:59.000Z", "2026-01-01T12:00:09.500Z"
    assert demo.boots_after({"boots": [early]}, off) == []
    assert demo.boots_after({"boots": None}, off) == []
    (found,) = demo.boots_after({"boots": [early, late]}, off)
    assert (found - off).total_seconds() == 9.5


def test_a_long_wait_says_so_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = [100.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: at[0])

    def slept(seconds: float) -> None:
        at[0] += seconds

    monkeypatch.setattr(telling.time, "sleep", slept)
    assert telling.wait_for("it runs", lambda: at[0] > 125, 60)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and "10 s" in said[0] and "20 s" in said[1] and "(25" in said[2]
    with pytest.raises(LabError, match="not within 60 s: it rests"):
        telling.wait_for("it rests", lambda: None, 60)


@pytest.mark.parametrize("end", [LabError("it did not come back"), KeyboardInterrupt()])
def test_an_early_end_says_which_host_is_off(
    end: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = SimpleNamespace(state=SimpleNamespace(name="x"))
    with pytest.raises(type(end)), demo._left_off(lab, "host-2"):  # type: ignore[arg-type]
        raise end
    assert "hack/lab host power-on host-2 --name x" in capsys.readouterr().err
