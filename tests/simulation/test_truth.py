"""The invariants themselves notice what they are for."""

from dataclasses import replace

import pytest
from tests.simulation.truth import WELL, Instance, Truth, Violation
from tests.unit.decide.builders import fenced, node, placed, server

from respawn.model.node import FencePhase

UID = "uid-web-1"


class Ground:
    """One server, placed on host-1 at epoch 3, and a clock."""

    def __init__(self) -> None:
        self.at = 100.0
        self.servers = {UID: server(placement=placed(epoch=3))}
        self.nodes = {"host-1": node()}
        self.truth = Truth(
            lambda: self.at, lambda: self.servers, lambda: self.nodes, lambda: frozenset()
        )

    def opens(self, epoch: int = 3, host: str = "host-1", boot: str = "boot-1") -> None:
        instance = Instance(UID, epoch, host, boot, "198.51.100.11:0/1")
        self.truth.instances = [instance]
        self.truth.opened(instance)

    def fence(self) -> None:
        self.nodes["host-1"] = replace(node(), fence=fenced(FencePhase.FENCING))
        self.truth.check()


def test_an_epoch_starts_once_where_it_was_placed() -> None:
    Ground().opens()
    for elsewhere in ({"host": "host-2"}, {"boot": "boot-2"}, {"epoch": 4}):
        with pytest.raises(Violation, match="S3"):
            Ground().opens(**elsewhere)  # type: ignore[arg-type]
    again = Ground()
    again.opens()
    with pytest.raises(Violation, match="second start"):
        again.opens()


@pytest.mark.parametrize(("well_for", "broken"), [(WELL + 1, True), (WELL - 1, False)])
def test_no_host_is_fenced_that_was_well(well_for: float, broken: bool) -> None:
    ground = Ground()
    ground.opens()
    ground.at = 200.0
    ground.truth.check()  # not well until now
    ground.truth.well = lambda host: True
    ground.at += well_for
    ground.truth.check()
    if broken:
        with pytest.raises(Violation, match="S5"):
            ground.fence()
    else:
        ground.fence()
