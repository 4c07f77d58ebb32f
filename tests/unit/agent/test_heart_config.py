"""Where a heart learns who it is."""

from pathlib import Path

import pytest

from respawn.adapters.ceph.access import Access
from respawn.agent import heart_config, machine
from respawn.agent.heart_config import HeartConfig

WHOLE = """
node: host-1
machineID: 4c4c4544-0000-1111-2222-333344445555
consoles: /var/log/respawn/consoles
ceph: {client: h1, pool: vms, conf: /etc/ceph/other.conf, keyring: /etc/ceph/key}
"""


def test_the_agents_file_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(WHOLE)
    assert heart_config.read(path) == HeartConfig(
        node="host-1",
        pool="vms",
        access=Access("h1", conffile="/etc/ceph/other.conf", keyring="/etc/ceph/key"),
        machine_id="4c4c4544-0000-1111-2222-333344445555",
    )


def test_the_rest_has_defaults() -> None:
    found = heart_config.parse({"node": "host-1", "ceph": {"pool": "vms"}})
    assert found.access == Access("host-1", conffile="/etc/ceph/ceph.conf")
    assert found.machine_id == ""


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (None, "node"),
        ([], "node"),
        ({"node": 7}, "node"),
        ({"node": "host-1"}, "ceph.pool"),
        ({"node": "host-1", "ceph": {}}, "ceph.pool"),
    ],
)
def test_what_is_missing_is_named(content: object, missing: str) -> None:
    with pytest.raises(ValueError, match=f"^{missing} is missing"):
        heart_config.parse(content)


def test_the_agents_word_on_the_machine_comes_first(tmp_path: Path) -> None:
    told, firmware = tmp_path / "machine-id", tmp_path / "product_uuid"
    assert machine.machine_id((told, firmware)) == ""
    firmware.write_text("4C4C4544-AAAA\n")
    assert machine.machine_id((told, firmware)) == "4c4c4544-aaaa"
    told.write_text("")
    assert machine.machine_id((told, firmware)) == "4c4c4544-aaaa"
    told.write_text("5555-bbbb")
    assert machine.machine_id((told, firmware)) == "5555-bbbb"
