"""Every scripted run ends as its docstring says, with no invariant broken on the way."""

import pytest
from tests.simulation.lab import play
from tests.simulation.stories import STORIES


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str) -> None:
    function, lab = STORIES[name]
    play(function, **lab)
