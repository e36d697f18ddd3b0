"""What works outside of Trio takes no virtual time, and how long it takes doesn't matter to a seed."""

from __future__ import annotations

import queue
import random
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trionet
from trionet import simulation
from trionet.transports.memory import outside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from trionet.simulation import Simulation

WORK_S = 0.15
"""How long something works, in real time: an unguarded virtual clock gets through hours meanwhile."""


def work() -> str:
    time.sleep(WORK_S)
    return "done"


async def in_a_thread() -> str:
    return await trio.to_thread.run_sync(work)


async def in_a_thread_that_may_be_abandoned() -> str:
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


async def in_a_thread_of_a_limiter_of_its_own() -> str:
    return await trio.to_thread.run_sync(work, limiter=trio.CapacityLimiter(1))


async def in_several_threads() -> str:
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(in_a_thread)
    return "done"


async def in_a_thread_that_asks_trio() -> str:
    def ask() -> str:
        work()
        trio.from_thread.run_sync(int)
        work()
        trio.from_thread.run(trio.lowlevel.checkpoint)
        return work()

    return await trio.to_thread.run_sync(ask)


async def in_a_thread_that_asks_trio_and_may_be_abandoned() -> str:
    def ask() -> str:
        trio.from_thread.run(trio.lowlevel.checkpoint)
        trio.from_thread.run_sync(int)
        return work()

    return await trio.to_thread.run_sync(ask, abandon_on_cancel=True)


async def in_a_subprocess() -> str:
    ended = await trio.run_process([sys.executable, "-c", "print('done', end='')"], capture_stdout=True)
    return str(ended.stdout.decode())


async def in_a_subprocess_that_a_thread_waits_for() -> str:
    command = [sys.executable, "-c", "print('done', end='')"]
    ended = await trio.to_thread.run_sync(lambda: subprocess.run(command, capture_output=True, check=True))
    return ended.stdout.decode()


