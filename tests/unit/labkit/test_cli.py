"""Words of `hack/lab` to orders."""

import re
from subprocess import CalledProcessError

import pytest

from labkit import commands, names
from labkit.cli import USAGE, main, parse
from labkit.errors import Unknown
from labkit.guest import build
from labkit.names import ServerName, check_lab_name, host_index, planes


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "x", "host", "cut", "host-1", "storage"],
        ["host", "--name=x", "cut", "host-1", "storage"],
        ["host", "cut", "host-1", "storage", "--name", "x"],
    ],
)
def test_the_name_stands_anywhere(words: list[str]) -> None:
    order = parse(words)
    assert order.lab == "x" and order.words == ["host", "cut", "host-1", "storage"]


def test_the_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_NAME", "other")
    assert parse(["status"]).lab == "other"
    assert parse(["status", "--name", "mine"]).lab == "mine"


def test_words_of_another_command_are_its_own() -> None:
    order = parse(["kubectl", "get", "vs", "-o", "yaml", "--name", "not-ours"])
    assert order.rest == ["get", "vs", "-o", "yaml", "--name", "not-ours"] and order.options == {}
    order = parse(["host", "exec", "host-1", "--name", "x", "--", "ls", "--name", "y"])
    assert (order.words, order.rest) == (["host", "exec", "host-1"], ["ls", "--name", "y"])
    assert order.lab == "x"
    assert parse(["--name", "x", "kubectl", "--", "get"]).rest == ["get"]


@pytest.mark.parametrize("words", [["-o", "json"], ["-ojson"], ["-o=json"], ["--output", "json"]])
def test_json_is_asked_for_in_the_usual_ways(words: list[str]) -> None:
    assert parse(["status", *words]).json


@pytest.mark.parametrize("words", [["status", "-o", "yaml"], ["up", "--hosts"], ["up", "--frob"]])
def test_what_is_not_understood_is_refused(words: list[str]) -> None:
    with pytest.raises(Unknown):
        parse(words)


@pytest.mark.parametrize("text", ["0", "181", "many", "-1", "3.5", "²", "٣", "", "1" * 5000])
def test_numbers_have_their_bounds(text: str) -> None:
    with pytest.raises(Unknown):
        parse(["up", f"--hosts={text}"]).number("--hosts", 3, 1, 180)


@pytest.mark.parametrize("name", ["", "Lab", "1a", "a" * 17, "a_b", "a/b", "ä", "a\n"])
def test_a_bad_name_of_a_lab_is_refused(name: str) -> None:
    with pytest.raises(Unknown):
        check_lab_name(name)


def test_good_names_pass() -> None:
    assert [check_lab_name(n) for n in ("a", "a-1", "a" * 16)] == ["a", "a-1", "a" * 16]
    assert host_index("host-180") == 180
    for bad in ("host-0", "host-181", "host-01", "host", "host-1 "):
        with pytest.raises(Unknown):
            host_index(bad)


def test_all_stands_for_every_plane() -> None:
    assert planes(["all"]) == ["management", "storage", "migration", "tenant"]
    assert planes(["tenant", "storage"]) == ["storage", "tenant"]
    with pytest.raises(Unknown):
        planes(["sideways"])


@pytest.mark.parametrize("words", [["--name", ""], ["--name="]])
def test_an_empty_name_is_no_name(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_NAME", "other")
    with pytest.raises(Unknown):
        _ = parse(["status", *words]).lab
    monkeypatch.setenv("LAB_NAME", "")
    assert parse(["status"]).lab == "lab"


def test_no_word_of_another_command_is_dropped() -> None:
    for words in (["--", "ls", "-l"], ["ls", "--", "-l"]):
        assert parse(["host", "exec", "host-1", *words]).command(3) == ["ls", "-l"]
    assert parse(["ceph", "exec", "ceph", "--", "-s"]).command(2) == ["ceph", "-s"]


def test_seconds_may_have_a_fraction() -> None:
    assert parse(["ping", "a/b", "--seconds", "1.5"]).seconds("--seconds", 60) == 1.5
    assert parse(["ping", "a/b", "--seconds", "60"]).seconds("--seconds", 60) == 60
    for bad in ("0", "0.0", "61", "-1", "soon", "nan", "1e1", "", "1.", "²"):
        with pytest.raises(Unknown):
            parse(["ping", "a/b", f"--seconds={bad}"]).seconds("--seconds", 60)


@pytest.mark.parametrize(
    "text", ["a", "a/", "/b", "a/b/c", "a/--help", "-a/b", "A/b", "a/b.c", "a/b_"]
)
def test_what_cannot_be_a_server_is_refused(text: str) -> None:
    with pytest.raises(Unknown):
        ServerName.parse(text)
    assert ServerName.parse("customer-a/web-1") == ServerName("customer-a", "web-1")


def test_without_words_the_answer_is_empty_and_the_usage_is_a_complaint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "Exit codes" in said.err
    assert main(["--help"]) == 0
    said = capsys.readouterr()
    assert "Exit codes" in said.out and said.err == ""


@pytest.mark.parametrize("words", [["heart", "--help"], ["heart", "stop", "-h"], ["help", "heart"]])
def test_help_of_one_command_is_about_that_one(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("  agent|heart|libvirtd stop|") and "--name NAME" in said
    assert "power-off" not in said and "snapshot" not in said


def test_help_of_an_unknown_command_is_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing", "--help"]) == 0
    assert capsys.readouterr().out.strip() == USAGE


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (build.BuildError("no kernel:\ninstall one"), "hack/lab: no kernel: install one\n"),
        (KeyError("uid"), r"hack/lab: KeyError: 'uid' \(test_cli.py:[0-9]+\)\n"),
        (CalledProcessError(1, ["pip"]), r"hack/lab: CalledProcessError: .*pip.*\)\n"),
    ],
)
def test_an_error_that_nobody_thought_of_is_one_line_and_1(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: object) -> int:
        raise error

    monkeypatch.setattr("labkit.commands.run", run)
    assert main(["status"]) == 1
    assert re.fullmatch(line, capsys.readouterr().err)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("12", 12), ("01", None), ("-1", None)])
def test_a_number_has_one_way_to_be_written(text: str, value: int | None) -> None:
    assert names.number(text) == value


def test_what_is_tried_next_is_possible_in_that_lab() -> None:
    def lines(hosts: list[str], bare: bool = False) -> str:
        return "\n".join(commands._try_next(parse(["up", "--name", "b"]), hosts, bare))

    assert "host power-off host-3 --name b " in lines(["host-2", "host-3"])
    assert "power-off" not in lines(["host-1"]) and "guest kill" in lines(["host-1"])
    assert "host power-cycle host-1 --name b " in lines(["host-1"], bare=True)
