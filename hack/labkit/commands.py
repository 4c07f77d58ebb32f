"""Orders of `hack/lab`, by their first word."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable

from labkit import controlplane, faults, lifecycle, names, services
from labkit.cli import Order
from labkit.errors import Unknown
from labkit.lab import Lab, require_root
from labkit.names import MAX_HOSTS, MAX_OPERATORS
from labkit.namespaces import Inside, in_network
from labkit.progress import say
from labkit.state import Folder
from labkit.supervise import init_pid

PROFILES = ("default", "fast")
#: options that make sense with one command alone
OPTION_OF = dict.fromkeys(("--hosts", "--operators", "--profile", "--bare"), "up")
OPTION_OF["--seconds"] = "ping"


def run(order: Order) -> int:
    """Carry out an order; raises LabError."""
    command = COMMANDS.get(order.words[0])
    if command is None:
        raise Unknown(f"unknown command '{order.words[0]}': see hack/lab --help")
    for option in (*order.options, *sorted(order.flags)):
        if OPTION_OF.get(option, order.words[0]) != order.words[0]:
            raise Unknown(f"{option} is an option of hack/lab {OPTION_OF[option]}")
    require_root()
    return command(order) or 0


def show(order: Order, answer: dict, text: Callable[[dict], str]) -> None:
    print(json.dumps(answer) if order.json else text(answer))


def _only(order: Order, count: int, usage: str) -> list[str]:
    """The words after the command, which must be COUNT."""
    words = order.words[1:]
    if len(words) != count:
        raise Unknown(f"usage: hack/lab {usage}")
    return words


def up(order: Order) -> None:
    _only(order, 0, "up [--name NAME] [--hosts 3] [--operators 2] [--profile default|fast]")
    hosts = order.number("--hosts", 0, 1, MAX_HOSTS) or None
    operators = order.number("--operators", 0, 1, MAX_OPERATORS) or None
    profile = order.options.get("--profile")
    if profile not in (*PROFILES, None):
        raise Unknown(f"--profile is one of {', '.join(PROFILES)}, not '{profile}'")
    folder = Folder(order.lab)
    with folder.locked():
        if folder.exists():
            _refuse_other_shape(order, folder)
        lab = lifecycle.up(
            order.lab,
            hosts=hosts,
            operators=operators,
            profile=profile,
            bare="--bare" in order.flags,
        )
    say("\nTry next:\n" + "\n".join(_try_next(order, list(lab.state.hosts), lab.state.bare)))


def _try_next(order: Order, hosts: list[str], bare: bool) -> list[str]:
    flag = "" if order.lab == "lab" else f" --name {order.lab}"
    lines = [
        (f'eval "$(hack/lab env{flag})"', "kubectl now talks to this lab"),
        ("kubectl apply -f manifests/samples/web-1.yaml", "a server"),
        ("kubectl get vs,vnode -A", "servers and hosts"),
        *_try_to_break(hosts, bare, flag),
        (f"hack/lab writers{flag}", "who could write to each disk"),
        (f"hack/lab status{flag}", "the lab's parts"),
        (f"hack/lab down{flag}", "take it all away"),
    ]
    if bare:
        lines = [line for line in lines if not line[0].startswith("kubectl")]
    return [f"  {command:<48}  {why}" for command, why in lines]


def _try_to_break(hosts: list[str], bare: bool, flag: str) -> list[tuple[str, str]]:
    if bare:
        return [(f"hack/lab host power-cycle {hosts[0]}{flag}", "another boot of it")]
    if len(hosts) > 1:
        return [(f"hack/lab host power-off {hosts[1]}{flag}", "and see it come back elsewhere")]
    return [(f"hack/lab guest kill customer-a/web-1{flag}", "and see it come back")]


def _refuse_other_shape(order: Order, folder: Folder) -> None:
    state = folder.load()
    if not state.complete or init_pid(folder.socket) is None:
        return
    asked = {
        "--hosts": str(len(state.hosts)),
        "--operators": str(state.operators),
        "--profile": state.profile,
    }
    for option, present in asked.items():
        if order.options.get(option, present) != present:
            raise Unknown(
                f"lab '{state.name}' is there with {option} {present}: take it down first"
                + (", or use host add|remove" if option == "--hosts" else "")
            )


def down(order: Order) -> None:
    _only(order, 0, "down")
    folder = Folder(order.lab)
    with folder.locked():
        if not lifecycle.down(order.lab):
            say(f"there is no lab '{order.lab}': nothing to take down")


def env(order: Order) -> None:
    _only(order, 0, "env")
    lab = Lab.open(order.lab)
    path = controlplane.kubectl_path().parent
    print(f"export LAB_NAME={lab.state.name}")
    print(f"export KUBECONFIG={lab.folder.kubeconfig}")
    print(f"export KUBECACHEDIR={lab.folder.kube_cache}")
    print(f"export PATH={path}:$PATH")


def kubectl(order: Order) -> None:
    lab = Lab.open(order.lab)
    program = str(controlplane.kubectl_path())
    environment = {**os.environ, **lab.folder.kubectl_environment()}
    sys.stdout.flush()
    os.execve(program, ["kubectl", *order.rest], environment)


def logs(order: Order) -> None:
    from labkit import logs

    folder = Folder(order.lab)
    parts = logs.parts(folder, folder.load())  # the folder is enough: a crash is to be explained
    if len(order.words) == 1:
        print("\n".join(parts))
        return
    (part,) = _only(order, 1, "logs PART")
    with logs.find(parts, part).open(errors="replace") as text:
        shutil.copyfileobj(text, sys.stdout)


def status(order: Order) -> None:
    from labkit import status as statuses

    _only(order, 0, "status")
    show(order, statuses.status(Lab.open(order.lab)), statuses.text)


def domains(order: Order) -> None:
    from labkit import truth, views

    _only(order, 0, "domains")
    show(order, truth.domains(Lab.open(order.lab)), views.domains)


def writers(order: Order) -> None:
    from labkit import truth, views, writers

    _only(order, 0, "writers")
    lab = Lab.open(order.lab)
    show(
        order, writers.writers(lab), lambda answer: views.writers(answer, truth.servers_by_pid(lab))
    )


def host(order: Order) -> None:
    if len(order.words) < 3:
        raise Unknown("usage: hack/lab host ORDER HOST …")
    verb, name, more = order.words[1], order.words[2], order.words[3:]
    if verb == "exec":
        _host_exec(order, name)
        return
    with Folder(order.lab).locked():
        faults.host(Lab.open(order.lab), verb, name, more)


def _host_exec(order: Order, name: str) -> None:
    lab = Lab.open(order.lab)
    command = order.command(3)
    if not command:
        raise Unknown("usage: hack/lab host exec HOST -- CMD…")
    pid = lab.host(name).on()
    Inside(pid).replace_self(command)


def switch(order: Order) -> None:
    if len(order.words) < 3 or order.words[1] not in ("cut", "heal"):
        raise Unknown("usage: hack/lab switch cut|heal PLANE…")
    planes = names.planes(order.words[2:])
    with Folder(order.lab).locked():
        faults.switch(Lab.open(order.lab), order.words[1], planes)


def host_service(order: Order) -> None:
    service = order.words[0]
    verb, name = _only(order, 2, f"{service} stop|start|kill|freeze|thaw HOST")
    with Folder(order.lab).locked():
        services.of_host(Lab.open(order.lab), service, verb, name)


def operator(order: Order) -> None:
    lab = Lab.open(order.lab)
    if order.words[1:2] == ["leader"]:
        _only(order, 1, "operator leader")
        from labkit import status as statuses

        show(order, statuses.leader_answer(lab), statuses.leader_text)
        return
    if order.words[1:2] and order.words[1] in services.POINT_VARIABLES:
        verb, index, point = _only(order, 3, "operator crash-after|freeze-after INDEX STEP")
        with Folder(order.lab).locked():
            services.operator_point(lab, verb, index, point)
        return
    verb, index = _only(order, 2, "operator stop|start|kill|freeze|thaw INDEX | operator leader")
    with Folder(order.lab).locked():
        services.of_lab(lab, lab.operator_service(index), verb)


def api(order: Order) -> None:
    (verb,) = _only(order, 1, "api stop|start|freeze|thaw")
    with Folder(order.lab).locked():
        services.of_api(Lab.open(order.lab), verb)


def ceph_orders(order: Order) -> int | None:
    if len(order.words) > 1 and order.words[1] == "exec":
        lab = Lab.open(order.lab)
        command = order.command(2)
        if not command:
            raise Unknown("usage: hack/lab ceph exec -- CMD…")
        os.environ["CEPH_CONF"] = str(lab.folder.ceph / "ceph.conf")
        lab.inside.replace_self([*in_network("ceph"), *command])
    verb, daemon = _only(order, 2, "ceph stop|start|freeze|thaw mon.a|mgr.x|osd.N|all")
    with Folder(order.lab).locked():
        services.of_ceph(Lab.open(order.lab), daemon, verb)
    return None


def guest(order: Order) -> None:
    from labkit import guests, views

    if len(order.words) == 2:
        name = names.ServerName.parse(order.words[1])
        show(order, guests.evidence(Lab.open(order.lab), name), views.guest)
        return
    verb, text = _only(order, 2, "guest [kill|panic|poweroff|reboot] NAMESPACE/NAME")
    guests.order(Lab.open(order.lab), verb, names.ServerName.parse(text))


def ping(order: Order) -> None:
    from labkit import guests, views

    (text,) = _only(order, 1, "ping NAMESPACE/NAME --seconds S")
    name = names.ServerName.parse(text)
    seconds = order.seconds("--seconds", 3600)
    show(order, guests.ping(Lab.open(order.lab), name, seconds), views.ping)


COMMANDS: dict[str, Callable[[Order], int | None]] = {
    "up": up,
    "down": down,
    "env": env,
    "kubectl": kubectl,
    "logs": logs,
    "status": status,
    "domains": domains,
    "writers": writers,
    "host": host,
    "switch": switch,
    "agent": host_service,
    "heart": host_service,
    "libvirtd": host_service,
    "operator": operator,
    "api": api,
    "ceph": ceph_orders,
    "guest": guest,
    "ping": ping,
}
