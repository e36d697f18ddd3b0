"""Waiting until nodes agree on who is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet import MalformedRequest, Node
from trionet.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["nodes_of", "wait_converged"]

_LOOK_AGAIN_S = 0.02


async def wait_converged(nodes: Simulation | Iterable[Node]) -> None:
    """Wait until each node that runs sees exactly those that run.

    How long that may take is the caller's to say: ``with trio.fail_after(30): await wait_converged(nodes)``.

    Args:
        nodes: a simulation; or all nodes of one cluster, of which those that are stopping or have stopped don't run.

    Raises:
        MalformedRequest: it is neither.
    """
    if isinstance(nodes, Simulation):
        await nodes.wait_converged()
        return
    nodes = nodes_of(nodes)
    while not _are_converged(nodes):  # noqa: ASYNC110  nobody tells when this becomes true
        await trio.sleep(_LOOK_AGAIN_S)


def nodes_of(nodes: Node | Iterable[Node]) -> list[Node]:
    """Return one node, or several, as a list; raise `MalformedRequest` if there is anything else among them."""
    try:
        found = [nodes] if isinstance(nodes, Node) else list(nodes)
    except TypeError:
        found = [nodes]  # type: ignore[list-item]
    for node in found:
        if not isinstance(node, Node):
            raise MalformedRequest(f"nodes are a simulation, or nodes in a list, not {node!r:.80}")
    return found


def _are_converged(nodes: list[Node]) -> bool:
    running = [node for node in nodes if not node.is_stopping]
    expected = {node.sid for node in running}
    return all(node.all.members().keys() == expected for node in running)
