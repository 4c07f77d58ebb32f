from dataclasses import replace

import pytest
from tests.unit.decide.agent.builders import ABSENT, ME, UID, present, view
from tests.unit.decide.builders import fenced, node, placed, revoked, server

from respawn.decide.agent import rejoin, report
from respawn.decide.agent.carry_out import CREATES, untold
from respawn.model.conditions import Reason
from respawn.model.host import DomainState, Exit, Identity
from respawn.model.node import (
    Capacity,
    FencePhase,
    HostStatus,
    Registration,
    ReportState,
    ServerReport,
)

HERE = server(placement=placed())
LOST = server(placement=revoked())
ADMITTED = frozenset({(UID, 1)})
REGISTERED = Registration(ME.machine_id, ME.boot_id, ME.storage)
ROOMY = Capacity(cores=8, memory=1 << 33)
BY_HAND = present(state=DomainState.PAUSED)
BY_US = replace(BY_HAND, paused_by_us=True)


@pytest.mark.parametrize(
    ("v", "state", "reason"),
    [
        (view(HERE, look=present()), ReportState.RUNNING, ""),
        (view(HERE, look=present(state=DomainState.STARTING)), ReportState.STARTING, ""),
        (view(HERE, look=BY_US), ReportState.PAUSED, Reason.PAUSED),
        (view(HERE, look=BY_HAND), ReportState.PAUSED, Reason.SUSPENDED),
        (view(None, look=present()), ReportState.RUNNING, ""),
        (view(LOST, look=present()), ReportState.RUNNING, ""),
        (view(HERE), None, ""),
        (view(HERE, look=None), None, ""),
        (view(HERE, admitted=ADMITTED), ReportState.FAILED, Reason.VANISHED),
        (view(HERE, admitted=ADMITTED, creating=ADMITTED), None, ""),
        (
            view(HERE, admitted=ADMITTED, exits={UID: Exit(UID, 1, Reason.QEMU_DIED)}),
            ReportState.FAILED,
            Reason.QEMU_DIED,
        ),
        (view(HERE, exits={UID: Exit(UID, 0, Reason.QEMU_DIED)}), None, ""),
        (view(HERE, failures={(UID, 1): CREATES}), ReportState.FAILED, Reason.START_FAILED),
        (view(LOST), None, ""),
        (view(LOST, ended={UID: 1}), ReportState.ENDED, ""),
        # Ended is said of a revoked epoch alone, and of that one.
        (view(HERE, ended={UID: 1}), None, ""),
        (view(LOST, ended={UID: 0}), None, ""),
        (view(server(placement=placed(boot="boot-0")), admitted=ADMITTED), None, ""),
        (view(server(placement=placed(node="host-2")), admitted=ADMITTED), None, ""),
    ],
)
def test_what_is_said_of_a_server(v, state: ReportState | None, reason: str) -> None:
    found = report.report(v, UID, None)
    assert (found.state if found else None) is state
    assert found is None or found.reason == reason


def test_details_are_of_that_epoch_only() -> None:
    details = ServerReport(UID, 1, ReportState.RUNNING, addresses=("192.0.2.5",))
    v = view(HERE, look=present())
    found = report.report(v, UID, details)
    assert found is not None and found.addresses == ("192.0.2.5",)
    stale = report.report(v, UID, replace(details, epoch=0))
    assert stale is not None and stale.addresses == ()


def test_an_agent_that_has_not_looked_yet_takes_nothing_back() -> None:
    told = ServerReport(UID, 1, ReportState.RUNNING, addresses=("192.0.2.5",))
    before = node(host=HostStatus(registration=REGISTERED, capacity=ROOMY, servers=(told,)))
    early = replace(view(HERE, look=None), scanned=False)
    said = report.status(early, before, {})
    assert (said.servers, said.capacity) == ((told,), ROOMY)
    booted = replace(early, me=replace(ME, boot_id="boot-2"))
    assert report.status(booted, before, {}).servers == ()


