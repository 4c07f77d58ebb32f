"""Random runs; replay one with `python -m tests.simulation --seed N --trace`."""

import os
import subprocess
import sys

import pytest
from tests.simulation import chaos
from tests.simulation.mutants import ROOT

QUICK = 8
"""Seeds of the quick suite; `python -m tests.simulation --seeds 500` plays more."""


@pytest.mark.parametrize("seed", range(QUICK))
def test_random_run(seed: int) -> None:
    chaos.play(seed)


def test_a_seed_replays_to_the_letter() -> None:
    """Whatever order Python's sets have in a process."""
    traces = {_trace(hash_seed) for hash_seed in ("1", "2")}
    assert len(traces) == 1


def _trace(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "operator")}
    command = [sys.executable, "-m", "tests.simulation", "--seed", "3", "--trace"]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
