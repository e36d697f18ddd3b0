"""A connection attempt of a node, shared by all callers that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet.errors import NodeUnreachable

if TYPE_CHECKING:
    from trionet.identity import NodeAddress

__all__ = ["Dialing", "closed_at_once"]


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

    def end(self, failure: NodeUnreachable | None) -> None:
        """Handle its end, and wake those who wait for it."""
        self.failure = failure
        self.done.set()


def closed_at_once(node: NodeAddress) -> NodeUnreachable:
    """Return the error of calls to a node whose links are of no use."""
    return NodeUnreachable(f"{node} closes every link at once")
