"""Questions that are given up."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from labkit.errors import LabError
from labkit.patience import ask, ask_all


def for_ever() -> int:
    time.sleep(600)
    return 0


def fails() -> int:
    raise LabError("no, for a reason")


def ends() -> int:
    os._exit(3)


def test_an_answer_in_time_comes_back_however_long_it_is() -> None:
    assert ask("it", lambda: {"many": list(range(200_000))}, 20)["many"][-1] == 199_999


def test_what_never_answers_is_given_up_and_the_others_are_heard() -> None:
    started = time.monotonic()
    answers = ask_all({"a": lambda: 1, "b": for_ever, "c": fails, "d": ends, "e": lambda: 2}, 1.0)
    assert answers == {"a": 1, "e": 2}
    assert time.monotonic() - started < 10
    with pytest.raises(ChildProcessError):  # none is left behind
        os.waitpid(-1, os.WNOHANG)


def test_threads_ask_at_once_and_none_waits_for_another_ones_child() -> None:
    out, into = os.pipe()

    def one(n: int) -> object:
        return ask("it", (lambda: os.read(out, 1)) if n == 0 else (lambda: n), 20)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(one, n) for n in range(40)]
        assert [a.result() for a in asked[1:]] == list(range(1, 40))
        os.write(into, b"!")  # the first child has lived all the while
        assert asked[0].result() == b"!"
    os.close(out)
    os.close(into)


def test_the_reason_of_a_failure_is_told() -> None:
    with pytest.raises(LabError, match="no, for a reason"):
        ask("it", fails, 20)
    with pytest.raises(LabError, match="ZeroDivisionError"):
        ask("it", lambda: 1 // 0, 20)
    with pytest.raises(LabError, match="the daemon does not answer within"):
        ask("the daemon", for_ever, 0.2)
