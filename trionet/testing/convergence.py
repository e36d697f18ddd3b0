"""Waiting until nodes agree on the members of their cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet import MalformedRequest, Node
from trionet.simulation import Simulation
from trionet.simulation.cluster import are_converged

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["nodes_of", "wait_converged"]

_POLL_S = 0.02


async def wait_converged(nodes: Simulation | Iterable[Node]) -> None:
    """Wait until each node that runs sees exactly those that run.

    The caller sets the deadline: ``with trio.fail_after(30): await wait_converged(nodes)``.

    Args:
        nodes: a simulation; or all nodes of one cluster. Nodes that are stopping or stopped don't run.

    Raises:
        MalformedRequest: it is neither.
    """
    if isinstance(nodes, Simulation):
        await nodes.wait_converged()
        return
    nodes = nodes_of(nodes)
    while not are_converged([node for node in nodes if not node.is_stopping]):  # noqa: ASYNC110  there is no event for it
        await trio.sleep(_POLL_S)


def nodes_of(nodes: Node | Iterable[Node]) -> list[Node]:
    """Return one node, or several, as a list.

    Raises:
        MalformedRequest: there is anything else among them.
    """
    try:
        found = [nodes] if isinstance(nodes, Node) else list(nodes)
    except TypeError:
        found = [nodes]  # type: ignore[list-item]
    for node in found:
        if not isinstance(node, Node):
            raise MalformedRequest(f"nodes are a simulation, or nodes in a list, not {node!r:.80}")
    return found
