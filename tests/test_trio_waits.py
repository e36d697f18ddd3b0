"""Sockets that are watched where Trio waits: Trio itself goes on as without them."""

from __future__ import annotations

import _thread
import contextlib
import contextvars
import errno
import functools
import math
import os
import queue
import random
import socket
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel
import trio.testing

from trionet import trio_waits
from trionet.transports.link.sockets import close_now
from trionet.trio_waits import Alarm, Inputs, InputsInTask, InputsInWait

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from outcome import Outcome

SOON_S = 0.05
LATER_S = 60.0
MANY_FILES = 256

whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")
can_wait_here = trio_waits._can_wait_here  # noqa: SLF001  as it is


@pytest.fixture(params=[InputsInWait, InputsInTask], autouse=True)
def inputs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the run watch its sockets by one of the two ways."""
    monkeypatch.setattr(trio_waits, "_can_wait_here", lambda: request.param is InputsInWait)


class Watched:
    """A watched socket, and its other end."""

    def __init__(self, handle: Callable[[bytes], None]) -> None:
        self.sock, self.other = socket.socketpair()
        self.sock.setblocking(False)
        self._handle = handle
        self.came = trio.Event()

    def receive(self) -> None:
        """Handle an input."""
        data = self.sock.recv(100)
        self._handle(data)
        self.came.set()

    def send(self, data: bytes) -> None:
        """Send from the other end."""
        self.other.send(data)


@contextmanager
def watched(handle: Callable[[bytes], None] = lambda _: None) -> Generator[Watched]:
    found = Watched(handle)
    inputs = Inputs.of_this_run()
    assert inputs.begin()
    with closing(found.sock), closing(found.other):
        inputs.watch(found.sock.fileno(), found.receive)
        try:
            yield found
        finally:
            inputs.forget(found.sock.fileno())


async def test_input_is_received_while_all_tasks_wait() -> None:
    got = list[bytes]()
    with watched(got.append) as one:
        for number in range(3):
            one.came = trio.Event()
            one.send(b"%d" % number)
            await one.came.wait()
    assert got == [b"0", b"1", b"2"]


async def test_a_deadline_that_input_brings_forward_is_kept() -> None:
    scope = trio.CancelScope(deadline=trio.current_time() + LATER_S)

    def bring_forward(_: bytes) -> None:
        scope.deadline = trio.current_time()

    with watched(bring_forward) as one, trio.fail_after(LATER_S / 2):
        one.send(b"now")
        with scope:
            await trio.sleep_forever()


async def test_deadlines_are_kept_while_input_comes_without_an_end() -> None:
    def echo(data: bytes) -> None:
        one.send(data)

    with watched(echo) as one:
        one.send(b"again")
        with trio.move_on_after(SOON_S) as scope:
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_what_trio_waits_for_comes_while_input_comes_without_an_end() -> None:
    def echo(data: bytes) -> None:
        one.send(data)

    near, far = trio.socket.socketpair()
    with watched(echo) as one, near, far:
        one.send(b"again")
        with trio.fail_after(LATER_S):
            for _ in range(3):
                await trio.to_thread.run_sync(os.getpid)
                await far.send(b"x")
                assert await near.recv(10) == b"x"


async def test_a_watched_socket_is_not_received_from_once_it_is_forgotten() -> None:
    got = list[bytes]()
    with watched(got.append) as one:
        Inputs.of_this_run().forget(one.sock.fileno())
        one.send(b"nobody")
        await trio.sleep(SOON_S)
        assert got == []
        Inputs.of_this_run().watch(one.sock.fileno(), one.receive)
        await one.came.wait()
    assert got == [b"nobody"]


async def test_one_input_may_have_another_socket_forgotten() -> None:
    got, inputs = list[bytes](), Inputs.of_this_run()

    def forget_the_other(data: bytes) -> None:
        got.append(data)
        inputs.forget((second if data == b"first" else first).sock.fileno())

    with watched(forget_the_other) as first, watched(forget_the_other) as second:
        first.send(b"first")
        second.send(b"second")
        await trio.sleep(SOON_S)
        assert len(got) == 1
        left = second if got == [b"first"] else first
        inputs.watch(left.sock.fileno(), left.receive)


async def test_input_is_received_in_the_context_of_the_task_that_waits_for_it() -> None:
    got = list[str]()
    with watched(lambda _: got.append(whose.get())) as one:
        async with trio.open_nursery() as nursery:
            whose.set("another's")
            nursery.start_soon(trio.lowlevel.checkpoint)
            one.send(b"x")
            whose.set("own")
            await one.came.wait()
    assert got == ["own"]
    await trio.testing.wait_all_tasks_blocked()


async def test_a_run_is_idle_only_once_input_has_been_received() -> None:
    got = list[bytes]()
    with watched(got.append) as one:
        one.send(b"x")
        await trio.testing.wait_all_tasks_blocked(SOON_S)
        assert got == [b"x"]


def test_input_that_sets_another_clock_wakes_who_waits_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_waits, "_can_wait_here", can_wait_here)
    clock = trio.testing.MockClock()

    async def main() -> None:
        with watched(lambda _: clock.jump(LATER_S)) as one:
            await trio.testing.wait_all_tasks_blocked(SOON_S)
            one.send(b"x")
            await trio.sleep(LATER_S)

    timer = threading.Timer(LATER_S, _thread.interrupt_main)
    timer.start()
    try:
        trio.run(main, clock=clock)
    finally:
        timer.cancel()


async def test_input_of_a_socket_that_was_just_forgotten_makes_no_run_idle() -> None:
    got, inputs = list[bytes](), Inputs.of_this_run()

    def forget_the_other(data: bytes) -> None:
        got.append(data)
        other = second if data == b"first" else first
        inputs.forget(other.sock.fileno())

    with watched(forget_the_other) as first, watched(forget_the_other) as second:
        first.send(b"first")
        second.send(b"second")
        began = trio.current_time()
        await trio.testing.wait_all_tasks_blocked(SOON_S)
        assert trio.current_time() - began >= SOON_S
        left = second if got == [b"first"] else first
        inputs.watch(left.sock.fileno(), left.receive)


async def test_a_run_goes_on_where_no_further_socket_can_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def register(self, *_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            full.append(self)

    full, inputs = list[Full](), Inputs.of_this_run()
    if isinstance(inputs, InputsInTask):
        return
    with monkeypatch.context() as patched:
        patched.setattr("trionet.trio_waits.select.epoll", Full)
        assert not inputs.begin()
    assert len(full) == 1
    await trio.to_thread.run_sync(os.getpid)
    await trio.lowlevel.checkpoint()
    with watched() as one:
        one.send(b"x")
        await one.came.wait()


# ---- what receives until it raises


async def test_a_task_that_has_its_input_received_raises_what_receiving_it_raises(nursery: trio.Nursery) -> None:
    def fail(data: bytes) -> None:
        raise RuntimeError(data)

    inputs, near, far = Inputs.of_this_run(), *socket.socketpair()
    assert inputs.begin()
    with near, far:
        nursery.start_soon(trio.lowlevel.checkpoint)
        far.send(b"a bug")
        with pytest.raises(RuntimeError, match="a bug"):
            await inputs.receive(near.fileno(), lambda: fail(near.recv(100)))
        assert near.fileno() not in inputs.watched


async def test_what_raises_once_it_has_cancelled_its_own_task_is_not_lost() -> None:
    def cancel_and_fail() -> None:
        scope.cancel()
        raise RuntimeError("a bug")

    inputs, near, far = Inputs.of_this_run(), *socket.socketpair()
    assert inputs.begin()
    far.send(b"x")
    with near, far, trio.CancelScope() as scope, pytest.raises(RuntimeError, match="a bug"):
        await inputs.receive(near.fileno(), cancel_and_fail)


async def test_what_closes_its_own_socket_ends_its_wait_and_may_raise(nursery: trio.Nursery) -> None:
    inputs = Inputs.of_this_run()
    assert inputs.begin()
    for is_read_on in (False, True):
        near, far = socket.socketpair()

        def close(near: socket.socket = near, *, is_read_on: bool = is_read_on) -> None:
            close_now(near)
            if is_read_on:
                near.recv(100)

        far.send(b"x")
        with far, pytest.raises(OSError if is_read_on else trio.ClosedResourceError):
            await inputs.receive(near.fileno(), close)
        assert not inputs.watched


async def test_one_input_may_have_another_socket_closed_whose_number_is_used_anew(nursery: trio.Nursery) -> None:
    inputs, got = Inputs.of_this_run(), list[bytes]()
    assert inputs.begin()
    ends = [socket.socketpair() for _ in range(2)]
    anew = list[tuple[socket.socket, socket.socket]]()
    closed = trio.Event()

    def receive(near: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            got.append(near.recv(100))

    def close_the_other(number: int) -> None:
        receive(ends[number][0])
        if anew:
            return
        other = ends[1 - number][0]
        fd = other.fileno()
        close_now(other)
        anew.append(socket.socketpair())
        anew[0][0].setblocking(False)
        assert anew[0][0].fileno() == fd
        nursery.start_soon(inputs.receive, fd, functools.partial(receive, anew[0][0]))

    async def wait(number: int) -> None:
        near = ends[number][0]
        near.setblocking(False)
        try:
            await inputs.receive(near.fileno(), functools.partial(close_the_other, number))
        except trio.ClosedResourceError:
            closed.set()

    for number in range(2):
        ends[number][1].send(b"old")
        nursery.start_soon(wait, number)
    with trio.fail_after(LATER_S):
        await closed.wait()
        await trio.testing.wait_all_tasks_blocked()
        anew[0][1].send(b"new")
        await trio.testing.wait_all_tasks_blocked(SOON_S)
    assert got == [b"old", b"new"]
    nursery.cancel_scope.cancel()
    for sock in (sock for pair in (*ends, *anew) for sock in pair):
        sock.close()


# ---- alarms


@contextmanager
def running(nursery: trio.Nursery, count: int = 1) -> Generator[list[Alarm]]:
    alarms = [Alarm() for _ in range(count)]
    for alarm in alarms:
        nursery.start_soon(alarm.run)
    yield alarms
    nursery.cancel_scope.cancel()


async def test_alarms_ring_once_each_and_not_before_their_times(nursery: trio.Nursery) -> None:
    rung, done = dict[int, list[float]](), trio.Event()

    def note(number: int) -> None:
        rung.setdefault(number, []).append(trio.current_time())
        if len(rung) == 2:
            done.set()

    with running(nursery, 2) as alarms:
        dues = [trio.current_time() + (number + 1) * SOON_S for number in range(2)]
        for number, (alarm, due) in enumerate(zip(alarms, dues, strict=True)):
            alarm.set(due, functools.partial(note, number))
        await done.wait()
        await trio.testing.wait_all_tasks_blocked()
    assert [len(rung[number]) for number in range(2)] == [1, 1]
    assert all(rung[number][0] >= due for number, due in enumerate(dues))


async def test_an_alarm_set_anew_rings_at_that_time_alone(nursery: trio.Nursery) -> None:
    rung, done = list[str](), trio.Event()
    with running(nursery) as (alarm,):
        alarm.set(trio.current_time() + LATER_S, lambda: rung.append("too late"))
        await trio.testing.wait_all_tasks_blocked()
        alarm.set(trio.current_time() + SOON_S, lambda: rung.append("too early"))
        until = trio.current_time() + 3 * SOON_S
        alarm.set(until, done.set)
        await done.wait()
        assert trio.current_time() >= until
    assert rung == []


async def test_of_many_alarms_each_rings_once_due_however_often_they_are_set_anew(nursery: trio.Nursery) -> None:
    chance, early, left, done = random.Random(3), list[float](), [60], trio.Event()

    def ring(alarm: Alarm, due: float) -> None:
        early.append(due - trio.current_time())
        left[0] -= 1
        for one in (alarm, chance.choice(alarms)) if left[0] > 0 else ():
            due = trio.current_time() + chance.random() * SOON_S
            one.set(due, functools.partial(ring, one, due))
        if all(one.due == math.inf for one in alarms):
            done.set()

    with running(nursery, 9) as alarms, trio.fail_after(LATER_S / 2):
        await trio.testing.wait_all_tasks_blocked()
        for alarm in alarms[5:]:
            ring(alarm, trio.current_time())
        await done.wait()
    assert max(early) <= 0


async def test_an_alarm_that_is_never_due_does_not_ring(nursery: trio.Nursery) -> None:
    rung = list[str]()
    with running(nursery) as (alarm,):
        alarm.set(trio.current_time() + SOON_S, lambda: rung.append("rung"))
        alarm.set(math.inf, lambda: rung.append("never"))
        await trio.sleep(2 * SOON_S)
    assert rung == []


async def test_an_alarm_rings_while_tasks_and_input_go_on_without_an_end(nursery: trio.Nursery) -> None:
    def echo(data: bytes) -> None:
        one.send(data)

    async def go_on() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    for is_busy in (False, True):
        with watched(echo) as one, trio.fail_after(LATER_S):
            async with trio.open_nursery() as inner:
                with running(inner) as (alarm,):
                    done = trio.Event()
                    one.send(b"again")
                    if is_busy:
                        inner.start_soon(go_on)
                    alarm.set(trio.current_time() + SOON_S, done.set)
                    await done.wait()


async def test_an_alarm_that_input_brings_forward_is_kept(nursery: trio.Nursery) -> None:
    done = trio.Event()
    with running(nursery) as (alarm,), trio.fail_after(LATER_S / 2):
        alarm.set(trio.current_time() + LATER_S, done.set)
        with watched(lambda _: alarm.set(trio.current_time(), done.set)) as one:
            await trio.testing.wait_all_tasks_blocked()
            one.send(b"now")
            await done.wait()


async def test_tasks_that_an_alarm_wakes_and_deadlines_that_it_brings_forward_are_not_late(
    nursery: trio.Nursery,
) -> None:
    scope = trio.CancelScope(deadline=trio.current_time() + LATER_S)

    def bring_forward() -> None:
        scope.deadline = trio.current_time()

    woken = trio.Event()
    with running(nursery, 2) as (first, second), trio.fail_after(LATER_S / 2):
        first.set(trio.current_time() + SOON_S, woken.set)
        await woken.wait()
        second.set(trio.current_time() + SOON_S, bring_forward)
        with scope:
            await trio.sleep_forever()


async def test_an_alarm_rings_in_the_context_of_its_task(nursery: trio.Nursery) -> None:
    found, done = list[str](), trio.Event()
    whose.set("its own")
    with running(nursery) as (alarm,):
        whose.set("another's")

        def note() -> None:
            found.append(whose.get())
            done.set()

        alarm.set(trio.current_time(), note)
        await done.wait()
    assert found == ["its own"]


async def test_an_alarm_that_fails_ends_its_task_alone() -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    broken, whole, done = Alarm(), Alarm(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(whole.run)
        broken.set(trio.current_time() + SOON_S, fail)
        with pytest.raises(RuntimeError, match="a bug"):
            await broken.run()
        whole.set(trio.current_time(), done.set)
        await done.wait()
        nursery.cancel_scope.cancel()


async def test_one_alarm_may_end_another_that_is_due(nursery: trio.Nursery) -> None:
    rung, done, scopes = list[int](), trio.Event(), [trio.CancelScope(), trio.CancelScope()]

    async def run(alarm: Alarm, scope: trio.CancelScope) -> None:
        with scope:
            await alarm.run()

    def end_the_other(number: int) -> None:
        rung.append(number)
        scopes[1 - number].cancel()
        done.set()

    due = trio.current_time()
    for number, scope in enumerate(scopes):
        alarm = Alarm()
        alarm.set(due, functools.partial(end_the_other, number))
        nursery.start_soon(run, alarm, scope)
    await done.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert len(rung) == 1
    nursery.cancel_scope.cancel()


async def test_no_run_is_idle_when_an_alarm_has_just_rung(nursery: trio.Nursery) -> None:
    with running(nursery) as (alarm,):
        due = trio.current_time() + SOON_S / 2
        alarm.set(due, lambda: None)
        await trio.testing.wait_all_tasks_blocked(SOON_S)
        assert trio.current_time() >= due + SOON_S


async def test_where_trio_waits_an_alarm_rings_without_a_step_of_a_task(nursery: trio.Nursery) -> None:
    if isinstance(Inputs.of_this_run(), InputsInTask):
        return
    steps, done = list[str](), trio.Event()

    class Steps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            steps.append(task.name)

    with running(nursery) as (alarm,):
        await trio.testing.wait_all_tasks_blocked()

        def ring(left: int) -> None:
            if left:
                alarm.set(trio.current_time(), functools.partial(ring, left - 1))
            else:
                done.set()

        alarm.set(trio.current_time() + SOON_S, functools.partial(ring, 5))
        trio.lowlevel.add_instrument(counting := Steps())
        await done.wait()
        trio.lowlevel.remove_instrument(counting)
    assert len(steps) == 1


async def test_input_that_has_come_is_received_before_an_alarm_rings(nursery: trio.Nursery) -> None:
    if isinstance(Inputs.of_this_run(), InputsInTask):
        return
    order, done = list[str](), trio.Event()
    with running(nursery) as (alarm,), watched(lambda _: order.append("input")) as one:
        await trio.testing.wait_all_tasks_blocked()

        def note() -> None:
            order.append("alarm")
            done.set()

        alarm.set(trio.current_time(), note)
        one.send(b"x")
        await done.wait()
    assert order == ["input", "alarm"]


def test_ctrl_c_reaches_the_action_of_an_alarm() -> None:
    protected = list[bool]()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with running(nursery) as (alarm,):
                done = trio.Event()

                def note() -> None:
                    protected.append(trio.lowlevel.currently_ki_protected())
                    done.set()

                alarm.set(trio.current_time(), note)
                await done.wait()

    trio.run(main)
    assert protected == [False]


def test_the_end_of_a_run_closes_its_descriptors() -> None:
    async def main() -> int:
        with watched():
            await trio.lowlevel.checkpoint()
        return sum(_is_open(fd) for fd in range(MANY_FILES))

    assert trio.run(main) == trio.run(main)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_in_a_guest_run_whose_waits_are_in_another_thread_a_task_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_waits, "_can_wait_here", can_wait_here)
    todo: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
    kinds, got, ended = list[type](), list[bytes](), list[bool]()

    async def main() -> None:
        kinds.append(type(Inputs.of_this_run()))
        with watched(got.append) as one:
            one.send(b"x")
            await one.came.wait()

    def end(outcome: Outcome[None]) -> None:
        outcome.unwrap()
        ended.append(True)

    trio.lowlevel.start_guest_run(main, run_sync_soon_threadsafe=todo.put, done_callback=end)
    while not ended:
        todo.get()()
    assert (kinds, got) == ([InputsInTask], [b"x"])
