"""What happens to a cluster, and the figures of it: one story for each kind of fault.

A story is a function of a `World`; it returns times in seconds, and packets per member and second. The first seconds
let each node forget that its start was slow.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import trio

from tests.hosts.watched import clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from tests.hosts.watched import Report
    from tests.hosts.worlds import World

    Story = Callable[[World], Awaitable[dict[str, float]]]

__all__ = ["STORIES", "Unfinished", "host_dies", "lossy", "one_way", "parted", "rumors", "work"]

SETTLE_S: Final = 15.0
DETECT_S: Final = 15.0
PARTED_S: Final = 40.0
HEAL_S: Final = 20.0
LOSS: Final = 0.2
DELAY_S: Final = 0.01
_RUMORS: Final = 12
_BETWEEN_S: Final = 0.7


class Unfinished(Exception):
    """Something that had to happen did not, in time."""


async def host_dies(world: World) -> dict[str, float]:
    """The last host loses its power."""
    last = world.layout.hosts - 1
    await trio.sleep(SETTLE_S)
    before = await world.reports()
    at = await world.kill_host(last)
    await trio.sleep(DETECT_S)
    after = await world.reports()
    return _noticed(after, world.layout.names(last), at) | _packets(before, after, DETECT_S)


async def parted(world: World) -> dict[str, float]:
    """Two hosts are cut off from the others, which all notice; then the network is whole again, and the cluster."""
    small = [name for host in (0, 1) for name in world.layout.names(host)]
    large = [name for name in world.layout.everyone if name not in small]
    await trio.sleep(SETTLE_S)
    before = await world.reports()
    at = world.part([0, 1])
    await trio.sleep(PARTED_S)
    between = await world.reports()
    found = _noticed({name: between[name] for name in large}, small, at, "large side: ")
    found |= _noticed({name: between[name] for name in small}, large, at, "small side: ")
    found |= _packets(before, between, PARTED_S)
    before_heal, healed = clock(), world.heal()
    await trio.sleep(HEAL_S)
    after = await world.reports()
    joined = [
        max(
            (note.at for note in after[name].notes if note.what == "MemberJoined" and note.at > before_heal),
            default=0.0,
        )
        for name in world.layout.everyone
    ]
    everyone = sorted(world.layout.everyone)
    if any(sorted(report.members) != everyone for report in after.values()):
        raise Unfinished(f"not whole {HEAL_S:g} s after the partition")
    return found | {
        "healed: half are whole": statistics.median(joined) - healed,
        "healed: all are whole": max(joined) - healed,
    }


async def one_way(world: World) -> dict[str, float]:
    """What one host sends is lost, and it hears the others."""
    last = world.layout.hosts - 1
    await trio.sleep(SETTLE_S)
    before = await world.reports()
    at = world.mute(last)
    await trio.sleep(DETECT_S)
    after = await world.reports()
    others = {name: report for name, report in after.items() if name not in world.layout.names(last)}
    return _noticed(others, world.layout.names(last), at) | _packets(before, after, DETECT_S)


async def lossy(world: World) -> dict[str, float]:
    """A fifth of all packets between hosts is lost, and then one node is killed."""
    await trio.sleep(SETTLE_S)
    world.lose(LOSS)
    await trio.sleep(SETTLE_S)
    before = await world.reports()
    at = await world.kill_node(world.layout.hosts - 1, 1)
    await trio.sleep(DETECT_S)
    after = await world.reports()
    return _noticed(after, [world.layout.names(world.layout.hosts - 1)[1]], at) | _packets(before, after, DETECT_S)


async def rumors(world: World) -> dict[str, float]:
    """Hosts are some way apart, and rumors spread."""
    world.delay(DELAY_S)
    await trio.sleep(SETTLE_S)
    before = await world.reports()
    said: dict[str, float] = {}
    for number in range(_RUMORS):
        word = f"rumor {number}"
        host, place = number % world.layout.hosts, number % world.layout.each
        said[word] = await world.say(host, place, word)
        await trio.sleep(_BETWEEN_S)
    await trio.sleep(2.0)
    after = await world.reports()
    heard = {word: [report.heard.get(word) for report in after.values()] for word in said}
    took = {word: [at - said[word] for at in times if at is not None] for word, times in heard.items()}
    if any(len(times) < len(after) for times in took.values()):
        raise Unfinished("a rumor did not reach all")
    return {
        "half have heard": statistics.median(statistics.median(times) for times in took.values()),
        "all have heard": statistics.median(max(times) for times in took.values()),
    } | _packets(before, after, _RUMORS * _BETWEEN_S + 2.0)


async def work(world: World) -> float:
    """Nodes rest, and hear some rumors; return the processor time of all in seconds."""
    await trio.sleep(SETTLE_S)
    before = await world.reports()
    for number in range(_RUMORS):
        await world.say(number % world.layout.hosts, number % world.layout.each, f"rumor {number}")
        await trio.sleep(_BETWEEN_S)
    await trio.sleep(SETTLE_S)
    after = await world.reports()
    return sum(after[name].processor_s - before[name].processor_s for name in after)


STORIES: Final[dict[str, Story]] = {
    "a host dies": host_dies,
    "a partition": parted,
    "one way blocked": one_way,
    "loss, a node dies": lossy,
    "rumors over a distance": rumors,
}


def _noticed(reports: dict[str, Report], gone: Collection[str], at: float, of: str = "") -> dict[str, float]:
    """Return how long it took until the first, and until all, held all of `gone` failed."""
    missing = set(gone)
    times: list[float] = []
    for name, report in reports.items():
        if name in missing:
            continue
        failed: dict[str, float] = {}
        for note in report.notes:
            if note.what == "MemberFailed" and note.at >= at and note.name in missing:
                failed.setdefault(note.name, note.at - at)
        if len(failed) < len(missing):
            raise Unfinished(f"{name} does not know of {sorted(missing - failed.keys())}")
        times += failed.values()
    return {
        f"{of}first failure known": min(times),
        f"{of}half of all known": statistics.median(times),
        f"{of}all known": max(times),
    }


def _packets(before: dict[str, Report], after: dict[str, Report], seconds: float) -> dict[str, float]:
    """Return how many packets each member sent, of those that were up all the time."""
    sent = [after[name].packets - before[name].packets for name in after if name in before]
    return {"packets per member and s": statistics.mean(sent) / seconds}
