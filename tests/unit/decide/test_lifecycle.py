from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.decide.builders import (
    GIB,
    T0,
    WALL,
    beat,
    fenced,
    node,
    now,
    placed,
    report,
    revoked,
    server,
    sight,
    world,
)

from respawn.decide import case, decide
from respawn.model import actions
from respawn.model.base import Key, Kind
from respawn.model.conditions import Condition, Reason, Type, find, is_true
from respawn.model.node import FencePhase, NodeSpec, Registration, ReportState
from respawn.model.placement import Phase, Placement
from respawn.model.server import (
    Disk,
    DiskStatus,
    Recovery,
    RecoveryMode,
    RunPolicy,
    Server,
    Setback,
)
from respawn.model.sight import Answer, Former, Sight, Testimony
from respawn.model.storage import Pool
from respawn.model.world import Trouble

DEAD = sight(9, 9, testimony=Testimony(T0 - 1, Answer.SILENCE))
HALTED = {"run_policy": RunPolicy.HALTED}
RERUN = {"run_policy": RunPolicy.RERUN_ON_FAILURE}
DELETED = Placement(Phase.DELETED, 1)
FREE = Placement(Phase.FREE, 1)


def nodes(*reports, **more):
    return (node("host-1", reports=reports, **more), node("host-2"), node("host-3"))


def decision(it: Server, *reports, at: float = 0.0, hosts=None, **more):
    w = world(it, nodes=hosts or nodes(*reports), **more)
    return decide(w, Key(Kind.SERVER, it.uid), now(at))


def told(it: Server, *reports, **more):
    """The step once the status tells what it should."""
    outlook = decision(it, *reports, **more).outlook
    status = replace(
        it.status,
        conditions=outlook.conditions,
        phase=outlook.phase,
        observed_generation=it.generation,
        addresses=outlook.addresses or (),
        recovery=outlook.recovery or it.status.recovery,
    )
    return decision(replace(it, status=status), *reports, **more).step


ENDED = report(state=ReportState.ENDED)
RUNS = report(state=ReportState.RUNNING)
DIED = report(state=ReportState.FAILED, reason=Reason.QEMU_DIED)
OFF = report(state=ReportState.FAILED, reason=Reason.GUEST_SHUTDOWN)


@pytest.mark.parametrize(
    ("it", "reports", "expected"),
    [
        # Free
        (server(protected_by_us=False), (), actions.Protect),
        (server(status={"disks": ()}), (), actions.EnsureDisks),
        (server(), (), actions.Place),
        (server(spec=HALTED), (), None),
        (server(spec=HALTED, status={"disks": ()}), (), actions.EnsureDisks),
        (server(deleting=True, placement=FREE), (), actions.Delete),
        (server(deleting=True, protected_by_us=False), (), None),
        (server(deleting=True, spec={"protected": True}), (), actions.Place),
        # Placed
        (server(placement=placed()), (), None),
        (server(placement=placed()), (report(state=ReportState.STARTING),), None),
        (server(placement=placed()), (RUNS,), None),
        (server(placement=placed(), protected_by_us=False), (RUNS,), actions.Protect),
        (server(placement=placed(), protected_by_us=False), (DIED,), actions.Revoke),
        (server(placement=placed()), (DIED,), actions.Revoke),
        (server(placement=placed(2)), (DIED,), None),
        (server(placement=placed(), spec=HALTED), (RUNS,), actions.Revoke),
        (server(placement=placed(), deleting=True), (RUNS,), actions.Revoke),
        (server(placement=placed(), deleting=True, spec={"protected": True}), (RUNS,), None),
        (server(placement=placed(node="host-9")), (), None),
        # Revoked
        (server(placement=revoked()), (), None),
        (server(placement=revoked()), (RUNS,), None),
        (server(placement=revoked()), (ENDED,), actions.Place),
        (server(placement=revoked(), spec=HALTED), (ENDED,), actions.SetFree),
        (server(placement=revoked(), deleting=True), (ENDED,), actions.SetFree),
        (server(placement=revoked(), status={"disks": ()}), (ENDED,), actions.SetFree),
        # Deleted
        (server(placement=DELETED, deleting=True), (), actions.TrashDisks),
        (server(placement=DELETED, deleting=True, status={"disks": ()}), (), actions.Unprotect),
        (
            server(placement=DELETED, deleting=True, spec={"retain_disks": True}),
            (),
            actions.Unprotect,
        ),
        (server(placement=DELETED, deleting=True, protected_by_us=False), (), None),
    ],
)
def test_the_step(it: Server, reports, expected: type | None) -> None:
    found = told(it, *reports)
    assert type(found) is (expected or type(None)), found


