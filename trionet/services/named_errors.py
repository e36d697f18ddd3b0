"""Errors of other nodes, with the node in them; and who ends a call at its deadline."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from trionet.errors import CallTimeout, TrionetError
from trionet.user_code import is_a

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from trionet.identity import NodeAddress

__all__ = ["leave_to_scope", "named", "naming"]


@contextmanager
def naming(node: NodeAddress) -> Generator[None]:
    """Set the node of errors."""
    try:
        yield
    except TrionetError as exc:
        exc.node = exc.node or str(node)
        raise


async def named(
    items: AsyncGenerator[Any], node: NodeAddress, convert: Callable[[Any], Any] | None
) -> AsyncGenerator[Any]:
    """Yield the items of a node's stream, converted by `convert`, and set the node of errors."""
    with naming(node):
        try:
            async for item in items:
                yield item if convert is None else convert(item)
        except CallTimeout as exc:
            await leave_to_scope(exc)
            raise


async def leave_to_scope(error: BaseException) -> None:
    """Let the caller's own scope end a call with this error, if the error is that the time is over, and it is.

    The node that was called may have noticed sooner: this process may have been late. The caller's deadline means the
    same anyway: `trio.fail_after` raises `trio.TooSlowError`, `trio.move_on_after` moves on.

    Raises:
        trio.Cancelled: that scope's.
    """
    if is_a(error, CallTimeout) and trio.current_effective_deadline() <= trio.current_time():
        await trio.lowlevel.checkpoint()
