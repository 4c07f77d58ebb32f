"""Where a server goes: filters that say why not, then scores. Wishes never block."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from respawn.decide import capacity, liveness
from respawn.model.base import Now
from respawn.model.conditions import Type, find
from respawn.model.node import FencePhase, Node
from respawn.model.server import AntiAffinity, Server
from respawn.model.sight import Sight
from respawn.model.world import World

STARTS_PER_HOST = 10
"""Servers that may be starting on one host at a time."""

BUSY = "is busy starting others"
_REMOVED = "is being removed"

_WHILE_FENCED = {
    FencePhase.FENCING: "is being fenced",
    FencePhase.FENCED: "is fenced",
    FencePhase.LIFTING: "is fenced, and being let in again",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The node that was chosen, or why each one was refused."""

    node: str | None
    refusals: tuple[tuple[str, str], ...] = ()

    @property
    def only_busy(self) -> bool:
        """Whether some host would fit as soon as others have started on it."""
        return self.node is None and any(why == BUSY for _, why in self.refusals)

    def why_not(self, node: str) -> str:
        """Why that one was refused."""
        why = dict(self.refusals).get(node)
        return f"there is no {node}" if why is None else f"{node} {why}"

    @property
    def message(self) -> str:
        """Every host with its refusal."""
        if not self.refusals:
            return "there are no hosts"
        return "; ".join(f"{node} {why}" for node, why in self.refusals)


def choose(
    world: World,
    server: Server,
    now: Now,
    *,
    only: str | None = None,
    avoid: str | None = None,
) -> Choice:
    """Pick a host. `only` admits that one alone; `avoid` is taken when nothing else fits."""
    refusals: list[tuple[str, str]] = []
    fitting: list[Node] = []
    for name in sorted(world.nodes):
        node = world.nodes[name]
        why = refusal(world, server, node, now)
        if why is None and only not in (None, name):
            why = f"is not {only}, on which it must wait"
        if why is None:
            fitting.append(node)
        else:
            refusals.append((name, why))
    if not fitting:
        return Choice(None, tuple(refusals))
    best = min(fitting, key=lambda n: (n.name == avoid, *_score(world, server, n)))
    return Choice(best.name, tuple(refusals))


def fits_nowhere(world: World, server: Server) -> str | None:
    """Why no host would take it even if all were empty and well, so that only a person can help;
    None: some host would.
    """
    never = [(name, _never(server, n)) for name, n in sorted(world.nodes.items())]
    if not never or any(why is None for _, why in never):
        return None
    return "; ".join(f"{node} {why}" for node, why in never)


def _never(server: Server, node: Node) -> str | None:
    """Why it could not go there even if the host were empty and well."""
    if node.deleting:
        return _REMOVED
    if node.registration is None or not node.host.capacity.memory:
        return None  # nobody knows yet how large it is
    lacking = _lacking_label(server, node) or _lacking_bridge(server, node)
    if lacking is not None:
        return lacking
    most, wanted = max(0, capacity.most(node)), capacity.need(server, node)
    if wanted > most:
        return f"has {_mebibytes(most)} of memory for servers, {_mebibytes(wanted)} are needed"
    return _lacking_cores(server, node)


def refusal(world: World, server: Server, node: Node, now: Now) -> str | None:
    """Why `server` may not go to `node`; None: it may."""
    for check in FILTERS:
        why = check(world, server, node, now)
        if why is not None:
            return why
    return None


def _state(world: World, server: Server, node: Node, now: Now) -> str | None:
    if node.deleting:
        return _REMOVED
    if node.spec.cordoned:
        return "is cordoned"
    if node.spec.drain:
        return "is to be drained"
    if node.registration is None:
        return "has no registered agent"
    if node.fence.phase is not FencePhase.OK:
        return _WHILE_FENCED[node.fence.phase]
    if node.host.storage_failing:
        return "cannot reach its storage"
    if node.host.hypervisor_failing:
        return "has a libvirtd that does not answer"
    state = liveness.verdict(world, node, now).state
    if state is not liveness.State.HEALTHY:
        return f"is not healthy ({state})"
    if liveness.other_boot(node, world.sights.get(node.name, Sight())):
        # A beat that was left by its former boot, and read for the first time, seems fresh.
        return "has not beaten in Ceph since it booted"
    return None


