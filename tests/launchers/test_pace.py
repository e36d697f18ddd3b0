"""Of many nodes that a launcher starts, only some start at once."""

from __future__ import annotations

import math
from functools import partial

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trionet import NodeAddress
from trionet.launchers.pace import LATE_S, LONGEST_LATE_S, LONGEST_S, PER_PROCESSOR, Pace
from trionet.processors import usable_processors

MOST = PER_PROCESSOR * usable_processors()
ADDRESS = NodeAddress("127.0.0.1", 8080)


class _Starts:
    """Starts that are begun at once, and boot when they are told to."""

    def __init__(self, pace: Pace, nursery: trio.Nursery) -> None:
        self._pace = pace
        self._nursery = nursery
        self.waiting: list[trio.TaskStatus[NodeAddress]] = []
        self.begun = 0
        self.booted: list[NodeAddress] = []

    async def begin(self, count: int) -> None:
        for _ in range(count):
            self._nursery.start_soon(self._node)
        await wait_all_tasks_blocked()

    async def _node(self) -> None:
        async def run(*, task_status: trio.TaskStatus[NodeAddress]) -> None:
            async with self._pace.turn(task_status) as turn:
                self.begun += 1
                self.waiting.append(turn)
                await trio.sleep(math.inf)

        self.booted.append(await self._nursery.start(run))


async def test_a_start_waits_until_one_before_it_has_booted(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with trio.open_nursery() as nursery:
        starts = _Starts(Pace(nursery), nursery)
        await starts.begin(MOST + 2)
        assert starts.begun == MOST
        starts.waiting[0].started(ADDRESS)
        await wait_all_tasks_blocked()
        assert starts.begun == MOST + 1
        assert starts.booted == [ADDRESS]
        nursery.cancel_scope.cancel()


async def test_starts_that_wait_for_later_ones_hold_them_up_only_for_a_moment(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with trio.open_nursery() as nursery:
        starts, began = _Starts(Pace(nursery), nursery), trio.current_time()
        await starts.begin(3 * MOST)
        await trio.sleep_until(began + 2.5 * LONGEST_S)
        assert starts.begun == 3 * MOST
        assert not starts.booted
        nursery.cancel_scope.cancel()


def test_starts_count_for_longer_while_the_event_loop_is_late_but_not_without_an_end() -> None:
    clock, looks = MockClock(), 0

    async def main() -> None:
        nonlocal looks
        async with trio.open_nursery() as nursery:
            starts, began = _Starts(Pace(nursery), nursery), trio.current_time()
            await starts.begin(2 * MOST)
            clock.jump(LONGEST_S + LATE_S / 2)
            await wait_all_tasks_blocked()
            assert starts.begun == 2 * MOST  # so late is every loop at times
            began = trio.current_time()
            await starts.begin(MOST)
            while starts.begun == 2 * MOST:
                assert trio.current_time() - began < 2 * LONGEST_LATE_S
                clock.jump(1.5 * LONGEST_S)
                await wait_all_tasks_blocked()
                looks += 1
            assert trio.current_time() - began >= LONGEST_LATE_S
            nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)
    assert looks >= LONGEST_LATE_S / (1.5 * LONGEST_S)


async def test_a_start_that_fails_or_is_cancelled_gives_its_turn_to_the_next(autojump_clock: MockClock) -> None:
    del autojump_clock
    ignored: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED

    async def fail(pace: Pace) -> None:
        with trio.move_on_after(0.1 * LONGEST_S):
            async with pace.turn(ignored):
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        pace = Pace(nursery)
        async with trio.open_nursery() as failing:
            for _ in range(MOST):
                failing.start_soon(partial(fail, pace))
        began = trio.current_time()
        async with pace.turn(ignored):
            assert trio.current_time() == began
        nursery.cancel_scope.cancel()


async def test_on_another_machine_the_processors_are_those_of_that_one(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with trio.open_nursery() as nursery:
        pace = Pace(nursery)
        pace.set_processors(3 * usable_processors())
        starts = _Starts(pace, nursery)
        await starts.begin(5 * MOST)
        assert starts.begun == 3 * MOST
        nursery.cancel_scope.cancel()
