from tests.unit.decide.builders import fenced, node

from respawn.decide import clients
from respawn.model.placement import Locker
from respawn.model.storage import Entry, ImageClients

QEMU = Locker("client.41", "auto 1", "198.51.100.11:0/41")
WATCH = Locker("", "", "198.51.100.11:0/41")
MINE = Locker("client.7", "auto 9", "203.0.113.1:0/7")
STRANGER = Locker("client.66", "auto 6", "192.0.2.66:0/66")
SECOND = Locker("client.42", "auto 2", "198.51.100.11:0/42")
HOST = frozenset({"198.51.100.11"})
OWN = frozenset({MINE.address})


def settle(*lockers: Locker, watchers=(), host=HOST, listing=frozenset()):
    found = ImageClients(lockers, tuple(watchers))
    return clients.settle(found, host=host, own=OWN, listing=listing)


def test_the_old_hosts_clients_are_banned_and_unlocked_exactly() -> None:
    found = settle(QEMU, watchers=[WATCH])
    assert found.ban == {Entry(QEMU.address)} and found.unlock == (QEMU,) and not found.foreign


def test_the_operator_itself_is_left_out() -> None:
    found = settle(MINE)
    assert not found.ban and not found.unlock and not found.foreign


def test_a_client_at_no_address_of_the_old_host_is_foreign() -> None:
    found = settle(STRANGER, QEMU)
    assert found.foreign == (STRANGER,) and Entry(STRANGER.address) not in found.ban


def test_a_banned_client_needs_no_second_ban_but_its_lock_goes() -> None:
    listing = frozenset({Entry(QEMU.address)})
    found = settle(QEMU, host=frozenset(), listing=listing)
    assert not found.ban and found.unlock == (QEMU,) and not found.foreign


def test_a_ban_that_ends_soon_is_none() -> None:
    listing = frozenset({Entry(QEMU.address, brief=True), Entry(STRANGER.address, brief=True)})
    found = settle(QEMU, STRANGER, listing=listing)
    assert found.ban == {Entry(QEMU.address)} and found.foreign == (STRANGER,)


def test_a_fenced_address_is_no_substitute_for_the_nonce() -> None:
    """The address is let in again one day; the dead client's last write must not be."""
    from respawn.model.node import Form

    found = settle(QEMU, listing=frozenset({Entry("198.51.100.11", Form.IP)}))
    assert found.ban == {Entry(QEMU.address)}


def test_while_free_nobody_may_be_there() -> None:
    assert settle(QEMU, host=frozenset()).foreign == (QEMU,)


def test_all_images_count_together() -> None:
    total = clients.joined([settle(QEMU), settle(SECOND), settle(STRANGER)])
    assert len(total.ban) == 2 and total.unlock == (QEMU, SECOND) and total.foreign == (STRANGER,)
    assert clients.tell(total.foreign) == STRANGER.address


def test_a_hosts_addresses_are_declared_registered_and_fenced_ones() -> None:
    host = node(fence=fenced(addresses=("198.51.100.77",)))
    assert clients.host_addresses(host) == {"198.51.100.11", "198.51.100.77"}
    assert clients.host_addresses(None) == frozenset()


def test_a_lock_whose_holder_watches_nothing_is_told_from_an_open_image() -> None:
    watch = Locker("", "", STRANGER.address)
    assert settle(STRANGER).left_behind == (STRANGER,)
    assert settle(STRANGER, watchers=[watch]).left_behind == ()
    assert settle(QEMU).left_behind == (), "that is ours to break"


def test_an_image_that_is_not_there_is_remembered() -> None:
    assert clients.settle(ImageClients(gone=True), host=HOST, own=OWN, listing=()).gone
    assert not settle(QEMU).gone
