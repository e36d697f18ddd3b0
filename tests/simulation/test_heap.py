"""The heap of protocol cores: their timers run in order and at their times, however they are put off."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from trionet.simulation.heap import HeapCluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.protocols.mux import Packet

_GRID_PER_S: Final = 32  # so that timers of several members are due at one time
_LONGEST: Final = 4 * _GRID_PER_S


class _Runs:
    """What ran: its time, and its number in the order in which timers and actions were set."""

    def __init__(self, cluster: HeapCluster) -> None:
        self.cluster = cluster
        self.count = 0
        self.log: list[tuple[float, int]] = []

    def number(self) -> int:
        self.count += 1
        return self.count

    def note(self, number: int) -> None:
        self.log.append((self.cluster.now, number))


class _Sleeper:
    """Takes the place of a member's protocols: it only has a timer."""

    events = ()

    def __init__(self, runs: _Runs, random: Random) -> None:
        self._runs = runs
        self._random = random
        self._used: set[float] = set()
        self._due = math.inf
        self._number = 0

    def next_deadline(self) -> float:
        return self._due

    def put_off(self, now: float) -> list[Packet]:
        """Set the timer anew: later or earlier, soon or after a while, or never."""
        due = self._some_time(now)
        self._due = math.inf if due in self._used or self._random.random() < 0.05 else due
        self._used.add(self._due)
        self._number = self._runs.number()
        return []

    def on_timer(self, now: float) -> list[Packet]:
        assert now == self._due
        self._runs.note(self._number)
        self._runs.cluster.at(self._some_time(now), self._runs.note, self._runs.number())
        return self.put_off(now)

    def _some_time(self, now: float) -> float:
        units = now * _GRID_PER_S + self._random.choice([1, 4, _LONGEST]) * self._random.random()
        return math.ceil(units) / _GRID_PER_S


def _run(seed: int, run: Callable[[HeapCluster, float], None]) -> list[tuple[float, int]]:
    """Let members set their timers at random for 20 s; `run` runs the cluster up to a time."""
    cluster, random = HeapCluster(seed), Random(seed)
    runs = _Runs(cluster)
    sleepers: dict[str, Any] = {f"n{number}": _Sleeper(runs, random) for number in range(12)}
    for name, sleeper in sleepers.items():
        sleeper.put_off(0.0)
        cluster.add(name, sleeper)
    for _ in range(300):
        name = random.choice(list(sleepers))
        cluster.at(20 * random.random(), cluster.act, name, lambda mux, now: mux.put_off(now))
    run(cluster, 20.0)
    assert cluster.now == 20.0
    assert all(sleeper.next_deadline() > 20.0 for sleeper in sleepers.values())
    return runs.log


def _by_steps(cluster: HeapCluster, until: float) -> None:
    while cluster.now < until:
        cluster.run(min(until, cluster.now + 1 / 48))


def _one_by_one(cluster: HeapCluster, until: float) -> None:
    while cluster.now < until:
        cluster.run(until, while_=lambda: False)
    cluster.run(until)  # others at that time


@pytest.mark.parametrize("seed", range(20))
def test_timers_run_at_their_times_in_the_order_in_which_they_were_set(seed: int) -> None:
    log = _run(seed, HeapCluster.run)
    assert len(log) > 50
    assert log == sorted(log)
    assert len({when for when, _ in log}) < len(log)  # some at one time


@pytest.mark.parametrize("run", [_by_steps, _one_by_one])
def test_a_run_in_parts_is_the_same(run: Callable[[HeapCluster, float], None]) -> None:
    assert _run(3, run) == _run(3, HeapCluster.run)


def test_a_run_passes_over_the_time_in_which_nothing_is_due() -> None:
    cluster, ran = HeapCluster(1), list[float]()
    cluster.at(1e9 + 0.5, lambda: ran.append(cluster.now))
    cluster.run(2e9)
    cluster.run(math.inf)
    assert ran == [1e9 + 0.5]
    assert cluster.now == math.inf
