"""Waiting until nodes agree on who is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet import Node

__all__ = ["wait_converged"]

_LOOK_AGAIN_S = 0.02


async def wait_converged(nodes: Simulation | Iterable[Node]) -> None:
    """Wait until each node that runs sees exactly those that run.

    How long that may take is the caller's to say: ``with trio.fail_after(30): await wait_converged(nodes)``.

    Args:
        nodes: a simulation; or all nodes of one cluster, of which those that are stopping or have stopped don't run.
    """
    if isinstance(nodes, Simulation):
        await nodes.wait_converged()
        return
    nodes = list(nodes)
    while not _are_converged(nodes):  # noqa: ASYNC110  nobody tells when this becomes true
        await trio.sleep(_LOOK_AGAIN_S)


def _are_converged(nodes: list[Node]) -> bool:
    running = [node for node in nodes if not node.is_stopping]
    expected = {node.sid for node in running}
    return all(node.all.members().keys() == expected for node in running)
