"""Processors that simulated nodes share, as the processes of one machine do.

Each input of a node, a message or a timer, takes a processor for the same time. A node waits for the first processor
that is free; what has come until then is handled together, as by a process that reads all that it finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hosts.watched import clock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Processors"]


class Processors:
    """Delays for the inputs of nodes, a function for each node: a lag of its `trionet.transports.memory.host.Host`.

    Args:
        count: how many there are.
        input_s: for how long an input takes one.
    """

    def __init__(self, count: int, input_s: float) -> None:
        self._free_at = [0.0] * count
        self._input_s = input_s
        self._nodes: dict[str, _Node] = {}

    def lag_of(self, name: str) -> Callable[[], float]:
        """Return the function of the node of that name."""
        node = self._nodes[name] = _Node()

        def lag() -> float:
            now = clock()
            if now >= node.begins_at:
                node.begins_at = node.free_at = max(now, node.free_at, min(self._free_at))
                node.place = self._place(node.begins_at)
                self._free_at[node.place] = node.begins_at
            node.inputs += 1
            node.free_at += self._input_s
            self._free_at[node.place] += self._input_s
            return node.begins_at + self._input_s - now

        return lag

    def _place(self, begin: float) -> int:
        """Return the processor that has been free for the shortest time."""
        free = [place for place, free_at in enumerate(self._free_at) if free_at <= begin]
        return max(free, key=self._free_at.__getitem__)

    def used_s(self, name: str) -> float:
        """Return the processor time of a node so far."""
        return self._nodes[name].inputs * self._input_s


class _Node:
    def __init__(self) -> None:
        self.begins_at = self.free_at = 0.0
        self.place = 0
        self.inputs = 0