async def in_a_subprocess_whose_output_is_read() -> str:
    command = [sys.executable, "-c", f"import time; time.sleep({WORK_S}); print('done', end='')"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = b"".join([part async for part in process.stdout])
    await process.wait()
    return printed.decode()


async def behind_a_socket() -> str:
    one, other = socket.socketpair()

    def answer() -> None:
        other.sendall(other.recv(4).replace(b"work", b"done"))

    thread = threading.Thread(target=answer)
    thread.start()
    with other, trio.socket.from_stdlib_socket(one) as ours:
        await ours.send(b"work")
        answer_: bytes = await ours.recv(4)
    thread.join()
    return answer_.decode()


WORKS = [
    in_a_thread,
    in_a_thread_that_may_be_abandoned,
    in_a_thread_of_a_limiter_of_its_own,
    in_several_threads,
    in_a_thread_that_asks_trio,
    in_a_thread_that_asks_trio_and_may_be_abandoned,
    pytest.param(in_a_subprocess, marks=pytest.mark.skipif(sys.platform != "linux", reason="processes by pidfd")),
    in_a_subprocess_that_a_thread_waits_for,
    pytest.param(
        in_a_subprocess_whose_output_is_read,
        marks=pytest.mark.skipif(sys.platform != "linux", reason="pipes by epoll and /proc"),
    ),
    pytest.param(behind_a_socket, marks=pytest.mark.skipif(sys.platform != "linux", reason="sockets by epoll")),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", WORKS, ids=lambda kind: kind.__name__)
def test_a_handler_that_works_outside_takes_no_time(kind: Callable[[], Awaitable[Any]]) -> None:
    async def main() -> tuple[str, bool]:
        async with simulation.open_cluster(2, seed=1, network="perfect") as sim:
            await sim.nodes[1].local.routes.put({"work": kind}, "worker")
            remote = trionet.Remote(node=sim.nodes[1].address, service="worker", method="work")
            begun = sim.now
            with trio.fail_after(60):
                answer = await sim.nodes[0].local.comm.send([], remote)
            return answer, sim.now - begun < 0.5

    assert simulation.run(main, seed=1) == ("done", True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WORKS, ids=lambda kind: kind.__name__)
def test_so_it_does_without_a_cluster(kind: Callable[[], Awaitable[Any]]) -> None:
    async def main() -> tuple[Any, bool]:
        begun = trio.current_time()
        with trio.fail_after(60):
            answer = await kind()
        return answer, trio.current_time() == begun

    assert simulation.run(main) == ("done", True)


@pytest.mark.slow
async def test_so_it_does_in_a_test_with_the_fixture(trionet_cluster: Any) -> None:
    begun = trio.current_time()
    assert await in_a_thread() == "done"
    assert trio.current_time() == begun
    await trionet_cluster(2)
    begun = trio.current_time()
    assert await in_several_threads() == "done"
    assert trio.current_time() == begun


async def test_a_file_is_read_at_one_moment(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    outside.stand_still()
    path = trio.Path(tmp_path / "file")
    begun = trio.current_time()
    with trio.fail_after(60):
        await path.write_text("beans")
        assert await path.read_text() == "beans"
    assert trio.current_time() == begun


async def test_time_passes_for_a_thread_that_waits_for_it(autojump_clock: trio.testing.MockClock) -> None:
    outside.stand_still()
    begun = trio.current_time()
    await trio.to_thread.run_sync(trio.from_thread.run, trio.sleep, 5)
    assert trio.current_time() == begun + 5
    await trio.to_thread.run_sync(trio.from_thread.run, trio.sleep, 5, abandon_on_cancel=True)
    assert trio.current_time() == begun + 10


async def test_a_thread_that_trio_has_not_started_may_ask_for_time(autojump_clock: trio.testing.MockClock) -> None:
    outside.stand_still()
    token, ended = trio.lowlevel.current_trio_token(), trio.Event()
    begun = trio.current_time()

    def ask() -> None:
        trio.from_thread.run(trio.sleep, 5, trio_token=token)
        trio.from_thread.run_sync(ended.set, trio_token=token)

    thread = threading.Thread(target=ask)
    thread.start()
    await ended.wait()
    thread.join()
    assert trio.current_time() == begun + 5


async def test_time_goes_on_without_a_thread_that_waits_for_a_task_in_its_own_way(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "_WORK_S", 0.05)
    outside.stand_still()
    jobs: queue.Queue[str] = queue.Queue()

    async def feed() -> None:
        await trio.sleep(3600)
        jobs.put("job")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        assert await trio.to_thread.run_sync(jobs.get) == "job"


async def test_time_stands_still_for_a_thread_whose_task_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    outside.stand_still()
    begun = trio.current_time()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_a_thread)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert trio.current_time() == begun


async def test_nothing_is_kept_of_threads_and_waits_that_are_over(autojump_clock: trio.testing.MockClock) -> None:
    outside.stand_still()
    one, other = trio.socket.socketpair()
    with one, other:
        for _ in range(3):
            await trio.to_thread.run_sync(int)
            await one.send(b"x")
            await other.recv(1)
            await trio.sleep(1)
    await trio.sleep(1)
    found: Any = outside.Outside.of_this_run()
    assert not found._threads_since  # noqa: SLF001  there is no other way to tell
    assert not found._inputs_until  # noqa: SLF001


async def _busy_threads(seed: int) -> Any:
    durations = random.SystemRandom()

    async def count(number: int) -> int:
        for _ in range(3):
            await trio.to_thread.run_sync(time.sleep, durations.random() / 100)
            await trio.sleep(0.001)
        return number

    async def work_on(sim: Simulation, number: int) -> None:
        node = sim.nodes[number]
        remote = trionet.Remote(service="worker", method="count")
        for _ in range(3):
            await trio.to_thread.run_sync(time.sleep, durations.random() / 100)
            await node.all.comm.send([number], remote)

    async with simulation.open_cluster(4, seed=seed) as sim:
        for node in sim.nodes:
            await node.local.routes.put({"count": count}, "worker")
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(work_on, sim, number)
        assert sim.trace is not None
        return sim.trace


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_follows_from_a_seed_does_not_depend_on_how_long_threads_work(seed: int) -> None:
    one, other = (simulation.run(_busy_threads, seed, seed=seed) for _ in range(2))
    assert simulation.first_difference(one, other) is None
    assert one.hash() == other.hash()
