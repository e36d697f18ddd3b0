"""Scenarios: functions that return a schedule of faults.

Their arguments are the number of nodes, the duration of the faults in seconds, and random numbers; equal arguments give
equal schedules. After `duration_s` all faults are over; but `anything` and `churn` may end a minority of the nodes for
good, and leave at least two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trionet.errors import ConfigError
from trionet.import_paths import import_reference
from trionet.user_code import pass_endings

from .cluster import check_schedule
from .faults import Crash, Degrade, Isolate, Leave, OneWay, Partition, Pause, Ring, Skew, Slow
from .raised import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from .fault import Fault

    Scenario = Callable[[int, float, Random], list[Fault]]

__all__ = [
    "SCENARIOS",
    "anything",
    "churn",
    "flapping_link",
    "rolling_restart",
    "schedule_of",
    "slow_tenth",
    "split_brain",
]


def split_brain(n: int, duration_s: float, random: Random) -> list[Fault]:
    """Return a partition into two halves, from a tenth of the time on for eight tenths."""
    nodes = random.sample(range(n), n)
    sides = [sorted(nodes[: n // 2]), sorted(nodes[n // 2 :])]
    return [Partition(at_s=0.1 * duration_s, duration_s=0.8 * duration_s, sides=sides)]


def flapping_link(n: int, duration_s: float, random: Random) -> list[Fault]:
    """Return repeated cuts of one direction between two nodes."""
    if n <= 1:
        return []
    source, target = random.sample(range(n), 2)
    faults: list[Fault] = []
    at_s = 0.0
    while (at_s := at_s + random.uniform(0.5, 3.0)) < 0.9 * duration_s:
        down_s = min(random.uniform(0.5, 5.0), duration_s - at_s)
        faults.append(OneWay(at_s=at_s, duration_s=down_s, sources=[source], targets=[target]))
        at_s += down_s
    return faults


def rolling_restart(n: int, duration_s: float, random: Random) -> list[Fault]:
    """Return a graceful stop and a restart of one node after the other."""
    step_s = duration_s / max(1, n)
    order = random.sample(range(n), n)
    return [Leave(at_s=place * step_s, duration_s=0.5 * step_s, node=node) for place, node in enumerate(order)]


def slow_tenth(n: int, duration_s: float, random: Random) -> list[Fault]:
    """Return slow nodes, a tenth of all, at least one."""
    nodes = sorted(random.sample(range(n), min(n, max(1, n // 10))))
    return [Slow(at_s=0.0, duration_s=duration_s, node=node, lag_s=random.uniform(0.05, 0.5)) for node in nodes]


def churn(n: int, duration_s: float, random: Random) -> list[Fault]:
    """Return crashes and leaves with restarts; at most a third is down, and some may end for good."""
    faults: list[Fault] = []
    back_at = [0.0] * n
    at_s = random.uniform(0.0, 0.1 * duration_s)
    while at_s < 0.9 * duration_s:
        at_s += random.expovariate(max(1, n) / 20)
        node = random.randrange(n)
        if at_s > 0.9 * duration_s or back_at[node] > at_s or sum(back > at_s for back in back_at) >= max(1, n // 3):
            continue
        away_s = min(random.uniform(1.0, 20.0), duration_s - at_s)
        back_at[node] = at_s + away_s + 1.0
        kind: type[Crash | Leave] = Crash if random.random() < 2 / 3 else Leave
        faults.append(kind(at_s=at_s, duration_s=away_s, node=node))
    return [*faults, *_ends(n, duration_s, random)]


def anything(n: int, duration_s: float, random: Random) -> list[Fault]:
    """Return some ten faults of all kinds at random times; some nodes may end for good."""
    faults = [_any_fault(n, duration_s, random, kind) for kind in range(_KINDS)]
    return sorted([*faults, *_ends(n, duration_s, random)], key=lambda fault: fault.at_s)


def _ends(n: int, duration_s: float, random: Random) -> list[Fault]:
    """Return crashes for good in one of three cases: of a minority, and not of the last two."""
    if n <= _LEFT or random.random() >= _CHANCE_OF_ENDS:
        return []
    nodes = random.sample(range(n), random.randint(1, min((n - 1) // 2, n - _LEFT)))
    times = (random.uniform(0.1, 0.9) * duration_s for _ in nodes)
    return [
        Crash(at_s=at_s, node=node, is_silent=random.random() < 1 / 2) for at_s, node in zip(times, nodes, strict=True)
    ]


_LEFT: Final = 2
_CHANCE_OF_ENDS: Final = 1 / 3


_KINDS: Final = 11


def _any_fault(n: int, duration_s: float, random: Random, kind: int) -> Fault:
    at_s = random.uniform(0.0, 0.7 * duration_s)
    for_s = random.uniform(0.05, 0.3) * duration_s
    node = random.randrange(n)
    some = sorted(random.sample(range(n), max(1, n // 2)))
    rest = [index for index in range(n) if index not in some]
    kinds: list[Callable[[], Fault]] = [
        lambda: Partition(at_s=at_s, duration_s=for_s, sides=[some, rest]),
        lambda: OneWay(at_s=at_s, duration_s=for_s, sources=some, targets=rest),
        lambda: Ring(at_s=at_s, duration_s=for_s),
        lambda: Isolate(at_s=at_s, duration_s=for_s, node=node),
        lambda: Degrade(at_s=at_s, duration_s=for_s, loss=0.3, duplicates=0.2, reordered=0.3),
        lambda: Degrade(at_s=at_s, duration_s=for_s, nodes=some, latency_s=0.2, bytes_per_s=20_000.0),
        lambda: Pause(at_s=at_s, duration_s=for_s, node=node),
        lambda: Slow(at_s=at_s, duration_s=for_s, node=node, lag_s=0.1),
        lambda: Skew(at_s=at_s, duration_s=for_s, node=node, forward_s=random.uniform(0, 10), rate=1.1),
        lambda: Crash(at_s=at_s, duration_s=for_s, node=node, is_silent=random.random() < 1 / 2),
        lambda: Leave(at_s=at_s, duration_s=for_s, node=node),
    ]
    return kinds[kind]()


SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.__name__: scenario
    for scenario in (anything, churn, flapping_link, rolling_restart, slow_tenth, split_brain)
}
"""Scenarios by name."""


def schedule_of(scenario: str, n: int, duration_s: float, random: Random) -> list[Fault]:
    """Return the schedule of a scenario: a named one, or a user's own by its import path.

    Raises:
        ConfigError: there is no such scenario, it raises an exception, or it returns no list of faults.
    """
    function = SCENARIOS.get(scenario) or import_reference(scenario)
    try:
        return check_schedule(function(n, duration_s, random))
    except BaseException as exc:
        pass_endings(exc)
        text = str(exc) if isinstance(exc, ConfigError) else shown(exc)
        raise ConfigError(f"the scenario {scenario!r} gives no schedule: {text}") from exc
