"""The kinds of partitions.

Each is a map from a node to the nodes whose messages do not reach it. Source: Jepsen, ``jepsen.nemesis`` and
``jepsen.nemesis.combined``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    Partition = dict[str, frozenset[str]]

__all__ = ["PARTITIONS", "majorities_ring", "split"]

_PERFECT_RING: Final = 5


def split(*sides: Sequence[str]) -> Partition:
    """Return the partition in which only nodes of one side reach each other."""
    all_nodes = frozenset(node for side in sides for node in side)
    return {node: all_nodes - frozenset(side) for side in sides for node in side}


def _shuffled(nodes: Sequence[str], random: Random) -> list[str]:
    return random.sample(nodes, len(nodes))


def _apart(size: Callable[[int], int]) -> Callable[[Sequence[str], Random], Partition]:
    """Return a function that cuts random nodes off; `size` computes their number from that of all nodes."""

    def cut(nodes: Sequence[str], random: Random) -> Partition:
        shuffled, count = _shuffled(nodes, random), size(len(nodes))
        return split(shuffled[:count], shuffled[count:])

    return cut


def majorities_ring(nodes: Sequence[str], random: Random) -> Partition:
    """Return a partition in which every node receives from a majority, and hardly two nodes from the same one.

    Up to five nodes form a ring, and each receives from its neighbours. Of three nodes, each ignores exactly one other,
    so that every link works one way only. More nodes are connected at random, until each is connected to a majority.
    """
    majority, all_nodes = len(nodes) // 2 + 1, frozenset(nodes)
    shuffled = _shuffled(nodes, random)
    if len(nodes) <= _PERFECT_RING:
        reached = {}
        for index in range(len(nodes)):
            around = [shuffled[(index + offset) % len(nodes)] for offset in range(majority)]
            reached[around[majority // 2]] = frozenset(around)
        return {node: all_nodes - reached[node] for node in nodes}
    links: dict[str, set[str]] = {node: {node} for node in nodes}
    while True:
        by_degree = sorted(_shuffled(nodes, random), key=lambda node: len(links[node]))
        node = by_degree[0]
        if len(links[node]) >= majority:
            return {each: all_nodes - links[each] for each in nodes}
        other = next(each for each in by_degree if each not in links[node])
        links[node].add(other)
        links[other].add(node)


PARTITIONS: Final[Mapping[str, Callable[[Sequence[str], Random], Partition]]] = {
    "one": _apart(lambda count: 1),
    "majority": _apart(lambda count: count // 2),
    "minority-third": _apart(lambda count: (count - 1) // 3),
    "majorities-ring": majorities_ring,
}
