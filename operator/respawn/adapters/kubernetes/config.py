"""Where the API server is and who we are there: from a kubeconfig, or inside a cluster.

Client certificates, tokens and token files. Credential plugins (`exec`) are refused with a clear
message: a daemon has no person to ask.
"""

import base64
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(Exception):
    """There is no usable configuration; the message says what to do."""


@dataclass(frozen=True)
class Endpoint:
    """An API server, how to trust it, and who we are. `token` is read before every request."""

    server: str
    tls: ssl.SSLContext | None
    token: Callable[[], str | None] = lambda: None
    server_name: str | None = None


def load(path: str | os.PathLike[str] | None = None) -> Endpoint:
    """`path`, else $KUBECONFIG, else the pod's own service account, else ~/.kube/config."""
    chosen = path or os.environ.get("KUBECONFIG")
    if chosen:
        return from_kubeconfig(Path(chosen))
    if "KUBERNETES_SERVICE_HOST" in os.environ and SERVICE_ACCOUNT.exists():
        return in_cluster(SERVICE_ACCOUNT, os.environ)
    return from_kubeconfig(Path.home() / ".kube" / "config")


def in_cluster(folder: Path, environment: Mapping[str, str]) -> Endpoint:
    """As a pod sees it; the token is rotated, so its file is read anew for every request."""
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
    bracketed = f"[{host}]" if ":" in host else host
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    return Endpoint(f"https://{bracketed}:{port}", tls, _token_file(folder / "token"))


def from_kubeconfig(path: Path) -> Endpoint:
    """The current context of the kubeconfig at `path`. Raises ConfigError."""
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"no kubeconfig: {error}; set KUBECONFIG") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no kubeconfig: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path} is no kubeconfig: there is no mapping in it")
    context = _named(config, "contexts", "context", config.get("current-context"), path)
    cluster = _named(config, "clusters", "cluster", context.get("cluster"), path)
    user = _named(config, "users", "user", context.get("user"), path)
    for word in ("exec", "auth-provider"):
        if word in user:
            raise ConfigError(f"{path}: credentials by {word} are not supported; use a certificate")
    server = str(cluster.get("server") or "").rstrip("/")
    if not server:
        raise ConfigError(f"{path}: its cluster names no server")
    try:
        tls = _tls(cluster, user, path.parent) if server.startswith("https:") else None
    except (OSError, ValueError) as error:  # no such file, no certificate, no base64
        raise ConfigError(f"{path}: its certificates cannot be used: {error}") from error
    return Endpoint(server, tls, _token(user, path.parent), cluster.get("tls-server-name"))


def _named(
    config: Mapping[str, Any], group: str, part: str, name: object, path: Path
) -> Mapping[str, Any]:
    for entry in config.get(group) or ():
        if entry.get("name") == name:
            found: Mapping[str, Any] = entry[part]
            return found
    raise ConfigError(f"{path}: {name!r} is not among its {group}")


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority", folder)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        raise ConfigError("insecure-skip-tls-verify is not supported; give certificate-authority")
    certificate = _content(user, "client-certificate", folder)
    key = _content(user, "client-key", folder)
    if certificate and key:
        _load_identity(context, certificate + b"\n" + key)
    return context


def _load_identity(context: ssl.SSLContext, pem: bytes) -> None:
    """`ssl` takes certificates only from files; the key stays in memory all the same."""
    handle = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.write(handle, pem)
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _content(section: Mapping[str, Any], word: str, folder: Path) -> bytes | None:
    """A credential, from `<word>-data` or the file named by `<word>`."""
    if data := section.get(f"{word}-data"):
        return base64.b64decode("".join(str(data).split()), validate=True)
    if name := section.get(word):
        return Path(folder, str(name)).read_bytes()
    return None


def _token(user: Mapping[str, Any], folder: Path) -> Callable[[], str | None]:
    if name := user.get("tokenFile"):
        return _token_file(folder / name)
    token = user.get("token")
    return lambda: token


def _token_file(path: Path) -> Callable[[], str | None]:
    return lambda: path.read_text().strip()
