"""Where the API server is and who we are there."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from respawn.adapters.kubernetes import config
from respawn.adapters.kubernetes.config import ConfigError


def kubeconfig(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
    path = folder / "config"
    document = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_kubeconfig_in_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kubeconfig(tmp_path, {"server": "http://127.0.0.1:8080/"}, {"token": "t"})
    monkeypatch.setenv("KUBECONFIG", str(path))
    endpoint = config.load()
    assert endpoint.server == "http://127.0.0.1:8080"
    assert endpoint.token() == "t"
    assert endpoint.tls is None


def test_a_rotated_token_file_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old\n")
    path = kubeconfig(tmp_path, {"server": "http://h"}, {"tokenFile": "token"})
    endpoint = config.from_kubeconfig(path)
    assert endpoint.token() == "old"
    (tmp_path / "token").write_text("new\n")
    assert endpoint.token() == "new"


@pytest.mark.parametrize(
    ("cluster", "user", "complaint"),
    [
        ({"server": "https://h"}, {"exec": {"command": "x"}}, "credentials by exec"),
        ({"server": "https://h", "insecure-skip-tls-verify": True}, {}, "insecure-skip-tls-verify"),
    ],
)
def test_what_is_not_supported_is_said(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        config.from_kubeconfig(kubeconfig(tmp_path, cluster, user))


def test_a_context_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump({"current-context": "x", "contexts": []}))
    with pytest.raises(ConfigError, match="'x' is not among its contexts"):
        config.from_kubeconfig(path)


def test_a_kubeconfig_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set KUBECONFIG"):
        config.from_kubeconfig(tmp_path / "none")


@pytest.mark.parametrize("content", ["", "just words", "a: [", "- 1"])
def test_what_is_no_kubeconfig_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "config").write_text(content)
    with pytest.raises(ConfigError, match="is no kubeconfig"):
        config.from_kubeconfig(tmp_path / "config")


@pytest.mark.parametrize(
    ("cluster", "user", "complaint"),
    [
        ({}, {}, "names no server"),
        ({"server": "https://h", "certificate-authority": "none.crt"}, {}, "cannot be used"),
        (
            {"server": "https://h"},
            {"client-certificate-data": "bm9uZQ==", "client-key-data": "bm9uZQ=="},
            "cannot be used",
        ),
    ],
)
def test_useless_credentials_are_said(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        config.from_kubeconfig(kubeconfig(tmp_path, cluster, user))