def _selector(world: World, server: Server, node: Node, now: Now) -> str | None:
    return _lacking_label(server, node)


def _lacking_label(server: Server, node: Node) -> str | None:
    for key, value in sorted(server.spec.node_selector.items()):
        if node.label(key) != value:
            return f"has not the label {key}={value}"
    return None


def _plugs(world: World, server: Server, node: Node, now: Now) -> str | None:
    return _lacking_bridge(server, node)


def _lacking_bridge(server: Server, node: Node) -> str | None:
    has = node.host.capacity.bridges
    if has is None:
        return None  # its agent is older than this operator, or has just begun
    lacks = (nic for nic in server.spec.networks if nic.bridge and nic.bridge not in has)
    return next((f"has no bridge {nic.bridge} (network {nic.name})" for nic in lacks), None)


def _required_rules(world: World, server: Server, node: Node, now: Now) -> str | None:
    """Its own, and those of the servers that are there already."""
    for rule in server.spec.anti_affinity:
        if rule.required and node.label(rule.topology_key) is None:
            # Nobody could tell whether it is kept apart there; a slip must not void the rule.
            return f"has not the label {rule.topology_key}, by which it is to be kept apart"
        for rival in _rivals(world, server, node, rule):
            if rule.required or replace(rule, required=True) in rival.spec.anti_affinity:
                return f"shares its {rule.topology_key} with {rival.name} of group {rule.group}"
    return None


def _fits(world: World, server: Server, node: Node, now: Now) -> str | None:
    used = capacity.use(world, node, without=server.uid)
    wanted = capacity.need(server, node)
    if wanted > used.memory_free:
        return f"has {_mebibytes(used.memory_free)} of memory free, {_mebibytes(wanted)} are needed"
    return _lacking_cores(server, node)


def _lacking_cores(server: Server, node: Node) -> str | None:
    cores = node.host.capacity.cores
    too_few = server.spec.cores > cores
    return f"has {cores} cores, {server.spec.cores} are needed" if too_few else None


def _not_busy(world: World, server: Server, node: Node, now: Now) -> str | None:
    starting = capacity.use(world, node, without=server.uid).starting
    return BUSY if starting >= STARTS_PER_HOST else None


Filter = Callable[[World, Server, Node, Now], str | None]
FILTERS: tuple[Filter, ...] = (_selector, _plugs, _state, _required_rules, _fits, _not_busy)
"""In the order in which a person would want to read them: what stays true of a host first."""


def _score(world: World, server: Server, node: Node) -> tuple[bool, int, int, float, int, str]:
    """Smaller is better: can be fenced, wished for, few soft conflicts, much room, few servers, by
    name.
    """
    fencing = find(node.conditions, Type.FENCING_READY)
    # What runs on a host that cannot be fenced is lost with it: better than not running at all.
    stuck = fencing is not None and fencing.status == "False"
    wishes = server.spec.preferred_nodes
    wish = wishes.index(node.name) if node.name in wishes else len(wishes)
    conflicts = sum(
        len(list(_rivals(world, server, node, rule)))
        for rule in server.spec.anti_affinity
        if not rule.required
    )
    used = capacity.use(world, node, without=server.uid)
    load = used.memory / used.memory_total if used.memory_total > 0 else 1.0
    return stuck, wish, conflicts, load, used.servers, node.name


def _rivals(world: World, server: Server, node: Node, rule: AntiAffinity) -> Iterable[Server]:
    """Servers of the rule's group in the node's topology domain, being placed ones too."""
    domain = node.label(rule.topology_key)
    if domain is None:
        return
    for name in sorted(world.nodes):
        if world.nodes[name].label(rule.topology_key) != domain:
            continue
        being_placed = {uid for uid, where in world.reserved.items() if where == name}
        for uid in sorted(world.by_node.get(name, frozenset()) | being_placed):
            other = world.servers.get(uid)
            if other is not None and _same_group(server, other, rule.group):
                yield other


def _same_group(server: Server, other: Server, group: str) -> bool:
    return (
        other.uid != server.uid
        and other.namespace == server.namespace
        and any(rule.group == group for rule in other.spec.anti_affinity)
    )


def _mebibytes(size: int) -> str:
    return f"{size // 2**20}Mi"
