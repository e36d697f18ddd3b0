"""A node's clock that is wrong wakes whoever is to be woken all the same."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
import trio

from trionet.config import NodeConfig
from trionet.router import Router
from trionet.transports.memory import MemoryFabric, NodeClock

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.parametrize("begin_s", [0.0, 1e6, 1e8])
async def test_a_skewed_clock_wakes_in_time_however_long_it_has_been_running(
    autojump_clock: MockClock, begin_s: float
) -> None:
    autojump_clock.jump(begin_s)
    clock = NodeClock(MemoryFabric().endpoint(NodeConfig(), Router()))
    random = Random(1)
    for _ in range(200):
        end = clock.change(forward_s=random.random(), rate=random.choice((0.5, 0.9, 1.3, 2.0)))
        due, woken = clock.now() + 3 * random.random(), list[float]()
        clock.wake_at(due, lambda woken=woken: woken.append(clock.now()))  # type: ignore[misc]
        await trio.sleep(10)
        assert len(woken) == 1
        assert woken[0] == pytest.approx(due, abs=1e-6)
        assert woken[0] >= due
        end()


async def test_what_was_to_happen_before_the_clock_was_slowed_down_happens_once_and_late(
    autojump_clock: MockClock,
) -> None:
    clock = NodeClock(MemoryFabric().endpoint(NodeConfig(), Router()))
    begun = trio.current_time()
    woken: list[float] = []
    clock.wake_at(clock.now() + 2, lambda: woken.append(trio.current_time() - begun))
    await trio.sleep(1)
    clock.change(rate=0.5)
    await trio.sleep(10)
    assert woken == [pytest.approx(3)]
