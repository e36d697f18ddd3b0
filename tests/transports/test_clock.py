"""The clock of the protocols of real nodes, in virtual time."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trionet.transports.clock import TrioClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


@pytest.fixture
def clock(nursery: trio.Nursery) -> TrioClock:
    clock = TrioClock()
    nursery.start_soon(clock.run)
    return clock


def _noting(times: list[float], clock: TrioClock) -> Callable[[], None]:
    return lambda: times.append(clock.now())


async def test_an_action_is_called_once_at_its_time(autojump_clock: MockClock, clock: TrioClock) -> None:
    times: list[float] = []
    begun = clock.now()
    clock.wake_at(begun + 3, _noting(times, clock))
    await trio.sleep(10)
    assert times == [begun + 3]


@pytest.mark.parametrize("when", [2.0, 5.0])
async def test_a_later_setting_replaces_the_earlier_one(
    autojump_clock: MockClock, clock: TrioClock, when: float
) -> None:
    first: list[float] = []
    second: list[float] = []
    begun = clock.now()
    clock.wake_at(begun + 3, _noting(first, clock))
    await trio.sleep(1)
    clock.wake_at(begun + when, _noting(second, clock))
    await trio.sleep(10)
    assert (first, second) == ([], [begun + when])


async def test_never_cancels_the_action(autojump_clock: MockClock, clock: TrioClock) -> None:
    times: list[float] = []
    clock.wake_at(clock.now() + 3, _noting(times, clock))
    clock.wake_at(math.inf, _noting(times, clock))
    await trio.sleep(10)
    assert times == []


async def test_an_action_may_set_the_next_one(autojump_clock: MockClock, clock: TrioClock) -> None:
    times: list[float] = []
    begun = clock.now()

    def tick() -> None:
        times.append(clock.now())
        clock.wake_at(clock.now() + 2, tick)

    clock.wake_at(begun + 1, tick)
    await trio.sleep(6)
    assert times == [begun + 1, begun + 3, begun + 5]


async def test_an_action_that_is_due_before_the_clock_runs_is_called_when_it_does(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    clock, times = TrioClock(), list[float]()
    clock.wake_at(clock.now() + 1, _noting(times, clock))
    await trio.sleep(5)
    assert times == []
    nursery.start_soon(clock.run)
    await trio.testing.wait_all_tasks_blocked()
    assert times == [clock.now()]


async def test_it_knows_the_date() -> None:
    assert abs(TrioClock().unix_time() - time.time()) < 5
