"""What comes out of nurseries that are an inner matter of ours."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trionet.nurseries import open_background_nursery, open_plain_nursery

if TYPE_CHECKING:
    from collections.abc import Callable

OPENERS = [open_plain_nursery, open_background_nursery]
ERRORS = [
    ValueError("one"),
    SystemExit(7),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopAsyncIteration(),
    asyncio.CancelledError(),
    ExceptionGroup("mine", [ValueError("one")]),
    BaseExceptionGroup("mine", [SystemExit(7), ValueError("one")]),
]


async def fail(error: BaseException) -> None:
    raise error


async def fail_when_cancelled(error: BaseException) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise error


async def fail_with_a_task(error: BaseException, of_task: BaseException) -> None:
    """Raise in the block of a nursery, and in a task that this cancels."""
    async with open_background_nursery() as nursery:
        nursery.start_soon(fail_when_cancelled, of_task)
        await trio.lowlevel.checkpoint()
        raise error


async def nested(depth: int, work: Callable[[trio.Nursery], Any], opened: Any) -> None:
    """Run ``await work(nursery)`` in the innermost of some nurseries."""
    async with opened() as nursery:
        if depth == 1:
            await work(nursery)
        else:
            await nested(depth - 1, work, opened)


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_what_the_block_raises_comes_out_as_it_is(opened: Any, depth: int, error: BaseException) -> None:
    async def work(nursery: trio.Nursery) -> None:
        nursery.start_soon(trio.sleep_forever)
        await trio.lowlevel.checkpoint()
        raise error

    with pytest.raises(BaseException) as caught:  # noqa: PT011  which one is asserted
        await nested(depth, work, opened)
    assert caught.value is error


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("error", [ValueError("one"), SystemExit(7), KeyboardInterrupt()], ids=repr)
async def test_what_a_task_raises_comes_out_plain(depth: int, error: BaseException) -> None:
    async def work(nursery: trio.Nursery) -> None:
        nursery.start_soon(nested, 3, lambda inner: fail(error), trio.open_nursery)
        await trio.sleep_forever()

    with pytest.raises(type(error)) as caught:
        await nested(depth, work, open_plain_nursery)
    assert caught.value is error


async def test_of_several_errors_none_is_lost() -> None:
    mine, other = ValueError("mine"), KeyError("other")
    with pytest.raises(ExceptionGroup) as caught:
        await fail_with_a_task(mine, other)
    assert sorted(map(repr, caught.value.exceptions)) == sorted(map(repr, (mine, other)))


@pytest.mark.parametrize("ending", [SystemExit(7), KeyboardInterrupt()], ids=repr)
async def test_the_end_of_the_program_goes_before_other_errors_which_are_logged(
    ending: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(type(ending)) as caught:
        await fail_with_a_task(ending, KeyError("other"))
    assert caught.value is ending
    assert "KeyError: 'other'" in caplog.text


@pytest.mark.parametrize("opened", OPENERS)
async def test_cancellation_goes_on(opened: Any) -> None:
    with trio.CancelScope() as scope:
        async with opened() as nursery:
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_what_is_raised_while_cancelled_comes_out_plain() -> None:
    error = SystemExit(3)

    async def be_cancelled() -> None:
        with trio.CancelScope() as scope:
            async with open_plain_nursery() as nursery:
                nursery.start_soon(fail_when_cancelled, error)
                await trio.lowlevel.checkpoint()
                scope.cancel()
                await trio.sleep_forever()

    with pytest.raises(SystemExit) as caught:
        await be_cancelled()
    assert caught.value is error


async def test_a_group_of_the_callers_loses_no_more_than_cancellations() -> None:
    async def theirs(nursery: trio.Nursery) -> None:
        nursery.cancel_scope.cancel()
        async with trio.open_nursery() as inner:
            inner.start_soon(fail_when_cancelled, ValueError("one"))
            inner.start_soon(fail_when_cancelled, KeyError("two"))
            inner.start_soon(trio.sleep_forever)

    with pytest.RaisesGroup(ValueError, KeyError):
        await nested(3, theirs, open_background_nursery)


def test_ctrl_c_is_a_plain_keyboard_interrupt_whichever_task_it_meets() -> None:
    async def interrupt() -> None:
        await trio.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with open_background_nursery() as nursery, open_plain_nursery():
            nursery.start_soon(interrupt)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
