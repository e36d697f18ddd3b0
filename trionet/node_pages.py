"""What a node shows of itself over HTTP, besides its services."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .figures import NodeFigures
    from .node import Node

__all__ = ["NodePages"]


class NodePages:
    """Fulfils `trionet.transports.base.Pages` for one node.

    Attributes:
        has_booted: whether its `on_start` has ended.
    """

    def __init__(self, node: Node) -> None:
        self.has_booted: bool = False
        self._node: Node = weakref.proxy(node)  # which has the endpoint that has this

    @property
    def is_ready(self) -> bool:
        """Whether it has booted and joined its cluster, and is not stopping."""
        return self.has_booted and not self._node.is_stopping and not self._node.local.membership.is_joining_at_start

    def figures(self) -> NodeFigures:
        """Return its figures."""
        return self._node.figures()
