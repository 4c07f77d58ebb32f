"""Where the control plane's programs come from."""

from pathlib import Path

import pytest

from labkit import binaries

FITTING = {
    "etcd": "etcd Version: 3.6.11",
    "kube-apiserver": f"Kubernetes v{binaries.KUBERNETES}",
    "kubectl": f"Client Version: v{binaries.KUBERNETES}",
}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What had to be built; building makes an empty file."""
    names: list[str] = []

    def build(folder: Path, missing: list[str]) -> None:
        names.extend(missing)
        folder.mkdir(parents=True, exist_ok=True)
        for program in missing:
            (folder / program).write_text("built")

    monkeypatch.setattr(binaries, "_build", build)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "given"))
    return names


def give(folder: Path, programs: dict[str, str]) -> None:
    folder.mkdir()
    for program, said in programs.items():
        (folder / program).write_text(f"#!/bin/sh\necho '{said}'\n")
        (folder / program).chmod(0o755)


def test_what_a_usual_folder_of_assets_lacks_is_built(tmp_path: Path, built: list[str]) -> None:
    give(tmp_path / "given", FITTING)
    folder = binaries.control_plane()
    assert built == ["kube-controller-manager"]
    assert FITTING["etcd"] in (folder / "etcd").read_text()
    assert (folder / "kubectl").stat().st_mode & 0o111
    built.clear()
    assert binaries.control_plane() == folder and built == []


def test_assets_of_another_version_or_none_at_all_are_not_used(
    tmp_path: Path, built: list[str]
) -> None:
    give(tmp_path / "given", {**FITTING, "kube-apiserver": "Kubernetes v1.30.0"})
    binaries.control_plane()
    assert built == ["kube-apiserver", "kube-controller-manager"]


def test_a_folder_of_assets_that_is_not_there_is_no_failure(built: list[str]) -> None:
    binaries.control_plane()
    assert built == list(binaries.PROGRAMS)
