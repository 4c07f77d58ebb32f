"""The resources that Respawn asks the API server about, and their addresses."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API server addresses it; `group` is empty for core ones."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, name: str = "", *, namespace: str | None = None, part: str = "") -> str:
        """The path of the collection, of one object, or of its subresource `part`.

        Raises ValueError for a namespace where there is none, or none where one is needed to name
        an object.
        """
        if namespace and not self.namespaced:
            raise ValueError(f"{self.plural} have no namespace")
        if name and self.namespaced and not namespace:
            raise ValueError(f"which namespace is {self.plural}/{name} in?")
        words = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace:
            words += ["namespaces", namespace]
        words += [self.plural, *([name] if name else []), *([part] if part else [])]
        return "/" + "/".join(quote(word, safe="") for word in words)


def _ours(plural: str, kind: str, *, namespaced: bool = False) -> Resource:
    return Resource("respawn.dev", "v1alpha1", plural, kind, namespaced)


VIRTUAL_SERVERS = _ours("virtualservers", "VirtualServer", namespaced=True)
NODES = _ours("nodes", "Node")
STORAGE_POOLS = _ours("storagepools", "StoragePool")
SERVER_IMAGES = _ours("serverimages", "ServerImage")
POLICIES = _ours("respawnpolicies", "RespawnPolicy")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
SECRETS = Resource("", "v1", "secrets", "Secret")
EVENTS = Resource("", "v1", "events", "Event")
