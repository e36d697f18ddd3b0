"""Membership in simulation: detection times, false positives, healing of partitions, the cost at rest.

Each row is a plain function of a seed that returns figures; the same seed gives the same figures. LAN profile, one-way
latency exponential with a mean of 10 ms, and nothing but datagrams for finding failures.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from trionet.profiles import LAN
from trionet.protocols.effects import ProtocolMessage, Send
from trionet.protocols.mux import ProtocolMux
from trionet.protocols.swim import Swim
from trionet.protocols.swim_events import MemberChange, MemberChanged
from trionet.protocols.swim_messages import Ack, Ping
from trionet.protocols.swim_settings import SwimOptions
from trionet.simulation.heap import HeapCluster

from .results import Goal, median

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trionet.protocols.effects import Effect

    from .results import Result

__all__ = [
    "MEMBERSHIP_COLUMNS",
    "Figures",
    "add_membership_rows",
    "detection_s",
    "false_failures_under_loss",
    "false_failures_under_stalls",
    "healing_s",
    "leaving_s",
    "rest_figures",
    "rest_rate",
    "starting_s",
]


MEMBERSHIP_COLUMNS: Final = ["membership, LAN", "seeds", "median", "worst", "goal", "unit"]

_STAYS_WHOLE_S: Final = 15.0
_DATAGRAMS_ONLY: Final = SwimOptions(is_falling_back=False)


class Figures(msgspec.Struct, frozen=True):
    """The cost of members at rest, per member and second."""

    messages: float
    sent_bytes: float


class _Run:
    """A cluster of members that know each other, and their notifications."""

    def __init__(
        self,
        seed: int,
        count: int,
        *,
        loss: float = 0.0,
        is_known: bool = True,
        is_measuring_bytes: bool = False,
        driven: int = 1 << 30,
    ) -> None:
        self.cluster = HeapCluster(seed, loss=loss, is_measuring_bytes=is_measuring_bytes)
        self.names = [f"10.1.{index // 250}.{index % 250}:8080" for index in range(count)]
        self.swims: dict[str, Swim] = {}
        self.told: list[tuple[float, str, MemberChanged]] = []
        for name in self.names:
            random = self.cluster.random_for(name)
            self.swims[name] = Swim(name, LAN, random, 0.0, boot_id=random.getrandbits(64), options=_DATAGRAMS_ONLY)
        own = [swim.own for swim in self.swims.values()]
        answering = list(self.swims)[driven:]
        for name in answering:
            del self.swims[name]
        if is_known:
            for swim in self.swims.values():
                swim.assume(own, 0.0)
        for name, swim in self.swims.items():
            self.cluster.add(name, ProtocolMux(name, [swim], is_encoding=False))
        view = next(iter(self.swims.values())).view
        for name in answering:
            self.cluster.add(name, ProtocolMux(name, [_Answering(view)], is_encoding=False))
        self.cluster.on_event = self._on_event

    def _on_event(self, time: float, at: str, event: object) -> None:
        if isinstance(event, MemberChanged):
            self.told.append((time, at, event))

    def act(self, name: str, action: Callable[[Swim, float], list[Effect]]) -> None:
        """Run an action of a member now."""
        swim = self.swims[name]
        self.cluster.act(name, lambda mux, now: mux.packets(action(swim, now), now))

    def is_whole(self, count: int) -> bool:
        """Whether all members see the same `count` members."""
        views = [swim.view for swim in self.swims.values()]
        return min(views) == max(views) and all(swim.present_count == count for swim in self.swims.values())

    def wait_whole(self, limit_s: float, step_s: float = 0.1) -> float:
        """Return the seconds until all see all, at most `limit_s`."""
        began = self.cluster.now
        while not self.is_whole(len(self.swims)) and self.cluster.now - began < limit_s:
            self.cluster.run(self.cluster.now + step_s)
        return self.cluster.now - began

    def failures(self) -> list[tuple[float, str, str]]:
        """Return the reported failures: time, reporter, failed member."""
        return [(time, at, event.member.name) for time, at, event in self.told if event.change is MemberChange.FAILED]


def detection_s(seed: int, count: int = 100, failing: int = 1, loss: float = 0.0, limit_s: float = 60.0) -> float:
    """Return the seconds from the crash of some members until all others know it."""
    run = _Run(seed, count, loss=loss)
    cluster = run.cluster
    cluster.run(5.0 + cluster.random_for("when").random())
    victims = cluster.random_for("who").sample(run.names, failing)
    began = cluster.now
    for name in victims:
        cluster.crash(name)
    unaware = {(name, victim) for name in run.names for victim in victims if name not in victims}

    def on_event(_time: float, at: str, event: object) -> None:
        if isinstance(event, MemberChanged) and event.change is MemberChange.FAILED:
            unaware.discard((at, event.member.name))

    cluster.on_event = on_event
    cluster.run(began + limit_s, while_=lambda: bool(unaware))
    return cluster.now - began


def false_failures_under_loss(seed: int, count: int = 100, minutes: float = 30.0, loss: float = 0.3) -> int:
    """Return the number of members reported as failed, though none has failed."""
    run = _Run(seed, count, loss=loss)
    run.cluster.run(60 * minutes)
    return len({name for _, _, name in run.failures()})


def false_failures_under_stalls(seed: int, stalled: int, count: int = 100, minutes: float = 10.0) -> int:
    """Return the number of healthy members reported as failed, while `stalled` others stall for 5 to 20 s."""
    run = _Run(seed, count)
    cluster = run.cluster
    random = cluster.random_for("stalls")
    victims = random.sample(run.names, stalled)

    def stall(name: str) -> None:
        duration = random.uniform(5, 20)
        cluster.pause(name, duration)
        cluster.at(cluster.now + duration + random.uniform(1, 20), stall, name)

    for name in victims:
        cluster.at(random.uniform(0, 20), stall, name)
    cluster.run(60 * minutes)
    return len({name for _, _, name in run.failures()} - set(victims))


def healing_s(seed: int, length_s: float, alone: int, count: int = 100, limit_s: float = 300.0) -> float:
    """Return the seconds from the end of a partition, of `alone` members from the others, until all see all."""
    run = _Run(seed, count)
    cluster = run.cluster
    cluster.run(2.0)
    side = set(run.names[:alone])
    cluster.is_cut = lambda source, target: (source in side) != (target in side)
    cluster.run(2.0 + length_s)
    cluster.is_cut = None
    healed = cluster.now
    broken_s = 0.0
    while cluster.now - healed < min(limit_s, broken_s + _STAYS_WHOLE_S):  # what was begun may yet be said
        cluster.run(cluster.now + 0.1)
        if not run.is_whole(count):
            broken_s = cluster.now - healed
    return broken_s


def starting_s(seed: int, count: int = 100, limit_s: float = 120.0) -> float:
    """Return the seconds until all see all, if all start at once and know one seed."""
    run = _Run(seed, count, is_known=False)
    for name in run.names[1:]:
        run.act(name, lambda swim, now: swim.join(run.names[:1], now))
    return run.wait_whole(limit_s)


def leaving_s(seed: int, count: int = 100, limit_s: float = 120.0) -> tuple[float, int]:
    """Return the seconds until all have left, and the number of reported failures."""
    run = _Run(seed, count)
    cluster = run.cluster
    cluster.run(5.0)
    began = cluster.now
    for name in run.names:
        run.act(name, lambda swim, now: swim.leave(now))
    cluster.run(began + limit_s, while_=lambda: not all(swim.is_left for swim in run.swims.values()))
    return cluster.now - began, len(run.failures())


class _Answering:
    """A member that only answers pings, like one at rest whose own pings are not counted.

    Attributes:
        messages: pings.
    """

    messages: tuple[type[ProtocolMessage], ...] = (Ping,)

    def __init__(self, view: int) -> None:
        self._view = view

    def receive(self, source: str, message: Ping, now: float) -> list[Effect]:
        """Answer."""
        return [Send(source, Ack(message.seq, self._view))]

    def on_timer(self, now: float) -> list[Effect]:
        """Do nothing."""
        return []

    def next_deadline(self) -> float:
        """Return that nothing is to be done."""
        return math.inf

    def piggyback(self, to: str, room_bytes: int, now: float) -> tuple[ProtocolMessage, ...]:
        """Add nothing."""
        return ()

    def unreachable(self, to: str, now: float) -> list[Effect]:
        """Do nothing."""
        return []

    def knows(self, name: str) -> bool:
        """Send nothing."""
        del name
        return False

    def repeat(self, to: str, now: float) -> list[Effect]:
        """Ask for nothing."""
        del to, now
        return []


def rest_figures(seed: int, count: int, seconds: float = 60.0, driven: int = 500) -> Figures:
    """Return the packets of members at rest: pings, and their acks.

    In a group larger than `driven` so many members are driven, each with a view of all; the others only answer. Of
    10,000 views of 10,000 members each, no machine has the memory in one process.
    """
    run = _Run(seed, count, is_measuring_bytes=True, driven=driven)
    cluster = run.cluster
    cluster.run(10.0)
    sent, sent_bytes = cluster.sent, cluster.sent_bytes
    cluster.run(10.0 + seconds)
    each = min(count, driven) * seconds
    return Figures((cluster.sent - sent) / each, (cluster.sent_bytes - sent_bytes) / each)


def rest_rate(seed: int, count: int = 1_000, seconds: float = 10.0) -> float:
    """Return the packets delivered and handled per second of processor time, while all know all."""
    run = _Run(seed, count)
    gc.collect()
    gc.disable()
    cluster = run.cluster
    cluster.run(2.0)
    received, began = cluster.received, time.process_time()
    cluster.run(2.0 + seconds)
    rate = (cluster.received - received) / (time.process_time() - began)
    assert run.is_whole(count)
    return rate


def _rows(seeds: int) -> list[tuple[str, Callable[[int], float], int, str, float | None, float | None]]:
    """Return for each row: its name, its figure for a seed, the seeds, its unit, the goals of median and worst."""
    tenth, few, least = max(1, seeds // 10), max(1, seeds // 100), max(1, seeds // 500)
    rows: list[tuple[str, Callable[[int], float], int, str, float | None, float | None]] = [
        ("1 of 100 fails, known by all", detection_s, seeds, "s", 6.0, 12.0),
        ("10 of 100 fail, known by all", partial(detection_s, failing=10), tenth, "s", None, None),
        ("false failures, 30 min of 30 % loss", false_failures_under_loss, tenth, "members", None, 0.0),
    ]
    rows += [
        (
            f"false failures, {stalled} of 100 stall for 10 min",
            partial(false_failures_under_stalls, stalled=stalled),
            few,
            "members",
            None,
            0.0,
        )
        for stalled in (1, 5, 10)
    ]
    rows += [
        (
            f"{'one alone' if alone == 1 else 'halves'} apart for {length_s:,} s, whole again",
            partial(healing_s, length_s=length_s, alone=alone),
            count,
            "s",
            None,
            60.0,
        )
        for length_s, count in ((1, tenth), (60, tenth), (3_600, few), (36_000, least))
        for alone in (50, 1)
    ]
    rows += [
        ("100 start at once, all know all", starting_s, tenth, "s", None, None),
        ("100 leave at once, all are done", _leaving_only_s, tenth, "s", None, None),
    ]
    return rows


def _leaving_only_s(seed: int) -> float:
    return leaving_s(seed)[0]


def add_membership_rows(
    result: Result, seeds: int, say: Callable[[str], None], *, sizes: Sequence[int] = (10, 100, 1_000, 10_000)
) -> None:
    """Add a row for each measure, with `seeds` runs, or a share of them for slow ones; and the cost at rest."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), context, initializer=partial(os.nice, 5)) as pool:
        for name, figure, count, unit, goal_median, goal_worst in _rows(seeds):
            say(f"membership: {name}, {count} seeds")
            found = list(pool.map(figure, range(count), chunksize=max(1, min(20, count // 16))))
            limit = goal_worst if goal_median is None else goal_median
            result.rows.append([name, count, median(found), max(found), limit, unit])
            result.samples.setdefault("membership", {})[name] = list(found)
            for what, goal, measured in (("median", goal_median, median(found)), ("worst", goal_worst, max(found))):
                if goal is not None:
                    result.goals.append(Goal(f"{name}, {what}", goal, at_least=False, measured=measured, unit=unit))
        rests = list(pool.map(partial(rest_figures, 0, driven=200), sizes))
    for size, rest in zip(sizes, rests, strict=True):
        for cost, unit in ((rest.messages, "messages"), (rest.sent_bytes, "bytes")):
            result.rows.append([f"each of {size:,} at rest sends: {unit}", 1, cost, cost, None, f"{unit}/s"])
