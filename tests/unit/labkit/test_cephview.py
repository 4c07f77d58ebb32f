"""How the lab reads Ceph's blocklist."""

import pytest

pytest.importorskip("rados", reason="Debian's python3-rados")

from labkit.cephview import address_blocked, blocked_nonces, parse_blocklist

SINGLES = '[{"addr":"198.51.100.11:0/32","until":""},{"addr":"198.51.100.13:0/0","until":""}]'
RANGES = '[{"range":"198.51.100.12:0/32","until":""}]'


def test_a_range_of_one_address_is_no_nonce() -> None:
    entries = parse_blocklist(SINGLES + RANGES)
    blocked = [host for host in (11, 12, 13, 14) if address_blocked(entries, f"198.51.100.{host}")]
    assert blocked == [12, 13]
    assert blocked_nonces(entries, "198.51.100.11") == {32}
    assert blocked_nonces(entries, "198.51.100.12") == set()