def test_a_changed_outlook_is_a_step_of_its_own_and_then_none() -> None:
    it = server(placement=placed())
    assert isinstance(decision(it, RUNS).step, actions.Report)
    assert told(it, RUNS) is None


def test_a_standby_decides_nothing() -> None:
    w = world(server())
    standby = replace(w, me=replace(w.me, leader=False))
    assert decide(standby, Key(Kind.SERVER, "uid-web-1"), now()) == actions.Decision()


# Failover.


def begun():
    """host-1, whose fence was just begun because it is lost."""
    return nodes(fence=fenced(FencePhase.FENCING, reason=Reason.HOST_LOST))


def test_a_verdict_alone_revokes_nothing() -> None:
    """The last live look, before the intent, may still find the host alive."""
    found = decision(server(placement=placed()), sights={"host-1": DEAD})
    assert not isinstance(found.step, actions.Revoke)


def test_servers_of_a_lost_host_are_revoked_without_grace() -> None:
    found = decision(server(placement=placed()), hosts=begun(), sights={"host-1": DEAD})
    step = found.step
    assert isinstance(step, actions.Revoke) and step.grace == 0.0 and found.urgent
    assert step.setback == Setback(1, "host-1", Reason.HOST_LOST, WALL, generation=1)
    record = step.recovery
    assert record is not None and record.decided == WALL
    assert record.last_seen == WALL - timedelta(seconds=9)
    assert record.suspected == WALL - timedelta(seconds=5)
    ready = find(found.outlook.conditions, Type.READY)
    assert ready is not None and (ready.status, ready.reason) == ("False", Reason.HOST_LOST)
    assert is_true(found.outlook.conditions, Type.RECOVERING)


def test_a_held_fence_revokes_nothing() -> None:
    found = decision(server(placement=placed()), sights={"host-1": DEAD, "host-2": DEAD})
    assert not isinstance(found.step, actions.Revoke)


@pytest.mark.parametrize("phase", [FencePhase.FENCING, FencePhase.FENCED, FencePhase.LIFTING])
def test_a_server_placed_on_a_fenced_host_is_revoked(phase: FencePhase) -> None:
    hosts = nodes(fence=fenced(phase))
    assert isinstance(decision(server(placement=placed()), hosts=hosts).step, actions.Revoke)


def test_while_the_fence_is_made_its_clients_are_banned_once() -> None:
    it = server(placement=revoked())
    hosts = nodes(fence=fenced(FencePhase.FENCING))
    assert isinstance(decision(it, hosts=hosts).step, actions.BanClients)
    again = told(it, hosts=hosts, nonced={it.uid: 1})
    assert again is None
    assert isinstance(told(it, hosts=hosts, nonced={it.uid: 0}), actions.BanClients)


def test_the_wait_for_a_fence_is_no_series_of_status_writes() -> None:
    """What was written with Revoked still holds while the host is Fencing, and Fenced."""
    lost = Setback(1, "host-1", Reason.HOST_LOST, WALL)
    record = Recovery(Reason.HOST_LOST, "host-1", decided=WALL)
    it = server(placement=placed())
    before = decision(it, hosts=begun(), sights={"host-1": DEAD}).outlook
    it = server(
        placement=revoked(),
        status={
            "setback": lost, "recovery": record, "conditions": before.conditions,
            "phase": before.phase, "observed_generation": 1,
        },
    )  # fmt: skip
    for phase in (FencePhase.OK, FencePhase.FENCING):
        hosts = nodes(fence=fenced(phase))
        found = decision(it, hosts=hosts, sights={"host-1": DEAD}, nonced={it.uid: 1})
        assert found.step is None, phase


def test_a_proven_loss_is_placed_elsewhere_in_one_write() -> None:
    it = server(
        placement=revoked(), status={"setback": Setback(1, "host-1", Reason.HOST_LOST, WALL)}
    )
    hosts = nodes(fence=fenced(FencePhase.FENCED))
    found = decision(it, hosts=hosts)
    assert isinstance(found.step, actions.Place) and found.step.node != "host-1" and found.urgent


