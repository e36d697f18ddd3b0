"""What is to be done when a member of the cluster has failed or left."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trionet.identity import NodeAddress

__all__ = ["Departures"]


class Departures:
    """The members whose departure somebody handles."""

    def __init__(self) -> None:
        self._handlers: dict[NodeAddress, dict[object, Callable[[], None]]] = {}

    @contextmanager
    def handling(self, node: NodeAddress, handle: Callable[[], None]) -> Generator[None]:
        """Call ``handle()``, in the context of the caller, when `node` fails or leaves within the block."""
        key, of_node = object(), self._handlers.setdefault(node, {})
        of_node[key] = partial(copy_context().run, handle)
        try:
            yield
        finally:
            del of_node[key]
            if not of_node:
                self._handlers.pop(node, None)

    def note(self, node: NodeAddress) -> None:
        """Handle that a member has failed or left."""
        for handle in list(self._handlers.get(node, {}).values()):
            handle()
