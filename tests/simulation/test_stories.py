"""Every scripted run ends as its docstring says, with no invariant broken on the way."""

import pytest
from tests.simulation import counterexamples, scenarios
from tests.simulation.lab import play


@pytest.mark.parametrize("name", scenarios.STORIES)
def test_story(name: str) -> None:
    function, lab = scenarios.STORIES[name]
    play(function, **lab)


@pytest.mark.parametrize("name", counterexamples.STORIES)
def test_counterexample_is_harmless(name: str) -> None:
    function, lab = counterexamples.STORIES[name]
    play(function, **lab)
