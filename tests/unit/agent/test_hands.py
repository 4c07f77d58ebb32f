"""What the agent makes of the words it hears about how domains ended."""

from typing import Any

import pytest
from tests.unit.decide.agent.builders import ME, UID

from respawn.agent.hands import Hands
from respawn.agent.state import AgentState
from respawn.model.conditions import Reason
from respawn.model.host import Exit

VANISHED = Exit(UID, 2, Reason.VANISHED)
FENCED = Exit(UID, 2, Reason.HOST_FENCED)
DIED = Exit(UID, 2, Reason.QEMU_DIED)


@pytest.mark.parametrize(
    ("words", "believed"),
    [
        ((DIED,), DIED),
        ((VANISHED, DIED), DIED),
        ((FENCED, DIED), FENCED),  # libvirt takes our own kill for a death
        ((DIED, VANISHED), DIED),
        ((Exit(UID, 1, Reason.DESTROYED), DIED), DIED),
        ((DIED, Exit(UID, 1, Reason.DESTROYED)), DIED),
    ],
)
def test_the_first_real_word_about_the_newest_epoch_stands(
    words: tuple[Exit, ...], believed: Exit
) -> None:
    nothing: Any = None
    state = AgentState(ME, nothing)
    hands = Hands(
        state=state, cluster=nothing, hypervisor=nothing, host=nothing, locks=nothing,
        clock=nothing, pools=dict,
    )  # fmt: skip
    for word in words:
        hands.heard(word)
    assert state.exits == {UID: believed}
