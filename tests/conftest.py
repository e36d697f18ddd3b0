"""Nodes for tests: in this process on the loopback interface, in memory, and in processes of their own."""

from __future__ import annotations

import atexit
import gc
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import settings

from tests.children import kill_children, reset_signals
from tests.node_processes import PROBE, NodeProcess, launch, wait_ready
from tests.waiting import DEADLINE_S
from trionet import Node, NodeConfig, open_node, serve_node
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

pytest_plugins = ["pytester"]

reset_signals()  # at import: before any test, in every worker

# A wall clock says nothing about an example while other programs have the processors, so none has a deadline. Then
# Hypothesis calls a strategy too slow if its first ten examples take 30 s, in place of 1 s.
settings.register_profile("trionet", deadline=None)
settings.load_profile("trionet")

# Until all tests are collected: what collecting makes is kept, and searches for cycles in it are a third of its time.
gc.disable()

# Python's end would look for cycles among all that the tests have made, for seconds. xdist kills a worker that takes
# ten, and warns of a process that is still running and of its open pipes.
atexit.register(gc.freeze)


def pytest_collection_finish() -> None:
    """Keep what all tests share, their own items included, out of each search for cycles: a tenth of all time."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _same_log_level() -> Generator[None]:
    """Give the log back its level: commands that run in this process change it."""
    log = logging.getLogger("trionet")
    level = log.level
    yield
    log.setLevel(level)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave no process behind that a failed test has started; the controller of xdist has its workers as children."""
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
        kill_children()


@pytest.fixture
def start_node(nursery: trio.Nursery) -> Callable[..., Awaitable[Node]]:
    """Start a node in this process, ``await start_node(config)``; it lives as long as the test."""

    async def start(config: NodeConfig | None = None) -> Node:
        with trio.fail_after(DEADLINE_S):
            node: Node = await nursery.start(serve_node, config)
        return node

    return start


@pytest.fixture
async def start_memory_node() -> AsyncGenerator[Callable[..., Awaitable[Node]]]:
    """Start a node without sockets, ``await start_memory_node(config)``; good for virtual time."""
    fabric = MemoryFabric()
    async with trio.open_nursery() as nursery:

        async def serve(config: NodeConfig | None, *, task_status: trio.TaskStatus[Node]) -> None:
            async with open_node(config, fabric=fabric) as node:
                task_status.started(node)
                await trio.sleep_forever()

        async def start(config: NodeConfig | None = None) -> Node:
            node: Node = await nursery.start(serve, config)
            return node

        yield start
        nursery.cancel_scope.cancel()


@pytest.fixture
async def start_process() -> AsyncGenerator[Callable[..., Awaitable[NodeProcess]]]:
    """Start ``trionet-node``, ``await start_process(config)``, with the service ``probe``; killed with the test."""
    with ExitStack() as stack:

        async def start(config: NodeConfig | None = None, **environment: str) -> NodeProcess:
            process = launch(stack, config or NodeConfig(services=PROBE), environment)
            return await trio.to_thread.run_sync(wait_ready, process)

        yield start


@pytest.fixture(scope="session")
def processes() -> Generator[list[NodeProcess]]:
    """Four node processes with the service ``probe``, for all tests: leave them running, and use your own names."""
    with ExitStack() as stack:
        launched = [launch(stack, NodeConfig(services=PROBE), {}) for _ in range(4)]
        yield [wait_ready(process) for process in launched]


@pytest.fixture
async def worker_group(
    start_node: Callable[..., Awaitable[Node]], processes: list[NodeProcess]
) -> tuple[Node, dict[str, NodeProcess]]:
    """A node in this process that is no member of its group ``workers``; the four processes that are, by SID."""
    caller = await start_node()
    await caller.local.groups.put("workers", [worker.address for worker in processes])
    return caller, {worker.address.sid: worker for worker in sorted(processes, key=lambda each: each.address.sid)}
