"""Start a module of the lab so that Ctrl-C ends it with 130 and no word, whenever it comes.

Run with `python -S`, because finding packages takes as long as an impatient Ctrl-C, and with SIGINT
blocked, so that one that comes before `leave` is there waits for it. From its own `main` on, the
module sees to Ctrl-C itself.
"""

import os
import signal
import sys


def leave(*_: object) -> None:
    os._exit(130)


signal.signal(signal.SIGINT, leave)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

import runpy  # noqa: E402
import site  # noqa: E402

site.main()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