def test_without_room_it_becomes_free_and_says_which_host_lacks_what() -> None:
    it = server(placement=revoked(), spec={"memory": 100 * GIB})
    found = decision(it, hosts=nodes(fence=fenced()))
    assert isinstance(found.step, actions.SetFree)
    waiting = find(found.outlook.conditions, Type.PLACED)
    assert waiting is not None and waiting.reason == Reason.NO_HOST_FITS
    for host in ("host-1 has 16384Mi", "host-2 has", "host-3 has"):
        assert host in waiting.message
    assert waiting.message.startswith("no host could take it") and "add a host" in waiting.message


def test_another_boot_of_its_host_revokes_it() -> None:
    host = node()
    registration = Registration("machine-host-1", "boot-2")
    host = replace(host, host=replace(host.host, registration=registration))
    heard = Sight(former=Former("boot-1", WALL - timedelta(seconds=3)))
    found = decision(
        server(placement=placed()), hosts=(host, node("host-2")), sights={"host-1": heard}
    )
    assert found.step.recovery.last_seen == WALL - timedelta(seconds=3)
    assert found.step.recovery.suspected is None
    assert isinstance(found.step, actions.Revoke)
    assert found.step.setback is not None
    assert found.step.setback.reason == Reason.HOST_REBOOTED


def test_another_boot_in_the_heart_is_worth_trying_for_a_proof() -> None:
    seen = {"host-1": sight(9, 0, beat=beat(boot="boot-2", counter=5))}
    assert isinstance(told(server(placement=placed()), sights=seen), actions.Revoke)
    assert isinstance(decision(server(placement=revoked()), sights=seen).step, actions.Place)


def test_recovery_none_waits_for_its_own_host() -> None:
    lost = Setback(1, "host-1", Reason.HOST_LOST, WALL)
    it = server(placement=FREE, spec={"recovery": RecoveryMode.NONE}, status={"setback": lost})
    found = decision(it, hosts=nodes(fence=fenced()))
    ready = find(found.outlook.conditions, Type.READY)
    assert ready is not None and ready.reason == Reason.WAITING_FOR_OWN_HOST
    assert "waits for its own host: host-1" in ready.message and "host-2" not in ready.message
    back = decision(it)
    assert isinstance(back.step, actions.Place) and back.step.node == "host-1"


# Restart.


def setback(count: int, reason: Reason = Reason.QEMU_DIED, ago: float = 0.0) -> Setback:
    return Setback(1, "host-1", reason, WALL - timedelta(seconds=ago), count)


@pytest.mark.parametrize(
    ("count", "ago", "node_or_wait"),
    [
        (1, 0, "host-1"),
        (2, 0, "elsewhere"),
        (3, 0, 10.0),
        (3, 9, 1.0),
        (3, 11, "elsewhere"),
        (4, 0, 20.0),
        (20, 0, 300.0),
    ],
)
def test_in_place_then_elsewhere_then_backing_off(count, ago, node_or_wait) -> None:
    it = server(placement=revoked(), status={"setback": setback(count, ago=ago)})
    found = decision(it, ENDED)
    if isinstance(node_or_wait, float):
        assert isinstance(found.step, actions.SetFree)
        ready = find(found.outlook.conditions, Type.READY)
        assert ready is not None and ready.reason == Reason.BACK_OFF
        free = replace(it, status=replace(it.status, placement=FREE))
        assert decision(free).next_check == pytest.approx(T0 + node_or_wait)
    else:
        assert isinstance(found.step, actions.Place)
        assert (found.step.node == "host-1") is (node_or_wait == "host-1")


def test_a_changed_spec_is_tried_at_once_and_begins_a_new_row() -> None:
    """What made it fail may be mended; what fails unchanged has to wait as before."""
    last = replace(setback(5), generation=3)
    it = server(placement=FREE, status={"setback": last})
    assert decision(replace(it, generation=3)).next_check == pytest.approx(T0 + 40)
    mended = replace(it, generation=4)
    assert isinstance(decision(mended).step, actions.Place)
    running = replace(mended, status=replace(it.status, placement=placed()))
    step = decision(running, report(state=ReportState.FAILED, reason=Reason.QEMU_DIED)).step
    assert isinstance(step, actions.Revoke) and step.setback is not None
    assert (step.setback.count, step.setback.generation) == (1, 4)


