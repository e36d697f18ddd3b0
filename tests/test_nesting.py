"""Where in the nesting of calls code is: handlers, the tasks that they start, and blocks that hold a place."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import trio

from trionet.nesting import DEEPEST, PACKETS, current_depth, depth_inside, holding, nest


@pytest.mark.parametrize(
    ("depth", "inside"), [(0, 1), (1, 2), (DEEPEST - 1, DEEPEST), (DEEPEST, DEEPEST), (PACKETS, 0)]
)
def test_a_handlers_calls_are_one_deeper_and_no_deeper_than_the_deepest(depth: int, inside: int) -> None:
    assert depth_inside(depth) == inside


async def test_blocks_nest_and_end() -> None:
    seen = [current_depth()]
    with holding(0):
        seen.append(current_depth())
        with holding(current_depth()):
            seen.append(current_depth())
        seen.append(current_depth())
    assert [*seen, current_depth()] == [0, 1, 2, 1, 0]


async def test_a_block_makes_no_calls_less_deep() -> None:
    nest(5)
    with holding(1):
        assert current_depth() == 5
    assert current_depth() == 5


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
async def test_blocks_that_end_in_any_order_hold_what_is_open_and_leave_nothing_behind(order: tuple[int, ...]) -> None:
    blocks = [ExitStack() for _ in order]
    for depth, block in enumerate(blocks):
        block.enter_context(holding(depth))
    open_blocks = set(order)
    for ended in order:
        assert current_depth() == max(open_blocks) + 1
        blocks[ended].close()
        open_blocks.remove(ended)
    assert current_depth() == 0


async def test_a_task_that_a_block_has_started_stays_nested_when_the_block_has_ended() -> None:
    seen: list[int] = []
    ended = trio.Event()

    async def work() -> None:
        await ended.wait()
        seen.append(current_depth())

    async with trio.open_nursery() as nursery:
        with holding(2):
            nursery.start_soon(work)
        ended.set()
    assert (seen, current_depth()) == ([3], 0)
