"""The neighbours of broadcast nodes, by topology. Source: Maelstrom, ``workload/broadcast.clj``."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["TOPOLOGIES", "Neighbors", "topology"]

Neighbors = dict[str, list[str]]


def _grid(nodes: Sequence[str]) -> Neighbors:
    side = math.ceil(math.sqrt(len(nodes)))

    def at(row: int, column: int) -> list[str]:
        index = row * side + column
        return [nodes[index]] if row >= 0 and 0 <= column < side and index < len(nodes) else []

    around = ((1, 0), (-1, 0), (0, 1), (0, -1))
    return {
        node: [near for down, right in around for near in at(index // side + down, index % side + right)]
        for index, node in enumerate(nodes)
    }


def _line(nodes: Sequence[str]) -> Neighbors:
    if len(nodes) == 1:
        return {}
    return {node: [*nodes[max(i - 1, 0) : i], *nodes[i + 1 : i + 2]] for i, node in enumerate(nodes)}


def _tree(branches: int, nodes: Sequence[str]) -> Neighbors:
    neighbors: Neighbors = {node: [] for node in nodes}
    for index, node in enumerate(nodes[1:], 1):
        parent = nodes[(index - 1) // branches]
        neighbors[node].insert(0, parent)
        neighbors[parent].append(node)
    return neighbors


def _total(nodes: Sequence[str]) -> Neighbors:
    return {node: [other for other in nodes if other != node] for node in nodes}


TOPOLOGIES: Final[Mapping[str, Callable[[Sequence[str]], Neighbors]]] = {
    "line": _line,
    "grid": _grid,
    "tree": partial(_tree, 2),
    "tree2": partial(_tree, 2),
    "tree3": partial(_tree, 3),
    "tree4": partial(_tree, 4),
    "total": _total,
}


def topology(name: str, nodes: Sequence[str]) -> Neighbors:
    """Return the neighbours of each node in the topology of that name."""
    return TOPOLOGIES[name](nodes)
