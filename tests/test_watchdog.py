"""The warning about code that blocks the event loop: what it names, when it comes, and when it doesn't."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator  # the router reads it
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.node_processes import ROOT, clean_environment
from tests.waiting import DEADLINE_S, wait_until
from trionet import NodeConfig, Remote, Template, open_node, rpc, simulation, watchdog
from trionet.watchdog import BLOCKED_S, Watchdog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from trionet import Node

    StartNode = Callable[..., Awaitable[Node]]

pytestmark = pytest.mark.slow

LONG_S = BLOCKED_S + 0.6
"""Longer than any block that escapes the watchdog."""


class _Noting(logging.Handler):
    """Notes the texts of lines, as soon as they are logged, in whichever thread."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def lines() -> Generator[list[str]]:
    """The watchdog's lines, from now on."""
    noting, logger = _Noting(), logging.getLogger("trionet.watchdog")
    logger.addHandler(noting)
    yield noting.lines
    logger.removeHandler(noting)


def watchdogs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trionet watchdog"]


def block_until_warned(lines: list[str], count: int = 1) -> None:
    """Block the thread until there is a warning, which so comes before the end of the block."""
    until = time.monotonic() + DEADLINE_S
    while sum("has blocked" in line and "at " in line for line in lines) < count:
        assert time.monotonic() < until
        time.sleep(0.01)


def spend(seconds: float) -> None:
    time.sleep(seconds)


class Shop:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    @rpc
    def plain(self) -> None:
        block_until_warned(self.lines)

    @rpc
    async def waits(self) -> None:
        await trio.lowlevel.checkpoint()
        block_until_warned(self.lines)

    @rpc
    async def streams(self) -> AsyncIterator[int]:
        yield 1
        block_until_warned(self.lines)
        yield 2

    @rpc(thread=True)
    def in_thread(self) -> None:
        time.sleep(LONG_S)

    @rpc
    def quick(self) -> int:
        return 1

    @rpc
    async def hold(self) -> None:
        await trio.sleep_forever()

    @rpc(name="long")
    def blocks_long(self) -> None:
        time.sleep(LONG_S)


def on(node: Node, method: str) -> Remote:
    return Remote(node=node.address, service="shop", method=method)


async def _goes_on(lines: list[str]) -> None:
    await wait_until(lambda: any(line.startswith("the event loop goes on, after") for line in lines))


@pytest.mark.parametrize(("method", "function"), [("plain", "Shop.plain"), ("waits", "Shop.waits")])
async def test_a_handler_that_blocks_is_named_while_it_does(
    start_node: StartNode, lines: list[str], method: str, function: str
) -> None:
    one, other = await start_node(), await start_node()
    await other.local.routes.put(Shop(lines), "shop")
    await one.local.comm.send([], on(other, method))
    await _goes_on(lines)
    first, second = lines
    assert first.startswith(f"the handler local/shop/{method} has blocked the event loop for ")
    assert f"{__file__}:" in first
    assert f"in {function}, which is in {__file__}:" in first
    assert "trio.to_thread.run_sync" in first
    assert "@trionet.rpc(thread=True)" in first
    assert second.startswith(f"the event loop goes on, after the handler local/shop/{method} has blocked it for")


async def test_a_stream_that_blocks_between_its_items_is_named(start_node: StartNode, lines: list[str]) -> None:
    one, other = await start_node(), await start_node()
    await other.local.routes.put(Shop(lines), "shop")
    async with one.local.comm.stream([], on(other, "streams")) as items:
        assert [item async for item in items] == [1, 2]
    assert lines[0].startswith("the handler local/shop/streams has blocked")
    assert "in Shop.streams" in lines[0]


async def test_a_template_of_a_group_and_a_function_in_c_are_named(start_node: StartNode, lines: list[str]) -> None:
    class Census(Template):
        @rpc
        def count(self) -> None:
            block_until_warned(lines)

    node = await start_node(NodeConfig(join=[]))
    node.register_template("census", Census)
    await node.local.routes.put({"sleep": time.sleep}, "c")
    await node.local.comm.send([], Remote(node=node.address, gid="all", service="census", method="count"))
    assert lines[0].startswith("the handler all/census/count has blocked")
    await _goes_on(lines)
    await node.local.comm.send([LONG_S], Remote(node=node.address, service="c", method="sleep"))
    assert lines[2].startswith("the handler local/c/sleep has blocked")
    assert "at a function that is not written in Python" in lines[2]


