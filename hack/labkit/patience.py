"""Questions to what may never answer, each in a process of its own that can be given up."""

from __future__ import annotations

import os
import pickle
import select
import signal
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import NoReturn, TypeVar

from labkit.errors import LabError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
#: held from a pipe's making to its child's start: a child of another thread would keep it open
_STARTING = threading.Lock()


def ask(what: str, question: Callable[[], T], seconds: float) -> T:
    """The answer to QUESTION, asked elsewhere; raises LabError if it fails or takes too long.

    What QUESTION does to its process is lost; its answer must be one that can be pickled.
    """
    found = _gather({what: question}, seconds).get(what)
    if found is None:
        raise LabError(f"{what} does not answer within {seconds:g} s")
    fine, answer = found
    if not fine:
        raise LabError(str(answer))
    return answer  # type: ignore[return-value]


def ask_all(questions: Mapping[K, Callable[[], T]], seconds: float) -> dict[K, T]:
    """Ask all of them side by side. What fails or takes too long is not in the answer."""
    found = _gather(questions, seconds)
    return {key: answer for key, (fine, answer) in found.items() if fine}  # type: ignore[misc]


def _gather(questions: Mapping[K, Callable[[], T]], seconds: float) -> dict[K, tuple[bool, object]]:
    """(whether it went well, the answer or what was said) of those that were in time."""
    asked: dict[int, tuple[K, int]] = {}  # pipe -> (question, process)
    heard: dict[int, bytes] = {}
    ended: set[int] = set()
    try:
        for key, question in questions.items():
            pipe, pid = _start(question, seconds)
            asked[pipe] = (key, pid)
            heard[pipe] = b""
        deadline = time.monotonic() + seconds
        while (open_pipes := asked.keys() - ended) and (left := deadline - time.monotonic()) > 0:
            for pipe in select.select(list(open_pipes), [], [], left)[0]:
                part = os.read(pipe, 1 << 16)
                heard[pipe] += part
                if not part:
                    ended.add(pipe)
    finally:
        for pipe, (_, pid) in asked.items():
            os.kill(pid, signal.SIGKILL)  # not yet waited for, so the number is still its own
            os.waitpid(pid, 0)
            os.close(pipe)
    return {asked[pipe][0]: pickle.loads(heard[pipe]) for pipe in ended if heard[pipe]}


def _start(question: Callable[[], object], seconds: float) -> tuple[int, int]:
    """(pipe for the answer, process) of a child that asks."""
    with _STARTING:
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            _answer(question, into, seconds)
        os.close(into)
    return out, pid


def _answer(question: Callable[[], object], into: int, seconds: float) -> NoReturn:
    """The child: ends by itself even if nobody is left to end it."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + 1)
        try:
            found: tuple[bool, object] = (True, question())
        except LabError as error:
            found = (False, str(error))
        except Exception as error:  # noqa: BLE001  told by the parent
            found = (False, f"{type(error).__name__}: {error}")
        with os.fdopen(into, "wb") as pipe:
            pickle.dump(found, pipe)
    finally:
        os._exit(0)
