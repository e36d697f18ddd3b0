"""Sockets that are watched where Trio waits: Trio itself goes on as without them."""

from __future__ import annotations

import _thread
import contextvars
import errno
import os
import queue
import socket
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel
import trio.testing

from trionet import trio_waits
from trionet.trio_waits import Inputs, InputsInTask, InputsInWait

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
        inputs.watch(found.sock.fileno(), trio.lowlevel.current_task(), found.receive)
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
        Inputs.of_this_run().watch(one.sock.fileno(), trio.lowlevel.current_task(), one.receive)
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
        inputs.watch(left.sock.fileno(), trio.lowlevel.current_task(), left.receive)


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
        inputs.watch(left.sock.fileno(), trio.lowlevel.current_task(), left.receive)


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