async def test_a_periodic_task_that_blocks_is_a_line_with_its_place(start_node: StartNode, lines: list[str]) -> None:
    node, runs = await start_node(), list[int]()

    def tick() -> None:
        runs.append(1)
        block_until_warned(lines)

    await node.all.gossip.at(0.01, tick)
    await wait_until(lambda: bool(runs))
    assert lines[0].startswith("a task outside of handlers has blocked the event loop")
    assert "in block_until_warned" in lines[0]


async def test_a_task_that_blocks_beside_a_handler_is_no_fault_of_the_handler(
    start_node: StartNode, lines: list[str]
) -> None:
    node = await start_node()
    await node.local.routes.put(Shop(lines), "shop")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.local.comm.send, [], on(node, "hold"))
        await wait_until(lambda: bool(node.running_calls()))
        block_until_warned(lines)
        nursery.cancel_scope.cancel()
    assert lines[0].startswith("a task outside of handlers has blocked the event loop")


async def test_a_handler_in_a_thread_and_one_that_waits_are_no_reason_for_a_line(
    start_node: StartNode, lines: list[str]
) -> None:
    node = await start_node()
    await node.local.routes.put(Shop(lines), "shop")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.local.comm.send, [], on(node, "hold"))
        await node.local.comm.send([], on(node, "in_thread"))
        nursery.cancel_scope.cancel()
    assert lines == []


async def test_many_short_handlers_in_a_row_are_no_fault_of_one(start_node: StartNode, lines: list[str]) -> None:
    node = await start_node()
    calls = 0

    async def short() -> None:
        nonlocal calls
        calls += 1
        await trio.lowlevel.checkpoint()
        spend(0.05)

    await node.local.routes.put({"short": short}, "shop")
    async with trio.open_nursery() as nursery:  # one pass of the scheduler takes longer than the limit
        for _ in range(int(LONG_S / 0.05) + 5):
            nursery.start_soon(node.local.comm.send, [], on(node, "short"))
    assert calls > LONG_S / 0.05
    assert lines == []


# ---- the thread


async def test_the_thread_begins_with_the_first_call_of_a_users_service_and_ends_with_the_last_node() -> None:
    assert watchdogs() == []
    async with open_node() as one:
        async with open_node() as other:
            await other.local.routes.put(Shop([]), "shop")
            await one.local.comm.send(["sid"], Remote(node=other.address, service="status", method="get"))
            assert watchdogs() == []
            await one.local.comm.send([], on(other, "quick"))
            await one.local.routes.put(Shop([]), "shop")
            await other.local.comm.send([], on(one, "quick"))
            (thread,) = watchdogs()
            assert thread.daemon
        assert watchdogs() == [thread]
    assert watchdogs() == []
    async with open_node() as one:
        await one.local.routes.put(Shop([]), "shop")
        await one.local.comm.send([], on(one, "quick"))
        assert len(watchdogs()) == 1
    assert watchdogs() == []


async def test_at_rest_the_thread_leaves_the_loop_alone() -> None:
    class Waits(trio.abc.Instrument):
        count = 0

        def before_io_wait(self, timeout: float) -> None:
            self.count += bool(timeout)

    async with open_node() as node:
        await node.local.routes.put(Shop([]), "shop")
        await node.local.comm.send([], on(node, "quick"))
        watchdog = Watchdog.of_this_run()
        await wait_until(lambda: watchdog.is_resting)
        await trio.sleep(0.1)  # the answer to its last ping
        waits = Waits()
        trio.lowlevel.add_instrument(waits)
        await trio.sleep(0.6)
        trio.lowlevel.remove_instrument(waits)
        assert waits.count <= 2
        await node.local.comm.send([], on(node, "quick"))
        assert not watchdog.is_resting


async def test_a_loop_that_waits_is_not_woken_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = list[object](), watchdog._Thread._answer  # noqa: SLF001  the thread asks by it

    def note(thread: Any, ping: Any) -> None:
        asked.append(ping)
        answer(thread, ping)

    monkeypatch.setattr(watchdog._Thread, "_answer", note)  # noqa: SLF001
    async with open_node() as node:
        await node.local.routes.put(Shop([]), "shop")
        for _ in range(3):
            await node.local.comm.send([], on(node, "quick"))
            await trio.sleep(0.4)
    assert len(asked) < 3  # at the moment of a look a task of the node may run


