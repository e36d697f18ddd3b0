"""Nodes for the tests of links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet import Node, NodeConfig


@pytest.fixture
def start(start_node: Callable[..., Awaitable[Node]]) -> Callable[..., Awaitable[Node]]:
    """Start a node in this process, ``await start(config, name=function)``, with functions as its service ``probe``."""

    async def start(config: NodeConfig | None = None, **methods: Callable[..., Any]) -> Node:
        node = await start_node(config)
        await node.local.routes.put({"echo": lambda *args: args, **methods}, "probe")
        return node

    return start


@pytest.fixture
def patient_clock() -> MockClock:
    """Virtual time that jumps only when nothing has happened for a while, so that bytes in sockets arrive before it."""
    return MockClock(autojump_threshold=0.05)
