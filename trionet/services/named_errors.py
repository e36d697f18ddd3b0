"""Errors of other nodes, with the node in them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trionet.errors import TrionetError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from trionet.identity import NodeAddress

__all__ = ["named", "naming"]


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
        async for item in items:
            yield item if convert is None else convert(item)