@pytest.mark.parametrize(
    ("before", "reason", "count"),
    [
        (None, Reason.QEMU_DIED, 1),
        (setback(1), Reason.QEMU_DIED, 2),
        (setback(1, ago=119), Reason.QEMU_DIED, 2),
        (setback(1, ago=121), Reason.QEMU_DIED, 1),
        # the time it waited for its start is not time it ran
        (setback(3, ago=129), Reason.QEMU_DIED, 4),
        (setback(3, ago=131), Reason.QEMU_DIED, 1),
        (setback(3, Reason.HOST_LOST), Reason.QEMU_DIED, 1),
    ],
)
def test_setbacks_are_counted_in_a_row(before, reason, count) -> None:
    it = server(placement=placed(), status={"setback": before})
    step = decision(it, report(state=ReportState.FAILED, reason=reason)).step
    assert isinstance(step, actions.Revoke) and step.setback is not None
    assert step.setback.count == count


def test_what_the_host_said_of_a_failed_start_is_told_until_the_next() -> None:
    """Without it nobody knows what to mend."""
    said = "Cannot get interface MTU on 'br-nope': No such device"
    failed = report(state=ReportState.FAILED, reason=Reason.START_FAILED, message=said)
    found = decision(server(placement=placed()), failed)
    assert isinstance(found.step, actions.Revoke) and found.step.setback is not None
    assert found.step.setback.message == said
    waits = replace(setback(3, Reason.START_FAILED), message=said)
    off = decision(server(placement=revoked(), status={"setback": waits}), ENDED)
    for outlook in (found.outlook, off.outlook):
        ready = find(outlook.conditions, Type.READY)
        assert ready is not None and "it could not be started" in ready.message
        assert said in ready.message


def test_an_unknown_reason_of_an_agent_is_no_crash() -> None:
    odd = report(state=ReportState.FAILED, reason="SomethingNew")
    step = decision(server(placement=placed()), odd).step
    assert isinstance(step, actions.Revoke) and step.setback is not None
    assert step.setback.reason == Reason.VANISHED


def test_a_guest_that_powers_off_has_completed_under_rerun_on_failure() -> None:
    it = server(placement=placed(), spec=RERUN)
    found = decision(it, OFF)
    assert isinstance(found.step, actions.Revoke) and found.step.recovery is None
    assert case.wish_of(replace(it, status=replace(it.status, setback=found.step.setback))) is (
        case.Wish.STOP
    )
    assert isinstance(decision(server(placement=placed()), OFF).step, actions.Revoke)
    done = server(placement=FREE, spec=RERUN, status={"setback": setback(1, Reason.GUEST_SHUTDOWN)})
    resting = decision(done)
    assert is_true(resting.outlook.conditions, Type.READY)
    assert not isinstance(resting.step, actions.Place)


def test_what_runs_is_not_stopped_for_how_an_earlier_instance_ended() -> None:
    before = setback(1, Reason.GUEST_SHUTDOWN)
    it = server(placement=placed(2), spec=RERUN, status={"setback": before})
    assert case.wish_of(it) is case.Wish.RUN


def test_a_guest_that_powers_off_again_and_again_backs_off_where_it_is() -> None:
    off = setback(3, Reason.GUEST_SHUTDOWN, ago=11)
    found = decision(server(placement=revoked(), status={"setback": off}), ENDED)
    assert isinstance(found.step, actions.Place) and found.step.node == "host-1"


def test_halting_forgets_the_setback() -> None:
    it = server(placement=FREE, spec=HALTED, status={"setback": setback(5)})
    assert decision(it).outlook.clear_setback


# Waits.


def test_a_refused_step_waits_with_its_reason_and_is_tried_again() -> None:
    it, key = server(), "server/uid-web-1"
    trouble = {key: Trouble(Reason.FOREIGN_CLIENT, "somebody has it open", T0)}
    found = decision(it, at=1.0, trouble=trouble)
    assert isinstance(found.step, actions.Report) and found.next_check == T0 + 3.0
    ready = find(found.outlook.conditions, Type.READY)
    assert ready is not None and ready.reason == Reason.FOREIGN_CLIENT
    assert isinstance(decision(it, at=3.1, trouble=trouble).step, actions.Place)


