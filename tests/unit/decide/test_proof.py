from dataclasses import replace

import pytest
from tests.unit.decide.builders import beat, fenced, node, placed, report, revoked, server

from respawn.decide import proof
from respawn.model.node import FencePhase, Form, Node, NodeSpec, Registration, ReportState
from respawn.model.placement import Placement, ProofKind
from respawn.model.server import Server
from respawn.model.storage import Entry

IT = server(placement=revoked())


def booted(boot: str, machine: str = "machine-host-1", **more) -> Node:
    host = node(**more)
    registration = Registration(machine, boot)
    return replace(host, host=replace(host.host, registration=registration))


ENDED = report(state=ReportState.ENDED)


@pytest.mark.parametrize(
    ("it", "host", "expected"),
    [
        (IT, node(), None),
        (IT, None, None),
        (IT, node(fence=fenced(FencePhase.FENCING)), None),
        (IT, node(fence=fenced(FencePhase.FENCED)), ProofKind.FENCED),
        # Its successor of the same name was fenced, at other addresses.
        (IT, node(fence=fenced(FencePhase.FENCED, machine_id="another")), None),
        (IT, node(fence=fenced(FencePhase.FENCED, boot_id="boot-0")), ProofKind.FENCED),
        (IT, node(fence=fenced(FencePhase.LIFTING)), None),
        (IT, node("host-2", fence=fenced(FencePhase.FENCED)), None),
        (IT, booted("boot-2"), ProofKind.NEW_BOOT),
        (IT, node(spec=NodeSpec(ended_boots=("boot-1",))), ProofKind.CONFIRMED),
        (IT, node(spec=NodeSpec(ended_boots=("boot-0",))), None),
        (server(placement=placed()), node(spec=NodeSpec(ended_boots=("boot-1",))), None),
        (IT, booted("boot-2", machine="another"), None),
        (IT, node(reports=(ENDED,)), ProofKind.ENDED),
        (IT, node(reports=(report(state=ReportState.FAILED),)), None),
        (IT, node(reports=(report(epoch=2, state=ReportState.ENDED),)), None),
        (IT, node(reports=(report("uid-other", state=ReportState.ENDED),)), None),
        (IT, booted("boot-2", machine="another", reports=(ENDED,)), None),
        # R1: of a server that is not Revoked nothing is a proof.
        (server(placement=placed()), node(reports=(ENDED,)), None),
        (server(placement=placed()), node(fence=fenced()), None),
        (server(placement=placed()), booted("boot-2"), None),
        (server(placement=Placement()), node(fence=fenced()), None),
    ],
)
def test_by_host(it: Server, host: Node | None, expected: ProofKind | None) -> None:
    found = proof.by_host(it, host)
    assert (found.kind if found else None) is expected


@pytest.mark.parametrize(
    ("first", "second", "proves"),
    [
        (beat(boot="boot-2", counter=1), beat(boot="boot-2", counter=2), True),
        (beat(boot="boot-2", counter=2), beat(boot="boot-2", counter=2), False),
        (beat(boot="boot-1", counter=1), beat(boot="boot-1", counter=2), False),
        (beat(boot="boot-2", counter=1), beat(boot="boot-3", counter=2), False),
        (beat("host-2", "boot-2", 1), beat("host-2", "boot-2", 2), False),
    ],
)
def test_by_heart_needs_an_advance_of_another_boot(first, second, proves: bool) -> None:
    found = proof.by_heart(IT, first, second)
    assert (found is not None and found.kind is ProofKind.NEW_BOOT) is proves
    assert proof.by_heart(server(placement=placed()), first, second) is None


def test_a_fence_stands_while_each_entry_is_there_in_its_form() -> None:
    fence = fenced(addresses=("198.51.100.11", "198.51.100.99"), form=Form.IP)
    both = {Entry(a, Form.IP) for a in fence.addresses}
    assert proof.fence_stands(fence, frozenset(both))
    assert not proof.fence_stands(fence, frozenset(list(both)[:1]))
    assert not proof.fence_stands(fence, frozenset(Entry(a, Form.RANGE) for a in fence.addresses))
    soon = frozenset(replace(entry, brief=True) for entry in both)
    assert not proof.fence_stands(fence, soon), "it ends in an hour"
    assert not proof.fence_stands(replace(fence, addresses=()), frozenset(both))


def test_a_word_against_a_boot_that_lives_proves_nothing() -> None:
    named = node(spec=NodeSpec(ended_boots=("boot-1",)))
    assert proof.by_host(IT, named, disputed=True) is None
    ended = node(spec=named.spec, reports=(ENDED,))
    found = proof.by_host(IT, ended, disputed=True)
    assert found is not None and found.kind is ProofKind.ENDED, "other proofs are as good as ever"
