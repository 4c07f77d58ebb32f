"""What `respawn operator` is told on its command line."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from respawn.decide.election import Terms
from respawn.runtime import points

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Options:
    """One operator process."""

    name: str
    kubeconfig: Path | None = None
    namespace: str = "respawn"
    libvirt_pki: Path | None = None
    terms: Terms = field(default_factory=Terms)
    point: points.Point = points.nothing
    verbose: bool = False


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """The options; exits with status 2 and one clear line when they make no sense."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not NAME.fullmatch(given.name):
        parser.error(f"--name {given.name}: must be of a-z, 0-9 and -, such as operator-1")
    terms = Terms(given.lease_duration, given.renew_deadline, given.retry_period)
    if not 0 < terms.retry < terms.deadline < terms.duration:
        parser.error(
            "--retry-period must be shorter than --renew-deadline, and that shorter than "
            f"--lease-duration, not {terms.retry:g}s, {terms.deadline:g}s, {terms.duration:g}s"
        )
    if given.libvirt_pki is not None and not given.libvirt_pki.is_dir():
        parser.error(f"--libvirt-pki {given.libvirt_pki}: there is no such folder")
    try:
        point = points.from_environment(environ)
    except ValueError as error:
        parser.error(str(error))
    return Options(
        name=given.name,
        kubeconfig=given.kubeconfig,
        namespace=given.namespace,
        libvirt_pki=given.libvirt_pki,
        terms=terms,
        point=point,
        verbose=given.verbose,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="respawn operator",
        description="Decides where servers run, when a host is dead, and who may start. Run two or "
        "more: one leads, the others stand by.",
    )
    add, default = parser.add_argument, Terms()
    add("--name", default=os.uname().nodename, help="the same after a restart; default: hostname")
    add("--kubeconfig", type=Path, help="default: $KUBECONFIG, the pod's account, ~/.kube/config")
    add("--namespace", default="respawn", help="of the Leases (default: respawn)")
    add("--libvirt-pki", type=Path, metavar="DIR", help="client certificate for hosts' libvirt")
    for flag, value, what in (
        ("--lease-duration", default.duration, "after which a silent leader is replaced"),
        ("--renew-deadline", default.deadline, "after which a leader that cannot renew gives up"),
        ("--retry-period", default.retry, "between two attempts"),
    ):
        add(flag, type=seconds, default=value, help=f"time {what} (default: {value:g}s)")
    add("--verbose", action="store_true", help="log more")
    return parser


def seconds(text: str) -> float:
    """Seconds of `5s`, `3.5s` or `500ms`."""
    found = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?)(ms|s)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"not a time such as 5s, 3.5s or 500ms: {text!r}")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)