@pytest.mark.parametrize(("times", "after"), [(1, 3.0), (2, 6.0), (4, 24.0), (5, 30.0), (99, 30.0)])
def test_who_waits_long_for_a_foreign_client_is_looked_at_twice_a_minute(times, after) -> None:
    def when(ago: float):
        return {"server/uid-web-1": Trouble(Reason.FOREIGN_CLIENT, "held", T0 - ago, times)}

    waits = decision(server(), trouble=when(after - 1.0))
    assert waits.next_check == T0 + 1.0 and not isinstance(waits.step, actions.Place)
    assert isinstance(decision(server(), trouble=when(after)).step, actions.Place)


def test_trouble_never_stops_a_revocation() -> None:
    trouble = {"server/uid-web-1": Trouble(Reason.FOREIGN_CLIENT, "", T0)}
    it = server(placement=placed())
    found = decision(it, hosts=begun(), sights={"host-1": DEAD}, trouble=trouble)
    assert isinstance(found.step, actions.Revoke)


@pytest.mark.parametrize(
    ("more", "usually"), [({"spec": HALTED}, "is shut down"), ({"deleting": True}, "waits until")]
)
def test_a_stop_that_waits_for_an_agent_says_so(more, usually: str) -> None:
    it = server(placement=revoked(), **more)
    for lease, word in ((0.0, usually), (60.0, "waits for the agent of host-1")):
        ready = find(
            decision(it, sights={"host-1": sight(lease, 0)}).outlook.conditions, Type.READY
        )
        assert ready is not None and ready.message.startswith(word)
    both_dead = {"host-1": DEAD, "host-2": DEAD}
    ready = find(decision(it, sights=both_dead).outlook.conditions, Type.READY)
    held = "waits for host-1, which looks dead and is not fenced"
    assert ready is not None and ready.message.startswith(held)


@pytest.mark.parametrize(("ready", "status"), [(True, "True"), (False, "False"), (None, "Unknown")])
def test_what_the_guest_tells_never_delays_ready(ready, status: str) -> None:
    told = decision(server(placement=placed()), replace(RUNS, guest_ready=ready))
    guest = find(told.outlook.conditions, Type.GUEST_READY)
    assert guest is not None and guest.status == status
    assert is_true(told.outlook.conditions, Type.READY)


