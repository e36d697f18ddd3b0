"""The nesting depth of a call, by which calls can't wait for each other in a circle.

An open call holds a slot at its caller, and a handler that makes calls waits for slots while its own call holds one.
With a single pool of slots, two nodes that call each other can fill it with calls that all wait for it. So there is one
pool per depth: a call outside any handler has depth 0, the calls of its handler have depth 1, and so on; from depth 8
on they share one pool. The depth travels with the call.

Invariants: the holder of a slot at depth d waits for slots at greater depths only. From depth 8 on no call waits: one
that finds the pool full is refused. So the deepest calls end, then those above them, and finally all.

Nested calls are those of a task that a handler has started, even after the handler has ended, because another call may
wait for the task; those of a node that it has spawned, until that has booted; and those in the block of a stream, which
holds its slot until the block ends. Calls of an unrelated task on behalf of a handler can't be recognised.

Source: the classes of buffers by hops in Merlin and Schweitzer, "Deadlock Avoidance in Store-and-Forward Networks I"
(IEEE Transactions on Communications 28, 1980).
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Protocol

    class Position(Protocol):
        """The position of running code in the nesting."""

        @property
        def inner_depth(self) -> int:
            """The depth of its calls, 0 to `DEEPEST`."""

        def lineage(self, router: object) -> Lineage:
            """Return the lineage of calls made here by way of the node of `router`."""


__all__ = [
    "DEEPEST",
    "PACKETS",
    "ROOT",
    "Holding",
    "Lineage",
    "current_depth",
    "current_lineage",
    "depth_inside",
    "holding",
    "nest",
    "position",
]

DEEPEST: Final = 8
"""The depth of calls that are nested eight deep or deeper."""

PACKETS: Final = 9
"""The depth of a packet of the protocols: its handler never waits, so it needs no slot."""


Lineage = tuple[str, bytes]
"""The parent of a call, by the id of that call, and its trace context; each empty for none."""

ROOT: Final[Lineage] = ("", b"")
"""The lineage of a call outside of any handler."""

position: ContextVar[Position | None] = ContextVar("trionet_position", default=None)
"""The call that is being handled, or the block that holds a slot; None outside of both. Tasks inherit it."""


def current_depth() -> int:
    """Return the depth of a call made here."""
    found = position.get()
    return 0 if found is None else found.inner_depth


def current_lineage(router: object) -> Lineage:
    """Return the lineage of a call made here by way of the node of `router`."""
    found = position.get()
    return ROOT if found is None else found.lineage(router)


def depth_inside(depth: int) -> int:
    """Return the depth of the calls inside a call at `depth`; a packet holds no slot."""
    return 0 if depth == PACKETS else min(depth + 1, DEEPEST)


class Holding(msgspec.Struct, eq=False):
    """A block that holds the slot of a call.

    Attributes:
        inner_depth: the depth of the calls in it.
        outer: the position around it.
        is_left: whether it has ended.
    """

    inner_depth: int
    outer: Position | None
    is_left: bool = False

    def lineage(self, router: object) -> Lineage:
        """Return that of the position around it."""
        return ROOT if self.outer is None else self.outer.lineage(router)


def nest(depth: int) -> None:
    """Set the depth of the calls of this task and of those that it starts from now on."""
    position.set(Holding(depth, None))


@contextmanager
def holding(depth: int) -> Generator[None]:
    """Make the calls in the block deeper than `depth`, where the block holds a slot."""
    outer = position.get()
    block = Holding(max(depth_inside(depth), current_depth()), outer)
    position.set(block)
    try:
        yield
    finally:
        block.is_left = True
        # Blocks of async context managers need not end in reverse order: an inner one may go on.
        if position.get() is block:
            while isinstance(outer, Holding) and outer.is_left:
                outer = outer.outer
            position.set(outer)
