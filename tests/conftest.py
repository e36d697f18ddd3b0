"""Nodes for tests: in this process on the loopback interface, in memory, and in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
import trio

from tests.waiting import DEADLINE_S
from trionet import Node, NodeAddress, NodeConfig, open_node, serve_node
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

ROOT = Path(__file__).parents[1]

PROBE = {"probe": "tests.samples:Probe"}
"""The services that nodes of `start_process` and `processes` start with."""


class NodeProcess(NamedTuple):
    """A node in a process of its own."""

    process: subprocess.Popen[bytes]
    address: NodeAddress

    @property
    def pid(self) -> int:
        return self.process.pid


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
            process = _launch(stack, config or NodeConfig(services=PROBE), environment)
            return await trio.to_thread.run_sync(_wait_ready, process)

        yield start


@pytest.fixture(scope="session")
def processes() -> Generator[list[NodeProcess]]:
    """Four node processes with the service ``probe``, for all tests: leave them running, and use your own names."""
    with ExitStack() as stack:
        launched = [_launch(stack, NodeConfig(services=PROBE), {}) for _ in range(4)]
        yield [_wait_ready(process) for process in launched]


@pytest.fixture
async def worker_group(
    start_node: Callable[..., Awaitable[Node]], processes: list[NodeProcess]
) -> tuple[Node, dict[str, NodeProcess]]:
    """A node in this process that is no member of its group ``workers``; the four processes that are, by SID."""
    caller = await start_node()
    await caller.local.groups.put("workers", [worker.address for worker in processes])
    return caller, {worker.address.sid: worker for worker in sorted(processes, key=lambda each: each.address.sid)}


def _launch(stack: ExitStack, config: NodeConfig, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    settings = msgspec.json.encode(config).decode()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIONET_")}
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "trionet.cli.node", "--json", "--config", settings],
            cwd=ROOT,
            env=inherited | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
    )
    stack.callback(process.kill)  # before Popen's own end, which waits
    return process


def _wait_ready(process: subprocess.Popen[bytes]) -> NodeProcess:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the node ended with status {process.wait()} before it was ready"
    ready: dict[str, Any] = msgspec.json.decode(line)
    assert ready["pid"] == process.pid
    return NodeProcess(process, NodeAddress(ready["ip"], ready["port"]))
