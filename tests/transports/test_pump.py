"""In which order a memory fabric's events are taken, and how that goes together with Trio's tasks."""

from __future__ import annotations

import itertools
import signal
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel
import trio.testing
from trio.testing import MockClock

from trionet.transports.memory.pump import Pump

if TYPE_CHECKING:
    from collections.abc import Callable

_place: ContextVar[str] = ContextVar("place", default="nowhere")


async def test_events_are_taken_at_their_times_and_those_of_one_time_as_they_were_made(
    autojump_clock: MockClock,
) -> None:
    pump, taken = Pump(), list[tuple[str, float]]()
    begun = pump.time()
    for name, at in (("late", 2.0), ("first", 1.0), ("second", 1.0)):
        pump.at(begun + at, lambda name: taken.append((name, pump.time() - begun)), name)
    await trio.sleep(3)
    assert taken == [("first", 1.0), ("second", 1.0), ("late", 2.0)]
    assert pump.time() == trio.current_time() == begun + 3


async def test_who_sleeps_until_a_time_runs_before_the_events_of_that_time(autojump_clock: MockClock) -> None:
    pump, seen = Pump(), list[str]()
    begun = trio.current_time()
    for at in (1.0, 2.0, 3.0):
        pump.at(begun + at, seen.append, f"event {at}")
    await trio.sleep_until(begun + 2.0)
    seen.append("task")
    await trio.sleep_until(begun + 2.5)
    assert seen == ["event 1.0", "task", "event 2.0"]


async def test_one_who_is_woken_runs_before_the_next_event(autojump_clock: MockClock) -> None:
    pump, woken = Pump(), trio.Event()
    taken: list[str] = []
    begun = trio.current_time()
    pump.at(begun + 1.0, woken.set)
    pump.at(begun + 1.0, taken.append, "next")
    await woken.wait()
    assert (taken, trio.current_time()) == ([], begun + 1.0)
    await trio.sleep(0.1)
    assert taken == ["next"]


async def test_the_pumps_of_one_run_take_their_events_in_the_order_of_time(autojump_clock: MockClock) -> None:
    pumps, taken = (Pump(), Pump(), Pump()), list[tuple[int, float]]()
    begun = trio.current_time()
    for at, place in ((1, 0), (2, 1), (3, 0), (4, 2), (5, 1), (6, 0)):
        pump = pumps[place]
        pump.at(begun + at, lambda at, pump: taken.append((at, pump.time() - begun)), at, pump)
    await trio.sleep(10)
    assert taken == [(at, at) for at in range(1, 7)]


async def test_time_stands_still_while_somebody_waits_until_all_are_blocked(autojump_clock: MockClock) -> None:
    pump, taken = Pump(), list[str]()
    begun = trio.current_time()
    pump.at(begun + 1.0, taken.append, "event")
    await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked()
    assert (taken, trio.current_time()) == ([], begun)
    await trio.sleep(2)
    assert taken == ["event"]


async def test_an_action_finds_a_task_around_it_and_the_context_of_who_started_the_pump(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    pump, seen = Pump(), list[tuple[str, float]]()
    _place.set("here")
    await nursery.start(pump.run)
    _place.set("there")
    pump.at(trio.current_time() + 1.0, lambda: seen.append((_place.get(), trio.current_effective_deadline())))
    await trio.sleep(2)
    assert seen == [("here", float("inf"))]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("clock", [lambda: MockClock(autojump_threshold=0), lambda: None], ids=["virtual", "real"])
def test_what_an_action_raises_comes_out_of_run(clock: Callable[[], MockClock | None]) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        pump = Pump()
        async with trio.open_nursery() as nursery:
            await nursery.start(pump.run)
            pump.at(trio.current_time() + 0.01, fail)
            await trio.sleep_forever()

    with pytest.RaisesGroup(ZeroDivisionError):
        trio.run(main, clock=clock())


def test_ctrl_c_ends_a_run_in_which_no_task_ever_can_run() -> None:
    pump = Pump()
    counted = itertools.count()

    def go_on() -> None:
        if next(counted) == 100:
            signal.raise_signal(signal.SIGINT)
        pump.at(pump.time() + 1.0, go_on)

    async def main() -> None:
        pump.at(0.0, go_on)
        await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert next(counted) == 101


async def test_time_stands_still_while_a_thread_works_and_goes_on_for_one_that_waits_for_it(
    autojump_clock: MockClock,
) -> None:
    pump, begun = Pump(), trio.current_time()

    def tick() -> None:
        pump.at(pump.time() + 0.01, tick)

    pump.at(begun, tick)
    await trio.sleep(1)
    before = trio.current_time()
    await trio.to_thread.run_sync(time.sleep, 0.01)
    assert trio.current_time() == before
    await trio.to_thread.run_sync(trio.from_thread.run, trio.sleep, 5)
    assert trio.current_time() >= before + 5
    pump.close()


async def test_sockets_are_read_though_there_is_always_an_event(autojump_clock: MockClock) -> None:
    pump = Pump()

    def tick() -> None:
        pump.at(pump.time() + 0.01, tick)

    pump.at(trio.current_time(), tick)
    one, other = trio.socket.socketpair()
    with one, other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.recv, 1)
            await trio.sleep(1)
            await one.send(b"x")
    pump.close()


async def test_an_error_of_the_pumps_own_comes_out_of_run(autojump_clock: MockClock) -> None:
    pump = Pump()
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError)):
        async with trio.open_nursery() as nursery:
            await nursery.start(pump.run)
            pump.next_due = lambda: 1 / 0  # type: ignore[method-assign]
            await trio.sleep(1)
