"""How deeply a call is nested in others, so that no calls wait for each other in a circle.

A call that is in progress holds a place at its caller, and a handler that makes calls waits for places while its own
call holds one. With one pool of places, two nodes that call each other can fill it with calls that all wait for it. So
there is a pool for each depth: a call that is made in no handler is at depth 0, those that its handler makes are at
depth 1, and so on; from depth 8 on they share one pool. The depth travels with the call.

Invariants: who holds a place at depth d waits for places at greater depths only; from depth 8 on nobody waits, and a
call that finds the pool full is refused. So the deepest calls end, then those above them, and in the end all.

What has to be nested: a task that a handler has started, even when the handler has ended, because another call may wait
for it; a node that it has spawned, as long as that boots; and what is done in the block of a stream, which holds its
place for as long. What a task does for a handler that has not started it can't be known to be nested.

Source: the classes of buffers by hops in Merlin and Schweitzer, "Deadlock Avoidance in Store-and-Forward Networks I"
(IEEE Transactions on Communications 28, 1980).
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["DEEPEST", "PACKETS", "Holding", "Position", "current_depth", "depth_inside", "holding", "nest", "position"]

DEEPEST: Final = 8
"""The depth of calls that are nested eight deep, or deeper."""

PACKETS: Final = 9
"""What stands for the depth of a packet of the protocols: its handler never waits, and so it needs no place."""


class Position(Protocol):
    """Where in the nesting the running code is."""

    @property
    def inner_depth(self) -> int:
        """The depth of the calls that it makes, 0 to `DEEPEST`."""


position: ContextVar[Position | None] = ContextVar("trionet_position", default=None)
"""The call that is being answered, or the block that holds a place; None outside of any. Tasks inherit it."""


def current_depth() -> int:
    """Return the depth of a call that is made here."""
    found = position.get()
    return 0 if found is None else found.inner_depth


def depth_inside(depth: int) -> int:
    """Return the depth of the calls that are made while a call at `depth` holds its place; a packet holds none."""
    return 0 if depth == PACKETS else min(depth + 1, DEEPEST)


class Holding:
    """The block of a call that holds its place until the block ends.

    Attributes:
        outer: what it is in.
        is_left: whether the block has ended.
    """

    __slots__ = ("inner_depth", "is_left", "outer")

    def __init__(self, inner_depth: int, outer: Position | None) -> None:
        self.inner_depth: int = inner_depth
        self.outer: Position | None = outer
        self.is_left: bool = False


def nest(depth: int) -> None:
    """Have the calls of the running task, and of those that it starts from now on, be at `depth`."""
    position.set(Holding(depth, None))


@contextmanager
def holding(depth: int) -> Generator[None]:
    """Have the calls that are made inside be deeper than `depth`, where a place is held until the block ends."""
    outer = position.get()
    block = Holding(max(depth_inside(depth), current_depth()), outer)
    position.set(block)
    try:
        yield
    finally:
        block.is_left = True
        # Blocks of async context managers need not end in reverse order: one that began inside may go on.
        if position.get() is block:
            while isinstance(outer, Holding) and outer.is_left:
                outer = outer.outer
            position.set(outer)
