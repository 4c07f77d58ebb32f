"""Orders to a guest, against a small guest that answers on 127.0.0.1."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from labkit import guestctl
from labkit.guestctl import GuestError, GuestStatus

SERVER = "11111111-2222-4333-8444-555555555555"
FIRST, SECOND = "a" * 16, "b" * 16


class Guest(threading.Thread):
    """Answers as init.c does. DROP swallows the answers it is asked to, as a network would."""

    def __init__(self, after: str | None, drop: Callable[[str], bool]) -> None:
        super().__init__(daemon=True)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.boot: str | None = FIRST
        self.after = after  # the boot that follows an order; None: it stays off
        self.drop = drop
        self.obeyed: list[str] = []

    def run(self) -> None:
        while True:
            data, sender = self.udp.recvfrom(64)
            if data == b"end":
                return
            order, _, wanted = data.decode().partition(" ")
            if self.boot is None:
                continue
            mine = wanted == self.boot
            verdict = "status" if order == "status" else "ok" if mine else "refused"
            answer = f"{verdict} {self.boot} {SERVER}\n"
            if mine:
                self.obeyed.append(data.decode())
                self.boot = self.after
            if not self.drop(verdict):
                self.udp.sendto(answer.encode(), sender)

    def end(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"end", self.udp.getsockname())
        self.join()
        self.udp.close()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Guest]]:
    started: list[Guest] = []

    def starter(
        after: str | None = None, drop: Callable[[str], bool] = lambda verdict: False
    ) -> Guest:
        guest = Guest(after, drop)
        monkeypatch.setattr(guestctl, "CONTROL_PORT", guest.udp.getsockname()[1])
        guest.start()
        started.append(guest)
        return guest

    monkeypatch.setattr(guestctl, "SILENCE_S", 0.2)
    monkeypatch.setattr(guestctl, "RETRY_S", 0.05)
    yield starter
    for guest in started:
        guest.end()


def test_status_tells_who_answers(start: Callable[..., Guest]) -> None:
    start()
    assert guestctl.status("127.0.0.1") == GuestStatus(FIRST, SERVER)


@pytest.mark.parametrize("what", ["panic", "poweroff"])
def test_an_order_to_stop_is_done_when_the_boot_is_silent(
    start: Callable[..., Guest], what: str
) -> None:
    guest = start()
    assert guestctl.order("127.0.0.1", what).boot == FIRST
    assert guest.obeyed == [f"{what} {FIRST}"]


def test_a_reboot_whose_answer_is_lost_is_not_given_twice(start: Callable[..., Guest]) -> None:
    guest = start(after=SECOND, drop=lambda verdict: verdict == "ok")
    guestctl.order("127.0.0.1", "reboot")
    assert guest.obeyed == [f"reboot {FIRST}"]
    assert guest.boot == SECOND


def test_an_order_without_effect_is_an_error(start: Callable[..., Guest]) -> None:
    start(after=FIRST)
    with pytest.raises(GuestError, match="its boot still answers"):
        guestctl.order("127.0.0.1", "poweroff", effect_timeout=0.3)


def test_a_guest_that_never_acknowledges_is_an_error(start: Callable[..., Guest]) -> None:
    start(after=FIRST, drop=lambda verdict: verdict == "ok")
    with pytest.raises(GuestError, match="did not acknowledge"):
        guestctl.order("127.0.0.1", "reboot", timeout=0.3)


def test_another_server_is_left_alone(start: Callable[..., Guest]) -> None:
    guest = start()
    with pytest.raises(GuestError, match="is server"):
        guestctl.order("127.0.0.1", "panic", server="0" * 36)
    assert guest.obeyed == []


def test_nobody_there_is_an_error(start: Callable[..., Guest]) -> None:
    start().boot = None
    with pytest.raises(GuestError, match="no guest answers"):
        guestctl.status("127.0.0.1", timeout=0.2)


def test_the_command_prints_one_object(
    start: Callable[..., Guest], capsys: pytest.CaptureFixture[str]
) -> None:
    start()
    assert guestctl.main(["127.0.0.1", "status"]) == 0
    assert capsys.readouterr().out == f'{{"boot": "{FIRST}", "server": "{SERVER}"}}\n'
