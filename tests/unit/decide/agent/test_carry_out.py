from dataclasses import replace

import pytest
from tests.unit.decide.agent.builders import ABSENT, UID, contact, domain, present, view
from tests.unit.decide.builders import T0, fenced, node, placed, revoked, server

from respawn.decide.agent import carry_out
from respawn.model import host
from respawn.model.host import DomainState, Look
from respawn.model.node import FencePhase, Form, Registration
from respawn.model.placement import Phase, Placement
from respawn.model.storage import Entry

HERE = server(placement=placed())
STOP = server(placement=revoked(grace=30.0))
LOST = server(placement=revoked())
MOVED = server(placement=placed(2, "host-2"))
FREE = server(placement=Placement(Phase.FREE, 1))
BANNED = contact(blocklist=frozenset({Entry("198.51.100.11", Form.IP)}))


def step(v, now: float = T0):
    return carry_out.decide(v, UID, now).step


@pytest.mark.parametrize(
    ("v", "expected"),
    [
        # absent
        (view(HERE), host.Create),
        (view(HERE, look=None), None),
        (view(server(placement=placed(node="host-2"))), None),
        (view(server(placement=placed(boot="boot-0"))), None),
        (view(HERE, admitted=frozenset({(UID, 1)})), None),
        (view(HERE, admitted=frozenset({(UID, 0)})), host.Create),
        (view(HERE, creating=frozenset({(UID, 1)})), None),
        (view(HERE, failures={(UID, 1): carry_out.CREATES}), None),
        (view(HERE, node=node(fence=fenced(FencePhase.FENCING))), None),
        (view(HERE, node=None), None),
        (view(LOST), host.ConfirmEnd),
        (view(LOST, ended={UID: 1}), None),
        (view(LOST, ended={UID: 0}), host.ConfirmEnd),
        (view(FREE), None),
        (view(HERE, look=replace(ABSENT, processes=(7,))), None),
        (view(LOST, look=replace(ABSENT, processes=(7,))), None),
        # present
        (view(HERE, look=present()), None),
        (view(LOST, look=present()), host.Kill),
        (view(STOP, look=present()), host.ShutDown),
        (view(STOP, look=present(), shutdowns={(UID, 1): T0 - 4}), None),
        # a guest that was still booting has missed the first press of its power button
        (view(STOP, look=present(), shutdowns={(UID, 1): T0 - 5}), host.ShutDown),
        (
            view(STOP, look=present(), shutdowns={(UID, 1): T0 - 29}, presses={(UID, 1): T0 - 4}),
            None,
        ),
        (view(STOP, look=present(), shutdowns={(UID, 1): T0 - 30}), host.Kill),
        (view(MOVED, look=present()), host.Kill),
        (view(FREE, look=present()), host.Kill),
        (view(server(placement=placed(2)), look=present()), host.Kill),
        # no order is no order
        (view(None, look=present()), None),
        (view(HERE, look=present(2)), None),
        (view(LOST, look=present(2)), None),
        # fenced, blocklisted
        (view(HERE, look=present(), node=node(fence=fenced())), host.Kill),
        (view(None, look=present(), node=node(fence=fenced())), host.Kill),
        (view(HERE, look=present(), node=node(fence=fenced(FencePhase.FENCING))), None),
        (view(HERE, look=present(), contact=BANNED), host.Kill),
        (view(HERE, look=present(), contact=replace(BANNED, blocklist_at=T0 - 200)), None),
    ],
)
def test_the_step(v, expected: type | None) -> None:
    found = step(v)
    assert type(found) is (expected or type(None)), found


def test_a_grace_is_waited_for() -> None:
    v = view(STOP, look=present(), shutdowns={(UID, 1): T0 - 29.5}, presses={(UID, 1): T0 - 1})
    assert carry_out.decide(v, UID, T0).next_check == T0 + 0.5