def test_what_was_said_stands_until_that_server_has_been_looked_at() -> None:
    """How it ended is waited for; meanwhile nothing else is said of it."""
    told = ServerReport(UID, 1, ReportState.RUNNING, addresses=("192.0.2.5",))
    before = node(host=HostStatus(registration=REGISTERED, servers=(told,)))
    not_looked = view(HERE, look=None, admitted=ADMITTED)
    assert report.status(not_looked, before, {}).servers == (told,)
    booted = replace(not_looked, me=replace(ME, boot_id="boot-2"))
    assert report.status(booted, before, {}).servers == ()
    later = view(server(placement=placed(2)), look=None)
    assert report.status(later, before, {}).servers == ()
    moved = view(server(placement=placed(node="host-2")), look=None)
    assert report.status(moved, before, {}).servers == ()


@pytest.mark.parametrize(
    ("v", "epoch"),
    [
        (view(HERE, admitted=ADMITTED), 1),
        (view(HERE, admitted=ADMITTED, exits={UID: Exit(UID, 0, Reason.QEMU_DIED)}), 1),
        (view(HERE, admitted=ADMITTED, exits={UID: Exit(UID, 1, Reason.QEMU_DIED)}), None),
        (view(HERE, admitted=ADMITTED, creating=ADMITTED), None),
        (view(HERE), None),
        (view(LOST, admitted=ADMITTED), None),  # the user waits for its end, and not for why
        (view(server(placement=placed(boot="boot-0")), admitted=ADMITTED), None),
        (view(None, admitted=ADMITTED), None),
    ],
)
def test_whose_ending_is_waited_for(v, epoch: int | None) -> None:
    assert untold(v, UID) == epoch


def test_an_agent_that_was_just_started_repeats_what_was_known_of_the_same_epoch() -> None:
    told = ServerReport(UID, 1, ReportState.RUNNING, addresses=("192.0.2.5",))
    before = node(host=HostStatus(servers=(told,)))
    v = view(HERE, look=present())
    assert report.status(v, before, {}).servers[0].addresses == ("192.0.2.5",)
    heard = replace(told, addresses=("192.0.2.6",))
    assert report.status(v, before, {UID: heard}).servers[0].addresses == ("192.0.2.6",)
    later = view(server(placement=placed(2)), look=present(2))
    assert report.status(later, before, {}).servers[0].addresses == ()


def test_addresses_of_one_boot_add_up_and_end_with_it() -> None:
    before = node(host=HostStatus(registration=Registration("machine-host-1", "boot-1", ("a",))))
    v = replace(view(), me=Identity("host-1", "machine-host-1", "boot-1", ("b",)))
    assert report.registered(v, before).addresses == ("a", "b")
    v = replace(view(), me=Identity("host-1", "machine-host-1", "boot-2", ("b",)))
    assert report.registered(v, before).addresses == ("b",)


def test_a_new_boot_is_not_clean_by_what_an_old_one_said() -> None:
    before = node(fence=fenced())
    before = replace(before, host=replace(before.host, clean_generation=1))
    assert report.status(view(), before, {}).clean_generation == 1
    booted = replace(view(), me=replace(ME, boot_id="boot-2"))
    assert report.status(booted, before, {}).clean_generation == 0


@pytest.mark.parametrize(
    ("host", "boot", "owed"),
    [
        (node(fence=fenced(generation=3)), "boot-1", 3),
        (node(fence=fenced(FencePhase.FENCING, generation=3)), "boot-1", None),
        (node(fence=fenced(FencePhase.LIFTING, generation=3)), "boot-1", None),
        (node(fence=fenced(generation=3)), "boot-2", None),
        (node(), "boot-1", None),
        (None, "boot-1", None),
    ],
)
def test_for_which_fence_a_clean_report_is_owed(host, boot: str, owed: int | None) -> None:
    assert rejoin.pending(host, boot) == owed


def test_it_is_owed_once() -> None:
    host = node(fence=fenced(generation=3))
    told = replace(host, host=replace(host.host, clean_generation=3))
    older = replace(host, host=replace(host.host, clean_generation=2))
    assert rejoin.pending(told, "boot-1") is None and rejoin.pending(older, "boot-1") == 3


def test_clean_is_nothing_of_ours_in_any_state_and_no_qemu_with_an_image() -> None:
    assert rejoin.must_kill(view(HERE, look=present())) == (UID,)
    starting = present(state=DomainState.STARTING)
    assert rejoin.must_kill(view(HERE, look=starting)) == (UID,)
    assert rejoin.must_kill(view(HERE, look=ABSENT)) == ()
    assert rejoin.is_clean((), ()) and not rejoin.is_clean((UID,), ())
    assert not rejoin.is_clean((), (4711,))
