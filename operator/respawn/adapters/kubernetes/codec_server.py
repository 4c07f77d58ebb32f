"""VirtualServer: what its owner wants, read; its status is in `codec_server_status`."""

from collections.abc import Mapping
from typing import Any

from respawn.adapters.kubernetes import codec_server_status
from respawn.adapters.kubernetes.codec_base import Fields
from respawn.model.server import (
    FINALIZER,
    AntiAffinity,
    Disk,
    Nic,
    RecoveryMode,
    RunPolicy,
    Server,
    ServerSpec,
)


def decode(body: Mapping[str, Any]) -> Server:
    """The server in an object of the API server. Raises Malformed."""
    whole = Fields(body)
    metadata = whole.part("metadata")
    return Server(
        uid=metadata.needed("uid"),
        namespace=metadata.text("namespace"),
        name=metadata.needed("name"),
        spec=_spec(whole.part("spec")),
        status=codec_server_status.decode(whole.part("status")),
        resource_version=metadata.text("resourceVersion"),
        generation=metadata.number("generation", 1),
        deleting="deletionTimestamp" in metadata,
        protected_by_us=FINALIZER in metadata.texts("finalizers"),
    )


def _spec(spec: Fields) -> ServerSpec:
    recovery, placement, deletion = (spec.part(k) for k in ("recovery", "placement", "deletion"))
    default = ServerSpec()
    return ServerSpec(
        run_policy=spec.word("runPolicy", RunPolicy.ALWAYS),
        cores=spec.part("cpu").number("cores", default.cores),
        memory=_memory(spec),
        disks=tuple(_disk(part) for part in spec.parts("disks")),
        networks=tuple(_nic(part) for part in spec.parts("networks")),
        recovery=recovery.word("mode", RecoveryMode.RESTART),
        priority=recovery.number("priority", default.priority),
        node_selector=placement.mapping("nodeSelector"),
        preferred_nodes=placement.texts("preferredNodes"),
        anti_affinity=tuple(_anti_affinity(part) for part in placement.parts("antiAffinity")),
        # safety: S10, only what says Delete is deleted; a later version may know other words.
        retain_disks=deletion.text("policy") not in ("", "Delete"),
        protected=deletion.flag("protected"),
        shutdown_grace=spec.duration("shutdownGracePeriod", default.shutdown_grace),
    )


def _memory(spec: Fields) -> int:
    memory = spec.part("memory")
    memory.needed("size")
    return memory.size("size")


def _disk(part: Fields) -> Disk:
    part.needed("size")
    return Disk(
        name=part.needed("name"),
        pool=part.needed("pool"),
        size=part.size("size"),
        image=part.part("source").text_or_none("image"),
    )


def _nic(part: Fields) -> Nic:
    """Without a bridge (it names a Network, which comes later) the server waits, and says so."""
    return Nic(part.needed("name"), part.text("bridge"), part.text_or_none("macAddress"))


def _anti_affinity(part: Fields) -> AntiAffinity:
    default = AntiAffinity("")
    return AntiAffinity(
        group=part.needed("group"),
        topology_key=part.text("topologyKey", default.topology_key),
        required=part.text("mode", "Required") == "Required",
    )