@pytest.mark.parametrize(
    ("disk", "reason", "stalled"),
    [
        (Disk("data", "absent", GIB), Reason.UNKNOWN_POOL, False),
        (Disk("data", "ceph", GIB, "absent"), Reason.UNKNOWN_IMAGE, False),
        (Disk("data", "ceph", GIB // 4, "golden"), Reason.IMAGE_LARGER_THAN_DISK, True),
        (Disk("data", "small", GIB), Reason.DISK_LARGER_THAN_POOL, True),
    ],
)
def test_what_stands_in_the_way_of_a_disk(disk: Disk, reason: Reason, stalled: bool) -> None:
    small = Pool("small", pool="small", total=GIB - 1)
    pools = {"ceph": Pool("ceph", pool="vms"), "small": small}
    it = server(spec={"disks": (disk,)})
    found = decision(it, pools=pools)
    ready = find(found.outlook.conditions, Type.READY)
    disks = find(found.outlook.conditions, Type.DISKS_READY)
    assert ready is not None and ready.reason == reason == (disks and disks.reason)
    assert is_true(found.outlook.conditions, Type.STALLED) is stalled
    assert is_true(found.outlook.conditions, Type.RECONCILING) is not stalled
    assert found.next_check == T0 + case.PATIENCE
    # One that is not there yet is waited for as well, under its name.
    awaited = {Key(Kind.POOL, disk.pool)} | ({Key(Kind.IMAGE, disk.image)} if disk.image else set())
    assert set(found.awaits) == awaited
    told = replace(it, status=replace(it.status, observed_generation=it.generation))
    assert decision(told, pools=pools).patient and not found.patient, "a new spec is answered"


@pytest.mark.parametrize(
    "disks",
    [
        (Disk("root", "ceph", 2 * GIB, "golden"),),
        (Disk("root", "ceph", GIB, "golden"), Disk("data", "ceph", GIB)),
    ],
)
def test_a_disk_that_was_made_needs_its_image_no_more(disks: tuple[Disk, ...]) -> None:
    it = server(spec={"disks": disks})
    assert isinstance(decision(it, images={}).step, actions.EnsureDisks)


def test_a_disk_that_came_back_with_another_pool_waits_for_its_owner() -> None:
    moved = {"disks": (Disk("root", "fast", GIB, "golden"),)}
    pools = {"ceph": Pool("ceph", pool="vms"), "fast": Pool("fast", pool="fast")}
    found = decision(server(spec=moved), pools=pools)
    assert not isinstance(found.step, actions.Place | actions.EnsureDisks)
    ready = find(found.outlook.conditions, Type.READY)
    assert ready is not None and ready.reason == Reason.DISK_IN_OTHER_POOL
    assert "StoragePool ceph" in ready.message and is_true(found.outlook.conditions, Type.STALLED)
    runs = decision(server(spec=moved, placement=placed()), RUNS, pools=pools).outlook
    disks = find(runs.conditions, Type.DISKS_READY)
    assert disks is not None and disks.reason == Reason.DISK_IN_OTHER_POOL
    assert is_true(runs.conditions, Type.READY), "what runs is told, and runs on"


@pytest.mark.parametrize(
    ("made", "wanted", "told"),
    [
        ("golden", "other", "made from ServerImage golden, not from ServerImage other"),
        ("golden", None, "made from ServerImage golden, not blank"),
        ("", "golden", "made blank, not from ServerImage golden"),
    ],
)
def test_a_disk_that_came_back_with_another_source_waits_for_its_owner(
    made: str, wanted: str | None, told: str
) -> None:
    recorded = (DiskStatus("root", "ceph", "vs-uid-web-1-root", GIB, made),)
    it = server(spec={"disks": (Disk("root", "ceph", GIB, wanted),)}, status={"disks": recorded})
    found = decision(it)
    assert not isinstance(found.step, actions.Place | actions.EnsureDisks)
    ready = find(found.outlook.conditions, Type.READY)
    assert ready is not None and ready.reason == Reason.DISK_FROM_OTHER_SOURCE
    assert told in ready.message and is_true(found.outlook.conditions, Type.STALLED)
    unknown = replace(it.status, disks=(replace(recorded[0], source=None),))
    assert isinstance(decision(replace(it, status=unknown)).step, actions.Place)


def test_a_disk_that_cannot_be_made_larger_keeps_no_server_down() -> None:
    """Somebody asked for more than the pool holds, which cannot be taken back; its host is lost."""
    large = {"disks": (Disk("root", "ceph", 9 * GIB, "golden"),)}
    pools = {"ceph": Pool("ceph", pool="vms", total=2 * GIB, ready=True)}
    found = decision(server(spec=large), pools=pools)
    assert isinstance(found.step, actions.Place)
    disks = find(found.outlook.conditions, Type.DISKS_READY)
    assert disks is not None and disks.reason == Reason.DISK_LARGER_THAN_POOL
    new = Disk("data", "ceph", GIB)
    lacks = server(spec={"disks": (*large["disks"], new)})
    assert not isinstance(decision(lacks, pools=pools).step, actions.Place | actions.EnsureDisks)
    halted = server(spec={**large, "run_policy": RunPolicy.HALTED})
    told = find(decision(halted, pools=pools).outlook.conditions, Type.READY)
    assert told is not None and told.reason == Reason.DISK_LARGER_THAN_POOL


def test_a_disk_that_was_only_announced_still_needs_its_image() -> None:
    announced = (DiskStatus("root", "ceph", "vs-uid-web-1-root", 0),)
    found = decision(server(status={"disks": announced}), images={})
    ready = find(found.outlook.conditions, Type.READY)
    assert ready is not None and ready.reason == Reason.UNKNOWN_IMAGE


def test_who_waits_for_an_image_hears_that_its_import_has_failed() -> None:
    """And why, without a look at the other object."""
    it, images = server(status={"disks": ()}), world(nodes=()).images
    (uid, golden), *_ = images.items()
    why = Condition(Type.READY, "False", Reason.CHECKSUM_MISMATCH, "it is another", 1)
    for phase, told in (("Failed", True), ("Importing", False)):
        torn = replace(golden, ready=False, phase=phase, conditions=(why,))
        found = find(decision(it, images={uid: torn}).outlook.conditions, Type.READY)
        assert found is not None and found.reason == Reason.IMAGE_NOT_READY
        assert ("has failed (ChecksumMismatch)" in found.message) is told


def test_what_was_only_announced_is_trashed_too() -> None:
    announced = (DiskStatus("root", "ceph", "vs-uid-web-1-root", 0),)
    it = server(placement=DELETED, deleting=True, status={"disks": announced})
    assert isinstance(told(it), actions.TrashDisks)


def test_kstatus_of_a_running_a_halted_and_a_starting_server() -> None:
    running = decision(server(placement=placed()), RUNS).outlook.conditions
    halted = decision(server(spec=HALTED)).outlook.conditions
    starting = decision(server(placement=placed())).outlook.conditions
    for conditions, ready in ((running, True), (halted, True), (starting, False)):
        assert is_true(conditions, Type.READY) is ready
        assert is_true(conditions, Type.RECONCILING) is not ready
        assert not is_true(conditions, Type.STALLED)
        assert all(c.observed_generation == 1 for c in conditions)
    assert is_true(running, Type.RUNNING) and not is_true(halted, Type.RUNNING)


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        (Reason.HOST_LOST, Reason.START_FAILED, True),
        (Reason.HOST_LOST, Reason.HOST_LOST, True),
        (Reason.QEMU_DIED, Reason.HOST_LOST, False),
    ],
)
def test_a_start_that_fails_on_the_way_back_ends_no_timeline(first, then, kept: bool) -> None:
    record = Recovery(
        first, "host-2", "host-1", proof="Fenced", decided=WALL - timedelta(seconds=20)
    )
    it = server(placement=placed(), status={"recovery": record})
    if then == Reason.HOST_LOST:
        step = decision(it, hosts=begun(), sights={"host-1": DEAD}).step
    else:
        step = decision(it, report(state=ReportState.FAILED, reason=then)).step
    assert isinstance(step, actions.Revoke) and step.setback is not None
    assert step.setback.reason == then
    assert (step.recovery == record) is kept


