"""Time of which this node's own stalls take nothing away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trionet.transports.allowance import within

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_what_comes_in_time_is_returned(autojump_clock: MockClock) -> None:
    async def step() -> str:
        await trio.sleep(4.9)
        return "came"

    assert await within(5, step) == "came"


async def test_what_does_not_come_in_time_is_too_slow(autojump_clock: MockClock) -> None:
    with pytest.raises(trio.TooSlowError):
        await within(5, trio.sleep_forever)
    assert trio.current_time() == pytest.approx(5)


@pytest.mark.parametrize("stall_s", [10, 1000])
async def test_what_comes_after_a_stall_is_waited_for(autojump_clock: MockClock, stall_s: float) -> None:
    came = trio.Event()

    async def stall() -> None:
        await trio.sleep(1)
        autojump_clock.jump(stall_s)
        await trio.sleep(3)
        came.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stall)
        await within(5, came.wait)


async def test_a_stall_gives_no_more_time_than_there_was(autojump_clock: MockClock) -> None:
    async def stall() -> None:
        await trio.sleep(1)
        autojump_clock.jump(1000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stall)
        with pytest.raises(trio.TooSlowError):
            await within(5, trio.sleep_forever)
    assert 1001 <= trio.current_time() <= 1007
