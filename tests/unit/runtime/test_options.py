"""The command line of `respawn operator`, and of `respawn`."""

import os
import signal
from pathlib import Path

import pytest

from respawn.cli import main
from respawn.decide.election import Terms
from respawn.runtime import options, points


def test_defaults_are_those_of_the_documentation() -> None:
    given = options.parse(["--name", "operator-1"], {})
    assert given.name == "operator-1"
    assert given.terms == Terms(5.0, 3.5, 1.0)
    assert given.point is points.nothing


def test_times() -> None:
    words = ["--lease-duration", "3s", "--renew-deadline", "2s", "--retry-period", "500ms"]
    assert options.parse(words, {}).terms == Terms(3.0, 2.0, 0.5)


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["--lease-duration", "5"], {}, "not a time such as 5s"),
        (["--lease-duration", "3s"], {}, "--renew-deadline"),
        (["--name", "Operator 1"], {}, "must be of a-z"),
        (["--libvirt-pki", "/no/such/folder"], {}, "no such folder"),
        (["--nonsense"], {}, "--nonsense"),
        ([], {"RESPAWN_CRASH_AFTER": "lunch"}, "must be one of protect"),
        ([], {"RESPAWN_FREEZE_AFTER": "lunch"}, "must be one of protect"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(
    words: list[str], environment: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        options.parse(words, environment)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "ends"), [("RESPAWN_CRASH_AFTER", "exit 70"), ("RESPAWN_FREEZE_AFTER", "stopped")]
)
def test_a_point_is_taken_from_the_environment(variable: str, ends: str) -> None:
    point = options.parse([], {variable: "Placed"}).point
    child = os.fork()
    if child == 0:
        point("Fenced")
        point("Placed")
        point("Placed")  # a frozen one goes on, and is not stopped again
        os._exit(0)
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGCONT)
        assert os.waitpid(child, 0)[1] == 0
        assert ends == "stopped"
    else:
        assert f"exit {os.waitstatus_to_exitcode(status)}" == ends


def test_unknown_words_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["explode"]) == 2
    assert "unknown word 'explode'" in capsys.readouterr().err
    assert main.main([]) == 2
    assert main.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("operator", "agent", "heart", "install-hook"))


def test_a_useless_kubeconfig_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = pytest.importorskip("respawn.runtime.process")
    from respawn.runtime.outside import Outside

    monkeypatch.setattr(process.steplog, "set_up", lambda level: None)
    given = options.parse(["--kubeconfig", str(tmp_path / "none")], {})

    def never() -> None:
        raise AssertionError

    assert process.main(given, Outside(never, never)) == 2
    assert "no kubeconfig" in caplog.text
