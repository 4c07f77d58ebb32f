"""Words of `hack/lab` to orders."""

import pytest

from labkit.cli import parse
from labkit.errors import Unknown
from labkit.names import check_lab_name, host_index, planes


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


@pytest.mark.parametrize("text", ["0", "181", "many", "-1", "3.5"])
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
