"""Real nodes for a test, in one process, on the loopback interface."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from trionet import Node, NodeConfig, serve_node
from trionet.nurseries import open_background_nursery

from .clusters import is_virtual
from .convergence import wait_converged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import trio

__all__ = ["NodeFactory", "open_node_factory"]

_NO_TIME = """\
trionet_nodes are real nodes with real sockets, and this test's clock is virtual: it would jump over their waits, or \
stand still. Leave out autojump_clock or mock_clock; or use trionet_cluster, whose nodes are simulated\
"""


class NodeFactory:
    """Starts nodes; the value of the fixture ``trionet_nodes``."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def __call__(
        self, n: int = 3, *, config: NodeConfig | Callable[[int], NodeConfig] | None = None
    ) -> list[Node]:
        """Start `n` nodes that are one cluster, and return them once each sees all; they stop with the test.

        Args:
            n: the number of nodes.
            config: their configuration, or a function of a node's place that returns it. By default nodes are on the
                loopback interface, on free ports. Its `join` is ignored, so that a test with the configuration of a
                real cluster doesn't join it.

        Raises:
            RuntimeError: the clock of the test is virtual.
            Exception: as from `trionet.open_node`.
        """
        if is_virtual():
            raise RuntimeError(_NO_TIME)
        nodes: list[Node] = []
        for index in range(n):
            own = (config(index) if callable(config) else config) or NodeConfig()
            own = msgspec.structs.replace(own, join=[str(node.address) for node in nodes[:1]])
            nodes.append(await self._nursery.start(serve_node, own))
        await wait_converged(nodes)
        return nodes


@asynccontextmanager
async def open_node_factory() -> AsyncGenerator[NodeFactory]:
    """Yield a factory of nodes, which all stop with the block."""
    async with open_background_nursery() as nursery:
        yield NodeFactory(nursery)
