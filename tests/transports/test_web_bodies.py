"""What the bodies of requests may hold while they arrive."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trionet import MessageTooLarge, TemporarilyUnavailable
from trionet.transports.web_bodies import Bodies
from trionet.transports.web_errors import BodyTooLate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock


async def parts_of(*sizes: int, ends: bool = True) -> AsyncGenerator[bytes]:
    for size in sizes:
        await trio.lowlevel.checkpoint()
        yield b"x" * size
    if not ends:
        await trio.sleep_forever()


def bodies_of(largest_bytes: int = 100, limit_bytes: int = 200) -> Bodies:
    return Bodies(largest_bytes=largest_bytes, limit_bytes=limit_bytes, timeout_s=60.0)


async def test_a_body_is_all_its_parts_and_then_holds_nothing() -> None:
    bodies = bodies_of()
    assert await bodies.read(parts_of(50, 0, 50)) == b"x" * 100
    assert bodies.held_bytes == 0


async def test_a_body_over_the_limit_is_refused_as_soon_as_it_is() -> None:
    bodies = bodies_of()
    async with aclosing(parts_of(50, 51, ends=False)) as parts:
        with pytest.raises(MessageTooLarge):
            await bodies.read(parts)
    assert bodies.held_bytes == 0


async def test_a_body_has_only_so_much_time(autojump_clock: MockClock) -> None:
    bodies = bodies_of()
    with pytest.raises(BodyTooLate):
        await bodies.read(parts_of(50, ends=False))
    assert (trio.current_time(), bodies.held_bytes) == (60.0, 0)


async def test_when_all_bodies_together_are_too_much_the_largest_pays(autojump_clock: MockClock) -> None:
    bodies, ends, most = bodies_of(), {}, 0

    async def read(name: str, *sizes: int) -> None:
        try:
            await bodies.read(parts_of(*sizes, ends=False))
        except (TemporarilyUnavailable, BodyTooLate) as exc:
            ends[name] = type(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, "largest", 90)
        nursery.start_soon(read, "large", 60)
        nursery.start_soon(read, "small", 10)
        await trio.testing.wait_all_tasks_blocked()
        assert bodies.held_bytes == 160
        assert await bodies.read(parts_of(20, 20)) == b"x" * 40  # a short one always gets through
        nursery.start_soon(read, "late", 10, 40)
        await trio.testing.wait_all_tasks_blocked()
        assert (ends, bodies.held_bytes) == ({"largest": TemporarilyUnavailable}, 120)
        for number in range(20):
            nursery.start_soon(read, str(number), 30)
            await trio.testing.wait_all_tasks_blocked()
            most = max(most, bodies.held_bytes)
    assert (most <= 200, bodies.held_bytes) == (True, 0)
    assert (ends["large"], ends["small"]) == (TemporarilyUnavailable, BodyTooLate)


async def test_who_goes_away_holds_nothing() -> None:
    bodies = bodies_of()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bodies.read, parts_of(50, ends=False))
        await trio.testing.wait_all_tasks_blocked()
        assert bodies.held_bytes == 50
        nursery.cancel_scope.cancel()
    assert bodies.held_bytes == 0
