"""What people are told is explained where they look for it."""

from pathlib import Path

import pytest

from respawn.adapters.kubernetes.telling import _WAITS
from respawn.decide.node_sentences import HELD, SENTENCES
from respawn.model.conditions import Reason

DOCS = Path(__file__).parents[2] / "docs"
OBSTACLES = {Reason.NO_ADDRESSES, Reason.ADDRESS_IN_USE, Reason.ALL_FORMS_TAINTED}
OF_NODES = {reason for reason, _ in SENTENCES.values()} | HELD.keys() | OBSTACLES
OTHER = {
    *(Reason.FIRST_SIGNS_AWAITED, Reason.HEART_DOWN, Reason.HYPERVISOR_DOWN),
    *(Reason.FENCING, Reason.FENCED, Reason.LIFTING, Reason.NOT_FENCED, Reason.FENCE_GONE),
    *(Reason.NOT_REGISTERED, Reason.CONFIRMED_BUT_ALIVE, Reason.HOST_REBOOTED),
}


@pytest.mark.parametrize(
    ("page", "reasons"), [("nodes.md", OF_NODES | OTHER), ("servers.md", _WAITS)]
)
def test_every_reason_is_explained(page: str, reasons: set[Reason]) -> None:
    text = (DOCS / page).read_text()
    assert sorted(r for r in reasons if f"`{r}`" not in text) == []
