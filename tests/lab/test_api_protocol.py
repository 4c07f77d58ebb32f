"""The API server itself refuses a placement or a fence step that the protocol does not have."""

from typing import Any

import pytest

from respawn.adapters.kubernetes import errors
from respawn.adapters.kubernetes.client import Client
from respawn.adapters.kubernetes.resources import NODES, VIRTUAL_SERVERS

pytestmark = pytest.mark.lab

Step = tuple[dict[str, Any], str | None]


def place(epoch: int, boot: str = "b1", **more: Any) -> dict[str, Any]:
    identity = {"node": "host-1", "machineID": "m1", "bootID": boot}
    return {"phase": "Placed", "epoch": epoch, **identity, **more}


ENDED = {"kind": "Ended", "observedAt": "2026-01-31T08:30:00Z"}
PLACEMENTS: list[Step] = [
    (place(1), None),
    ({"epoch": 0}, "an epoch is never used again"),
    (place(1, boot="b2"), "a new placement has a new epoch"),
    ({"phase": "Free"}, "a placed server is revoked first"),
    ({"phase": "Deleted"}, "a placed server is revoked first"),
    ({"phase": "Revoked"}, None),
    (place(1), "a new placement has a new epoch"),
    (place(2), "a revoked placement ends with a proof"),
    ({"phase": "Free"}, "a revoked placement ends with a proof"),
    (place(2, proof=ENDED), None),
    ({"phase": "Revoked"}, None),
    ({"phase": "Free", "node": None, "bootID": None, "machineID": None}, None),
    ({"phase": "Placed", "epoch": 3}, "a placement names node, machineID and bootID"),
    ({"phase": "Deleted"}, None),
    (place(3), "Deleted is for good"),
]
FENCES: list[Step] = [
    ({"phase": "Fenced", "generation": 1}, "a fence begins with OK or Fencing"),
    ({"phase": "OK", "generation": 0}, None),
    ({"phase": "Fenced"}, "a fence goes OK, Fencing, Fenced, Lifting, OK"),
    ({"phase": "Fencing"}, "each fence has the next generation"),
    (
        {"phase": "Fencing", "generation": 1, "addresses": ["198.51.100.11"], "form": "ip"},
        None,
    ),
    ({"phase": "OK"}, "a fence goes OK, Fencing, Fenced, Lifting, OK"),
    ({"phase": "Fenced"}, None),
    ({"phase": "OK"}, "a fence goes OK, Fencing, Fenced, Lifting, OK"),
    ({"phase": "Lifting", "addresses": []}, "stay until it is lifted"),
    ({"phase": "Lifting", "form": "range"}, "stay until it is lifted"),
    ({"phase": "Lifting", "generation": 2}, "each fence has the next generation"),
    ({"phase": "Lifting", "owner": "operator-1/a"}, None),
    ({"owner": "operator-2/b", "taintedForms": [{"form": "ip", "owner": "operator-1/a"}]}, None),
    ({"phase": "OK", "owner": None}, None),
    ({"phase": "Fencing", "generation": 2, "addresses": [], "form": "range"}, None),
]


@pytest.mark.parametrize(
    ("resource", "name", "namespace", "field", "steps"),
    [
        (VIRTUAL_SERVERS, "web-1", "customer-a", "placement", PLACEMENTS),
        (NODES, "host-1", None, "fence", FENCES),
    ],
    ids=["placement", "fence"],
)
def test_a_step_that_the_protocol_does_not_have_is_refused(
    control_plane: Any,
    applied: None,
    resource: Any,
    name: str,
    namespace: str | None,
    field: str,
    steps: list[Step],
) -> None:
    async def scenario(client: Client) -> None:
        read = await client.get(resource, name, namespace=namespace)
        for change, refusal in steps:
            version = read["metadata"]["resourceVersion"]
            write = client.patch_status(
                resource, name, {field: change}, resource_version=version, namespace=namespace
            )
            if refusal is None:
                read = await write
            else:
                with pytest.raises(errors.Refused, match=refusal):
                    await write
        with pytest.raises(errors.Refused, match="cannot be dropped"):
            await client.patch_status(
                resource,
                name,
                {field: None},
                resource_version=read["metadata"]["resourceVersion"],
                namespace=namespace,
            )

    control_plane.run(scenario)