def test_runs_of_trio_side_by_side_have_a_watchdog_each(lines: list[str]) -> None:
    found = list[int]()

    async def main() -> None:
        async with open_node() as node:
            await node.local.routes.put(Shop(lines), "shop")
            await node.local.comm.send([], on(node, "long"))
            found.append(threading.get_ident())

    runs = [threading.Thread(target=trio.run, args=(main,)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(DEADLINE_S)
    assert len(found) == 2
    assert sum(line.startswith("the handler local/shop/long has blocked") for line in lines) == 2
    assert watchdogs() == []


def test_a_simulation_has_no_watchdog(lines: list[str]) -> None:
    async def main() -> list[threading.Thread]:
        async with simulation.open_cluster(2, seed=1) as sim:
            node = sim.nodes[0]
            await node.local.routes.put(Shop(lines), "shop")
            await sim.nodes[1].local.comm.send([], on(node, "quick"))
            return watchdogs()

    assert simulation.run(main, seed=1) == []
    assert lines == []


# ---- what is no handler's fault, and what Python's lock hides

_SCRIPT = """
import logging, os, signal, sys, threading, time
import trio, trionet

logging.basicConfig(level="WARNING", format="%(message)s", stream=sys.stdout)


class Shop:
    @trionet.rpc
    def stop(self) -> None:
        time.sleep(0.4)
        print("stopping", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.3)

    @trionet.rpc
    async def stop_later(self) -> None:
        await trio.sleep(0.3)
        self.stop()
        await trio.sleep(0.3)

    @trionet.rpc
    def hold_lock(self) -> None:
        begin = time.thread_time()
        sum(range(1_000_000))
        sum(range(int(1.6 * 1_000_000 / (time.thread_time() - begin))))

    @trionet.rpc
    def fork(self) -> None:
        pid = os.fork()
        if not pid:
            print("forked:", [thread.name for thread in threading.enumerate()], flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print("parent:", [thread.name for thread in threading.enumerate()], flush=True)

    @trionet.rpc
    def block(self) -> None:
        time.sleep(1.6)


async def main(node: trionet.Node) -> None:
    await node.local.routes.put(Shop(), "shop")
    for method in sys.argv[1:]:
        await node.local.comm.send([], trionet.Remote(node=node.address, service="shop", method=method))
    print("done", flush=True)


trionet.run(main)
"""


def _start(*methods: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", _SCRIPT, *methods],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this platform can't stop processes")
@pytest.mark.parametrize("method", ["stop", "stop_later"])
def test_a_process_that_was_stopped_is_no_handlers_fault(method: str) -> None:
    with _start(method) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "stopping\n"
            time.sleep(BLOCKED_S + 0.7)
            os.kill(process.pid, signal.SIGCONT)
            output, _ = process.communicate(timeout=DEADLINE_S)
            assert "has blocked" not in output
            assert output.endswith("done\n")
        finally:
            process.kill()


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="this platform has no clock of other threads")
def test_a_handler_that_holds_pythons_lock_is_named_afterwards() -> None:
    with _start("hold_lock") as process:
        output, _ = process.communicate(timeout=DEADLINE_S)
    first, *_ = output.splitlines()
    assert first.startswith("the handler local/shop/hold_lock has blocked the event loop")
    assert "in Shop.hold_lock" in first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform can't fork")
def test_a_fork_finds_no_thread_and_the_next_call_starts_one() -> None:
    with _start("fork", "fork", "block") as process:
        output, _ = process.communicate(timeout=DEADLINE_S)
    assert output.splitlines()[:4] == ["forked: ['MainThread']", "parent: ['MainThread']"] * 2
    assert "the handler local/shop/block has blocked" in output


async def test_a_debugger_is_no_handlers_fault(start_node: StartNode, lines: list[str]) -> None:
    namespace: dict[str, Any] = {"__name__": "pdb", "time": time}
    exec("def stand() -> None:\n    time.sleep(1.6)", namespace)
    stand = namespace["stand"]
    node = await start_node()
    await node.local.routes.put({"stand": partial(stand)}, "shop")
    await node.local.comm.send([], on(node, "stand"))
    await trio.sleep(0.2)
    assert lines == []
