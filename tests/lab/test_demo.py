"""The first of README's two commands, as a newcomer runs it."""

import subprocess

import pytest

from labkit.host import PROJECT

pytestmark = [pytest.mark.lab, pytest.mark.extended]
NAME = "demo"


def test_it_shows_a_server_that_comes_back_with_every_record() -> None:
    demo = [PROJECT / "hack/demo", "--name", NAME, "--profile", "fast"]
    try:
        shown = subprocess.run(demo, capture_output=True, text=True, timeout=400)
        told = shown.stdout + shown.stderr
        assert shown.returncode == 0, told
        for word in (
            "proof: Fenced",
            "acknowledged but lost: none",
            "another writer left behind: none",
            "more than one writer: none",
            "downtime, power-off to the first record",
            f"hack/lab down --name {NAME}",
        ):
            assert word in told, told
    finally:
        subprocess.run([PROJECT / "hack/lab", "down", "--name", NAME], check=True, timeout=120)
