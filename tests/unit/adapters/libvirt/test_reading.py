"""Whose a domain is: name, UUID, mark and images must tell one story."""

import pytest

from respawn.adapters.libvirt.names import image_owner, incarnation_of
from respawn.adapters.libvirt.reading import describe, logged_ending, question, read_mark
from respawn.model.conditions import Reason
from respawn.model.host import Ask

UID = "8d6c8f62-37b8-4f7c-9f0a-3a1c5c1e9a01"
OTHER = "00000000-37b8-4f7c-9f0a-3a1c5c1e9a01"
MARK = (
    f'<respawn:server xmlns:respawn="https://respawn.dev/domain/v1" uid="{UID}"'
    ' namespace="a" name="web" epoch="3" bootID="b"/>'
)


def domain(
    *, name: str = f"vs-{UID}.3", uuid: str = UID, mark: str = MARK, images: tuple[str, ...] = ()
) -> str:
    disks = "".join(f"<disk><source protocol='rbd' name='{i}'/></disk>" for i in images)
    return (
        f"<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>"
        f"<metadata>{mark}</metadata><devices>{disks}</devices></domain>"
    )


def asked(xml: str) -> Ask | str:
    return question(describe(xml), "prepare")


def test_one_story_is_a_question() -> None:
    assert asked(domain(images=(f"vms/vs-{UID}-root",))) == Ask(UID, 3, "b", "a", "web", "prepare")


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (domain(mark="", images=(f"vms/vs-{UID}-root",)), "without being ours"),
        (domain(name=f"vs-{UID}.4"), "not that of epoch 3"),
        (domain(name="web"), "not that of epoch 3"),
        (domain(uuid=OTHER), "is not the server's"),
        (domain(images=(f"vms/vs-{UID}-root", f"vms/vs-{OTHER}-root")), "is no disk of server"),
        (domain(images=("other/anything",)), "is no disk of server"),
        (domain(mark=MARK.replace('epoch="3"', 'epoch="x"')), "not that of epoch 0"),
        (domain(mark=MARK.replace(f'uid="{UID}"', "")), "not that of epoch 3"),
    ],
)
def test_a_story_that_does_not_fit_is_refused_unasked(xml: str, why: str) -> None:
    said = asked(xml)
    assert isinstance(said, str) and why in said


def test_images_are_found_wherever_they_are_named() -> None:
    xml = (
        "<domain><name>x</name><uuid>u</uuid><devices><disk><source protocol='nbd' name='n'/>"
        "<backingStore><source protocol='rbd' name='vms/base'/></backingStore>"
        "<mirror><source protocol='rbd' name='vms/copy'/></mirror></disk></devices></domain>"
    )
    assert describe(xml).images == ("vms/base", "vms/copy")


def test_libvirts_status_file_has_the_domain_inside() -> None:
    status = f"<domstatus state='running'><vcpus/>{domain()}</domstatus>"
    mark = describe(status).mark
    assert mark is not None and (mark.uid, mark.epoch) == (UID, 3)


@pytest.mark.parametrize("broken", ["", "<domain", "<network/>"])
def test_what_is_no_domain_is_no_question(broken: str) -> None:
    with pytest.raises(ValueError):
        describe(broken)


def test_the_metadata_element_alone_is_read_as_libvirt_gives_it() -> None:
    """libvirt drops the prefix and with it, in the element's own name, the namespace."""
    for xml in (MARK, MARK.replace("respawn:server", "server").replace("xmlns:respawn", "x")):
        mark = read_mark(xml)
        assert mark is not None
        assert (mark.uid, mark.namespace, mark.name, mark.epoch) == (UID, "a", "web", 3)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (f"vs-{UID}.12", (UID, 12)),
        (f"vs-{UID}.0", None),
        (f"vs-{UID}.1x", None),
        (f"vs-{UID}", None),
        (f"xvs-{UID}.1", None),
        (f"vs-{UID.upper()}.1", None),
    ],
)
def test_names_of_incarnations(name: str, found: tuple[str, int] | None) -> None:
    assert incarnation_of(name) == found


def test_owners_of_images() -> None:
    assert image_owner(f"vs-{UID}-data-2") == UID
    assert image_owner(f"vs-{UID}") is None and image_owner(f"image-{UID}") is None


def signal(by: str) -> str:
    return f"2026-11-25T22:51:03.494281Z qemu-system-x86_64: terminating on signal 15{by}\n"


KILLED = signal(" from pid 33 (/usr/bin/python3)")
BY_LIBVIRT = signal(" from pid 31 (libvirtd)")
BY_ITS_PATH = signal(" from pid 1531 (/usr/sbin/virtqemud)")


def ended(reason: str) -> str:
    return f"2026-11-25 22:51:03.740+0000: shutting down, reason={reason}\n"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (ended("shutdown"), Reason.GUEST_SHUTDOWN),
        # Its guest has powered itself off, and libvirt ends the QEMU that is left.
        (BY_LIBVIRT + ended("shutdown"), Reason.GUEST_SHUTDOWN),
        (BY_ITS_PATH + ended("shutdown"), Reason.GUEST_SHUTDOWN),
        (KILLED + ended("shutdown"), Reason.QEMU_DIED),
        (KILLED + BY_LIBVIRT + ended("shutdown"), Reason.QEMU_DIED),
        (signal(" from pid 5 (<unknown process>)") + ended("shutdown"), Reason.QEMU_DIED),
        (signal("") + ended("shutdown"), Reason.QEMU_DIED),
        (BY_LIBVIRT + ended("destroyed"), Reason.DESTROYED),
        (ended("saved"), Reason.DESTROYED),
        # A panic and a death of QEMU are both written down as `crashed`.
        (ended("crashed"), None),
        (ended("failed"), None),
        (ended("crashed") + ended("shutdown"), Reason.GUEST_SHUTDOWN),
        ("2026-11-25 22:50:00.000+0000: starting up libvirt version: 9.0.0\n", None),
        ("char device: shutting down, reason=shutdown\n", None),
        ("", None),
    ],
)
def test_libvirts_log_tells_an_ending_that_has_one_meaning(log: str, reason: str | None) -> None:
    assert logged_ending(log) == reason
