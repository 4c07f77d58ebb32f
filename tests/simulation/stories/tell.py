"""How stories are told: their register, and what most of them begin and end with."""

from collections.abc import Awaitable, Callable

from tests.simulation.lab import Lab

from respawn.model.conditions import Type, find

Story = Callable[[Lab], Awaitable[None]]

STORIES: dict[str, tuple[Story, dict[str, object]]] = {}


def story(**lab: object) -> Callable[[Story], Story]:
    """Register a story, with the lab that it plays in."""

    def add(function: Story) -> Story:
        STORIES[function.__name__] = (function, lab)
        return function

    return add


async def running(lab: Lab, *names: str, **spec: object) -> list[str]:
    """Servers of those names, up and Ready."""
    await lab.begin()
    uids = [lab.server(name, **spec) for name in names]
    await lab.until(lambda: all(lab.runs(uid) for uid in uids), 20, "servers run")
    return uids


def epochs(lab: Lab, uid: str) -> list[int]:
    """Epochs that ever opened its image, in order."""
    return [epoch for _, u, epoch, _ in lab.truth.starts if u == uid]


def reason(lab: Lab, uid: str, kind: str = Type.READY) -> str:
    """The reason of a condition of the server."""
    condition = find(lab.get(uid).status.conditions, kind)
    return condition.reason if condition else ""


async def recovers_elsewhere(lab: Lab, uid: str, limit: float = 20) -> float:
    """The positive control: its host loses power, and it runs on another one."""
    lost = lab.where(uid)
    assert lost is not None, f"{uid} runs nowhere"
    lab.power_off(lost)
    await lab.until(lambda: lab.where(uid) not in (None, lost), limit, "runs elsewhere")
    return await lab.until(lambda: lab.runs(uid), 5, "is Ready elsewhere")
