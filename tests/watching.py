"""Nodes that note what becomes of the members, and when."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from trionet import MemberEvent, rpc

if TYPE_CHECKING:
    from trionet import Event, Node

__all__ = ["Watcher", "watch"]


class Watcher:
    """The service ``watcher``.

    Attributes:
        noted: the kind of each event of a member, its name, and when, on the clock that all processes here share.
    """

    def __init__(self, node: Node) -> None:
        self.noted: list[tuple[str, str, float]] = []
        self._node = node

    def handle(self, event: Event) -> None:
        if isinstance(event, MemberEvent):
            self.noted.append((type(event).__name__, str(event.node), time.monotonic()))

    @rpc
    def get(self) -> list[Any]:
        return list(self.noted)

    @rpc
    def facts(self) -> tuple[int, int]:
        """Return its process, and the size of its view."""
        return os.getpid(), len(self._node.members())


async def watch(node: Node) -> None:
    """Offer a `Watcher`; for `on_start`."""
    watcher = Watcher(node)
    node.listen(watcher.handle)
    await node.local.routes.put(watcher, "watcher")
