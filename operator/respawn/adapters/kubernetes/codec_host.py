"""Node.status.host: the agent's part, read and written."""

from typing import Any

from respawn.adapters.kubernetes import codec_policy
from respawn.adapters.kubernetes.codec_base import Fields, listed, texts, time_text
from respawn.adapters.kubernetes.patch import difference
from respawn.model.node import Capacity, HostStatus, Registration, ReportState, ServerReport
from respawn.model.policy import Timings
from respawn.model.units import format_quantity

_READY = {"True": True, "False": False}
_LONGEST = 1024
_FAILING = "Failing"

# Reading.


def decode(host: Fields) -> HostStatus:
    """What the agent reports."""
    return HostStatus(
        registration=_registration(host.maybe("registration")),
        clean_generation=host.number("cleanGeneration"),
        policy_generation=host.number("policyGeneration"),
        timings=_timings(host.maybe("timings")),
        capacity=_capacity(host.part("capacity")),
        storage_failing=host.text("storage") == _FAILING,
        hypervisor_failing=host.text("hypervisor") == _FAILING,
        heart_failing=host.text("heart") == _FAILING,
        servers=tuple(_report(part) for part in host.parts("servers")),
    )


def _timings(part: Fields | None) -> Timings | None:
    return None if part is None else codec_policy.read_timings(part)


def _registration(part: Fields | None) -> Registration | None:
    if part is None:
        return None
    machine_id, boot_id = part.needed("machineID"), part.needed("bootID")
    return Registration(machine_id, boot_id, part.addresses("addresses"))


def _capacity(part: Fields) -> Capacity:
    default = Capacity()
    return Capacity(
        cores=part.number("cores"),
        memory=part.size("memory"),
        reserved=part.size("reserved"),
        foreign=part.size("foreign"),
        overhead=part.size("overhead"),
        machine=part.text("machineType", default.machine),
        cpu_model=part.text("cpuModel", default.cpu_model),
        # A host without any has an empty list; one whose agent is older has none.
        bridges=part.texts("bridges") if "bridges" in part else None,
    )


def _report(part: Fields) -> ServerReport:
    part.needed("state")
    return ServerReport(
        uid=part.needed("uid"),
        epoch=part.number("epoch"),
        state=part.word("state", ReportState.STARTING),
        reason=part.text("reason"),
        message=part.text("message"),
        addresses=part.texts("addresses"),
        guest_ready=_READY.get(part.text("guestReady")),
        started=part.time("started"),
    )


# Writing.


def patch(read: HostStatus, host: HostStatus) -> dict[str, Any]:
    """The merge patch of the status that makes `host` of what was read; empty if they are equal."""
    changes = difference(encode(read), encode(host))
    return {"host": changes} if changes else {}


def encode(host: HostStatus) -> dict[str, Any]:
    """All named fields, None where there is nothing."""
    registered = host.registration
    return {
        "registration": None
        if registered is None
        else {
            "machineID": registered.machine_id,
            "bootID": registered.boot_id,
            # safety: all of them, since these are what a fence covers.
            "addresses": texts(registered.addresses),
        },
        "cleanGeneration": host.clean_generation or None,
        "policyGeneration": host.policy_generation or None,
        "timings": codec_policy.written_timings(host.timings) if host.timings else None,
        "capacity": _written_capacity(host.capacity),
        "storage": _FAILING if host.storage_failing else None,
        "hypervisor": _FAILING if host.hypervisor_failing else None,
        "heart": _FAILING if host.heart_failing else None,
        "servers": listed(_written_report(report) for report in host.servers[:512]),
    }


def _written_capacity(capacity: Capacity) -> dict[str, Any] | None:
    if capacity == Capacity():
        return None
    return {
        "cores": capacity.cores,
        "memory": format_quantity(capacity.memory),
        "reserved": format_quantity(capacity.reserved),
        "foreign": format_quantity(capacity.foreign),
        "overhead": format_quantity(capacity.overhead),
        "machineType": capacity.machine,
        "cpuModel": capacity.cpu_model,
        "bridges": None if capacity.bridges is None else list(capacity.bridges),
    }


def _written_report(report: ServerReport) -> dict[str, Any]:
    return {
        "uid": report.uid,
        "epoch": report.epoch,
        "state": str(report.state),
        "reason": report.reason or None,
        "message": report.message[:_LONGEST] or None,
        "addresses": texts(report.addresses, 32),
        "guestReady": None if report.guest_ready is None else str(report.guest_ready),
        "started": time_text(report.started),
    }