def test_the_timeline_ends_when_it_is_seen_running() -> None:
    record = Recovery(Reason.HOST_LOST, "host-2", "host-1", decided=WALL)
    it = server(placement=placed(), status={"recovery": record})
    found = decision(it, RUNS).outlook
    assert found.recovery is not None and found.recovery.started == found.recovery.ready == WALL
    assert not is_true(found.conditions, Type.RECOVERING)
    after = replace(it, status=replace(it.status, recovery=found.recovery))
    assert decision(after, RUNS).outlook.recovery is None


def test_a_word_against_a_boot_that_lives_moves_nothing() -> None:
    """Neither the server that runs there, nor the one whose end there is awaited."""
    hosts = nodes(report(state=ReportState.RUNNING), spec=NodeSpec(ended_boots=("boot-1",)))
    lives, silent = sight(20, 1, beat=beat()), sight(20, 8, beat=beat())
    runs, ended = server(placement=placed()), server(placement=revoked())
    seen = {"host-1": lives}
    assert not isinstance(decision(runs, hosts=hosts, sights=seen).step, actions.Revoke)
    waits = decision(ended, hosts=hosts, sights=seen)
    assert not isinstance(waits.step, actions.Place | actions.SetFree)
    ready = find(waits.outlook.conditions, Type.READY)
    assert ready is not None and ready.reason == Reason.CONFIRMED_BUT_ALIVE
    seen = {"host-1": silent}
    assert isinstance(decision(runs, hosts=hosts, sights=seen).step, actions.Revoke)
    assert isinstance(decision(ended, hosts=hosts, sights=seen).step, actions.Place)


def test_a_pool_that_is_being_deleted_is_not_waited_for() -> None:
    pools = {"ceph": Pool("ceph", pool="vms", deleting=True)}
    new = server(spec={"disks": (Disk("data", "ceph", GIB),)})
    found = find(decision(new, pools=pools).outlook.conditions, Type.READY)
    assert found is not None and found.reason == Reason.POOL_NOT_READY
    assert "is being deleted; create it again when it is gone, or add the disk" in found.message


@pytest.mark.parametrize("deleting", [False, True])
def test_a_stop_on_a_frozen_host_says_whom_it_waits_for(deleting: bool) -> None:
    it = server(
        placement=revoked(),
        spec={"run_policy": RunPolicy.HALTED, "protected": False},
        deleting=deleting,
    )
    kernel = Testimony(now().mono - 1, Answer.KERNEL, "boot-1")
    found = decision(it, sights={"host-1": sight(12, 12, testimony=kernel, answered_at=now().mono)})
    ready = find(found.outlook.conditions, Type.READY)
    assert ready is not None and "of which only the kernel answers" in ready.message
