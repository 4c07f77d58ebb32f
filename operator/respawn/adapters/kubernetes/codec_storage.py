"""StoragePool and ServerImage."""

from collections.abc import Mapping
from typing import Any

from respawn.adapters.kubernetes import codec_conditions
from respawn.adapters.kubernetes.codec_base import Fields, listed, time_text
from respawn.adapters.kubernetes.patch import difference
from respawn.model.conditions import Type, find, is_true
from respawn.model.server import FINALIZER
from respawn.model.storage import Image, Kept, Origin, Pool
from respawn.model.units import format_quantity

# StoragePool.


def decode_pool(body: Mapping[str, Any]) -> Pool:
    """The pool in an object of the API server. Raises Malformed."""
    whole = Fields(body)
    metadata, status = whole.part("metadata"), whole.part("status")
    ceph, conditions = whole.part("spec").part("ceph"), codec_conditions.decode(status)
    return Pool(
        name=metadata.needed("name"),
        created=metadata.time("creationTimestamp"),
        fsid=ceph.needed("fsid"),
        pool=ceph.needed("pool"),
        client=ceph.needed("clientName"),
        monitors=ceph.texts("monitors"),
        ready=is_true(conditions, Type.READY),
        secret=_secret(ceph.part("credentialsSecret")),
        uid=metadata.needed("uid"),
        total=status.part("capacity").size("total"),
        used=status.part("capacity").size("used"),
        kept=tuple(Kept(x.needed("image"), x.text("server")) for x in status.parts("retained")),
        conditions=conditions,
        observed_generation=status.number("observedGeneration", -1),
        resource_version=metadata.text("resourceVersion"),
        generation=metadata.number("generation", 1),
        deleting="deletionTimestamp" in metadata,
        protected_by_us=FINALIZER in metadata.texts("finalizers"),
    )


def _secret(part: Fields) -> tuple[str, str]:
    return part.needed("namespace"), part.needed("name")


def patch_pool(read: Pool, pool: Pool) -> dict[str, Any]:
    """The merge patch of the status that makes `pool` of what was read."""
    return {
        **difference(encode_pool(read), encode_pool(pool)),
        "observedGeneration": pool.observed_generation,
    }


def encode_pool(pool: Pool) -> dict[str, Any]:
    """All named fields of its status, None where there is nothing."""
    known = pool.total or pool.used
    capacity = {"total": format_quantity(pool.total), "used": format_quantity(pool.used)}
    return {
        "capacity": capacity if known else None,
        "retained": listed({"image": k.image, "server": k.server or None} for k in pool.kept),
        "conditions": codec_conditions.encode(pool.conditions),
    }


# ServerImage.


def decode_image(body: Mapping[str, Any]) -> Image:
    """The image in an object of the API server. Raises Malformed."""
    whole = Fields(body)
    metadata, spec, status = (whole.part(key) for key in ("metadata", "spec", "status"))
    conditions = codec_conditions.decode(status)
    ready = find(conditions, Type.READY)
    return Image(
        uid=metadata.needed("uid"),
        name=metadata.needed("name"),
        pool=spec.needed("pool"),
        size=status.size("size"),
        ready=ready is not None and ready.status == "True",
        reason=ready.reason if ready else "",
        resource_version=metadata.text("resourceVersion"),
        generation=metadata.number("generation", 1),
        origin=_origin(spec.part("source")),
        checksum=spec.text_or_none("checksum"),
        phase=status.text("phase"),
        location=status.text("image"),
        imported=status.time("importedAt"),
        conditions=conditions,
        observed_generation=status.number("observedGeneration", -1),
        deleting="deletionTimestamp" in metadata,
        protected_by_us=FINALIZER in metadata.texts("finalizers"),
    )


def _origin(source: Fields) -> Origin:
    http, file, rbd = (source.part(key) for key in ("http", "file", "rbd"))
    origin = Origin(
        url=http.text_or_none("url"),
        path=file.text_or_none("path"),
        image=rbd.text_or_none("image"),
        pool=rbd.text_or_none("pool"),
        snapshot=rbd.text_or_none("snapshot"),
    )
    if sum(x is not None for x in (origin.url, origin.path, origin.image)) != 1:
        raise source.bad("", "must have exactly one of http, file and rbd")
    return origin


def patch_image(read: Image, image: Image) -> dict[str, Any]:
    """The merge patch of the status that makes `image` of what was read."""
    return {
        **difference(encode_image(read), encode_image(image)),
        "observedGeneration": image.observed_generation,
    }


def encode_image(image: Image) -> dict[str, Any]:
    """All named fields of its status, None where there is nothing.

    `ready` and `reason` are those of its condition Ready.
    """
    return {
        "phase": image.phase or None,
        "image": image.location or None,
        "size": format_quantity(image.size) if image.size else None,
        "importedAt": time_text(image.imported),
        "conditions": codec_conditions.encode(image.conditions),
    }
