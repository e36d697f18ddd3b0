"""A connection attempt of a node, shared by all callers that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trionet.errors import NodeUnreachable

__all__ = ["Dialing"]


class Dialing:
    """A connection attempt.

    Attributes:
        done: set at its end.
        failure: why it failed.
        is_forced: whether it is sealed although the node sends plainly: its failure is none of an ordinary call's.
    """

    def __init__(self, *, is_forced: bool) -> None:
        self.done: trio.Event = trio.Event()
        self.failure: NodeUnreachable | None = None
        self.is_forced: bool = is_forced
