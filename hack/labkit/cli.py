"""The command `hack/lab`: words to orders, answers to stdout, exit codes."""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from dataclasses import dataclass, field

from labkit import names
from labkit.errors import LabError, Unknown
from labkit.progress import say

USAGE = """\
hack/lab: a whole Respawn cluster in one machine: API server, Ceph, hosts, operators

  up [--hosts 3] [--operators 2] [--profile default|fast]
                                    bring it up, or repair what a crash or a fault left
                                    (--bare: without Respawn in it)
  down                              take it down; nothing is left
  status                            the parts and their state
  env                               shell lines to use it: eval "$(hack/lab env)"
  kubectl ARGS…                     kubectl on this lab
  logs [PART]                       the log of a part; without PART, the parts that have one

  host power-off|power-on|power-cycle HOST
                                    HOST: host-1, host-2 …; as by its switch: nobody is told
  host shutdown HOST                services and QEMUs get SIGTERM, in 10 s all is off
  host freeze|thaw HOST             every process stands still; its kernel still answers pings
  host cut|heal HOST PLANE…         PLANE: management storage migration tenant all
  host add|remove HOST              move its servers first: the Node of a host that is removed with
                                    some goes only when it is certain that nothing runs there
  host exec HOST -- CMD…
  switch cut|heal PLANE…            that plane of all hosts
  agent|heart|libvirtd stop|start|kill|freeze|thaw HOST
                                    stop: until start; kill: it comes back after 1 s
  operator stop|start|kill|freeze|thaw INDEX
                                    INDEX: 1, 2 …
  operator crash-after|freeze-after INDEX STEP
                                    restart it; once, right after that step, it ends or stops
                                    (a wrong STEP is answered with their names)
  operator leader                   which one leads
  api stop|start|freeze|thaw
  ceph stop|start|freeze|thaw mon.a|mgr.x|osd.N|all
  ceph exec -- CMD…

  guest NAMESPACE/NAME              what the guest itself proves, from its console and disk
  guest kill NAMESPACE/NAME         SIGKILL to its QEMU
  guest panic|poweroff|reboot NAMESPACE/NAME
                                    asked of the guest itself, over the tenant network
  ping NAMESPACE/NAME --seconds S   10 ms period, over the tenant network
  domains                           every QEMU there is, from the process tables
  writers                           who could write to each image

  --name NAME (or LAB_NAME)         which lab; default `lab`
  -o json                           machine-readable answer (see docs/lab.md)

Exit codes: 0 done or already so, 1 tried and failed, 2 unknown name or impossible order,
130 interrupted; of kubectl, host exec and ceph exec the command's own."""

_ENTRY = re.compile(r"^  (?=\S)", re.MULTILINE)


def usage(words: list[str]) -> str:
    """The whole of it, or what concerns the command that WORDS name, and the options.

    Unknown words are answered with the whole.
    """
    entries = _ENTRY.split(USAGE)[1:]
    about = [e for e in entries if words and words[0] in e.split(maxsplit=1)[0].split("|")]
    options = [e for e in entries if e.startswith("-")]
    if not about:
        return USAGE
    lines = ["  " + e.rstrip("\n") for e in (*about, "", *options)]
    return "\n".join(line.rstrip() for line in lines)


_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")

#: options that take a value, and those that do not
FLAGS = {"--bare"}
OPTIONS = {"--name", "--hosts", "--operators", "--profile", "--seconds", "-o", "--output"}


@dataclass
class Order:
    """A command line, taken apart."""

    words: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    rest: list[str] = field(default_factory=list)  # what belongs to another command

    @property
    def lab(self) -> str:
        # said to be empty is not unsaid: an unset variable in a script must not mean another lab
        name = self.options.get("--name", os.environ.get("LAB_NAME") or "lab")
        return names.check_lab_name(name)

    @property
    def json(self) -> bool:
        return self.options.get("-o") == "json"

    def number(self, option: str, default: int | None, low: int, high: int) -> int:
        text = self.options.get(option)
        if text is None:
            if default is None:
                raise Unknown(f"say {option} N")
            return default
        found = names.number(text)
        if found is None or not low <= found <= high:
            raise Unknown(f"{option} is a number from {low} to {high}, not '{text}'")
        return found

    def seconds(self, option: str, high: float) -> float:
        """A time in seconds above 0, which must be given; a fraction may be written with a dot."""
        text = self.options.get(option, "")
        found = float(text) if _DECIMAL.fullmatch(text) else 0.0
        if not 0.0 < found <= high:
            raise Unknown(f"say {option} N, seconds above 0 and up to {high:g}, not '{text}'")
        return found

    def command(self, start: int) -> list[str]:
        """The words from START on are another program's; a `--` may stand before or in them."""
        return [*self.words[start:], *self.rest]


def parse(arguments: list[str]) -> Order:
    """Options may stand before or after any word, until `kubectl` or `--`. Raises Unknown."""
    order, left = Order(), list(arguments)
    while left:
        word = left.pop(0)
        option, equals, value = word.partition("=")
        if word == "--" or (order.words == ["kubectl"]):
            order.rest = left if word == "--" else [word, *left]
            break
        if word in ("-h", "--help"):
            order.words = ["help", *order.words[:1]]
            break
        if word.startswith("-o") and word not in OPTIONS and not equals:
            option, equals, value = "-o", "=", word[2:]
        if option in OPTIONS:
            if not equals:
                if not left:
                    raise Unknown(f"{option} wants a value")
                value = left.pop(0)
            order.options["-o" if option == "--output" else option] = value
        elif word in FLAGS:
            order.flags.add(word)
        elif word.startswith("-"):
            raise Unknown(f"unknown option {word}: see hack/lab --help")
        else:
            order.words.append(word)
    if order.options.get("-o", "json") != "json":
        raise Unknown(f"-o knows only json, not '{order.options['-o']}'")
    return order


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    try:
        # what interrupts from here on is seen to below, and where something is to be taken back
        signal.signal(signal.SIGINT, signal.default_int_handler)
        order = parse(arguments)
        if not order.words or order.words[0] == "help":
            print(usage(order.words[1:]), file=sys.stdout if order.words else sys.stderr)
            return 0 if order.words else 2
        from labkit import commands  # heavy: only once the words are understood

        return commands.run(order)
    except LabError as error:
        say(f"hack/lab: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("hack/lab: interrupted")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)  # threads of a broken-off `up` hold nothing any more
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:  # noqa: BLE001  whatever it is, one line says so
        say(f"hack/lab: {_unforeseen(error)}")
        return 1


def _unforeseen(error: Exception) -> str:
    """One line about an error that nobody thought of, with where it arose."""
    text = " ".join(str(error).split())
    if isinstance(error, RuntimeError) and type(error) is not RuntimeError and text:
        return text  # of a part of the lab, made for people
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text[:500]}{where}"
