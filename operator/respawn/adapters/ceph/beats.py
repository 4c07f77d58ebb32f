"""The content of a heart object. Pure."""

import json

from respawn.model.sight import Beat, HeartServer


def encode(beat: Beat) -> bytes:
    """As JSON, the same bytes for the same beat."""
    servers = [{"uid": s.uid, "epoch": s.epoch, "state": s.state} for s in beat.servers]
    content = {
        "machineID": beat.machine_id,
        "bootID": beat.boot_id,
        "counter": beat.counter,
        "servers": servers,
    }
    return json.dumps(content, separators=(",", ":")).encode()


def decode(raw: bytes) -> Beat:
    """What `encode` made; unknown keys are left aside. Raises ValueError: no beat."""
    try:
        content = json.loads(raw)
        return Beat(
            machine_id=str(content["machineID"]),
            boot_id=str(content["bootID"]),
            counter=int(content["counter"]),
            servers=tuple(
                HeartServer(str(s["uid"]), int(s["epoch"]), str(s["state"]))
                for s in content.get("servers", ())
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a beat: {raw[:80]!r}") from error
