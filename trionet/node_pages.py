"""What a node shows of itself over HTTP, besides its services."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .arguments import Method
    from .dashboard import Dashboard
    from .figures import NodeFigures
    from .method_table import MethodTable
    from .node import Node
    from .security.live_keys import LiveKeys

__all__ = ["NodePages"]


class NodePages:
    """Fulfils `trionet.transports.shown.Pages` for one node.

    Attributes:
        has_booted: whether its `on_start` has ended.
    """

    def __init__(self, node: Node, methods: MethodTable, keys: LiveKeys, background: trio.Nursery) -> None:
        """Show `node`, which has these methods, and protects itself by `keys`; `background` is for its dashboard."""
        self.has_booted: bool = False
        self._methods = methods
        self._keys = keys
        self._document = b""
        self._made_of: tuple[int, tuple[str, ...]] | None = None
        self._in_turn = trio.Lock()
        self._background = background
        self._dashboard: Dashboard | None = None
        self._node: Node = weakref.proxy(node)  # which has the endpoint that has this

    @property
    def _security(self) -> tuple[str, ...]:
        """The security schemes of the document."""
        if self._keys or self._keys.is_rolling:
            return ("bearer", "signature")
        return ("certificate",) if self._node.config.certificate_file is not None else ()

    @property
    def is_ready(self) -> bool:
        """Whether it has booted and joined its cluster, and is not stopping."""
        return self.has_booted and not self._node.is_stopping and not self._node.local.membership.is_joining_at_start

    async def openapi(self) -> bytes:
        """Return its OpenAPI document, which is made in a thread when its methods, or keys, have changed."""
        async with self._in_turn:
            made_of = self._methods.version, self._security
            if self._made_of != made_of:
                write = partial(_document, list(self._methods), self._security)
                self._document, self._made_of = await trio.to_thread.run_sync(write), made_of
            return self._document

    @property
    def dashboard(self) -> Dashboard:
        """Its dashboard; most nodes are never looked at."""
        if self._dashboard is None:
            from .dashboard import Dashboard

            self._dashboard = Dashboard(self._node, self._background)
        return self._dashboard

    def close(self) -> None:
        """End what is shown continuously: the node is stopping."""
        if self._dashboard is not None:
            self._dashboard.close()

    def figures(self) -> NodeFigures:
        """Return its figures."""
        return self._node.figures()


def _document(methods: Sequence[tuple[str, str, str, Method]], security: Sequence[str]) -> bytes:
    from .openapi import document  # most nodes are never asked

    return document(methods, security)