@pytest.mark.parametrize(
    "v",
    [
        view(HERE, look=Look(UID, processes=(7,))),  # a QEMU without a domain
        view(HERE, look=present(state=DomainState.PAUSED), contact=contact(60.0)),
        view(HERE, look=present(state=DomainState.STARTING), contact=contact(60.0)),
    ],
)
def test_what_cannot_be_changed_is_looked_at_again_later_and_not_at_once(v) -> None:
    found = carry_out.decide(v, UID, T0)
    assert found.step is None and found.next_check == T0 + carry_out.LOOK_AGAIN


def test_a_domain_of_another_boot_must_end() -> None:
    """Its placement is for this boot: what says it is of another was not admitted by it."""
    assert carry_out.must_end(HERE, domain(1, boot="boot-0"), "host-1")
    assert not carry_out.must_end(HERE, domain(1), "host-1")
    assert not carry_out.must_end(HERE, domain(1, uid="uid-other"), "host-1")


# Pause and resume.


@pytest.mark.parametrize(
    ("it", "state", "silent", "expected"),
    [
        (HERE, DomainState.RUNNING, 4.9, None),
        (HERE, DomainState.RUNNING, 5.0, host.Suspend),
        (HERE, None, 5.0, host.Suspend),  # libvirtd is silent
        (HERE, DomainState.PAUSED, 5.0, None),
        (HERE, DomainState.STARTING, 5.0, None),
        (None, DomainState.RUNNING, 5.0, host.Suspend),
        (LOST, DomainState.RUNNING, 60.0, host.Kill),
    ],
)
def test_without_contact_it_pauses(it, state, silent, expected) -> None:
    v = view(it, look=present(state=state), contact=contact(silent, api_answers=False))
    found = step(v)
    assert type(found) is (expected or type(None)), found


def test_the_later_of_both_signs_counts() -> None:
    v = view(HERE, look=present(), contact=replace(contact(60), beaten_at=T0 - 1))
    assert step(v) is None
    v = view(HERE, look=present(), contact=replace(contact(60), renewed_at=T0 - 1))
    assert step(v) is None


@pytest.mark.parametrize(
    ("silent", "age", "expected"),
    [
        (60.0, 0.0, None),  # no word for a minute, but this agent has not tried yet
        (60.0, 0.39, None),
        (60.0, 0.41, host.Suspend),
        (4.9, 0.41, None),
        (5.1, 600.0, host.Suspend),
    ],
)
def test_a_new_agent_counts_on_after_its_first_try(silent, age, expected) -> None:
    silence = contact(silent, api_answers=False, begun_at=T0 - age)
    found = step(view(HERE, look=present(), contact=silence))
    assert type(found) is (expected or type(None)), found


RESUMABLE = contact(0.5, ceph_since=T0 - 2, blocklist_at=T0 - 1, api_answers=False)


@pytest.mark.parametrize(
    ("change", "resumes"),
    [
        ({}, True),
        ({"contact": contact(6, ceph_since=T0 - 2)}, False),
        ({"contact": replace(RESUMABLE, ceph_since=None)}, False),
        ({"contact": replace(RESUMABLE, blocklist_at=None)}, False),
        ({"contact": replace(RESUMABLE, blocklist_at=T0 - 3)}, False),
        ({"contact": replace(RESUMABLE, api_answers=True)}, True),
        (
            {
                "contact": replace(RESUMABLE, api_answers=True),
                "node": node(fence=fenced(FencePhase.FENCING)),
            },
            False,
        ),
        ({"contact": replace(RESUMABLE, api_answers=True), "node": None}, False),
        ({"looks": {UID: present(state=DomainState.PAUSED, by_us=False)}}, False),
    ],
)
def test_it_runs_on_only_when_ceph_and_if_it_answers_the_api_allow(change, resumes) -> None:
    paused = present(state=DomainState.PAUSED, by_us=True)
    v = replace(view(HERE, look=paused, contact=RESUMABLE), **change)
    assert isinstance(step(v), host.Resume) is resumes


def test_new_registration_of_another_boot_stops_creates() -> None:
    other = node()
    registration = Registration("machine-host-1", "boot-2")
    other = replace(other, host=replace(other.host, registration=registration))
    assert step(view(HERE, node=other)) is None
