"""The items of a map: an iterable or an async one, iterated over once.

Invariant: a generator is closed at the end of the block, by the task that has iterated over it; other iterators are
left as they are, for whoever has made them.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from trionet.errors import MalformedRequest
from trionet.user_code import shown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["MapItems", "check_items"]


class MapItems:
    """One iteration over an iterable or an async one; made by `MapItems.iterating`.

    Attributes:
        is_async: whether `take` waits, and `take_nowait` can't be used.
    """

    def __init__(self, items: Any) -> None:
        self.is_async: bool = isinstance(items, AsyncIterable)
        self._iterator: Any = aiter(items) if isinstance(items, AsyncIterable) else iter(items)

    @classmethod
    @asynccontextmanager
    async def iterating(cls, items: Any) -> AsyncGenerator[MapItems]:
        """Iterate over `items` within the block."""
        made = cls(items)
        try:
            yield made
        finally:
            if inspect.isasyncgen(made._iterator):
                await made._iterator.aclose()
            elif inspect.isgenerator(made._iterator):
                made._iterator.close()

    async def take(self) -> Any:
        """Return the next item of an async iterable.

        Raises:
            StopAsyncIteration: there is none.
            Exception: the iterable has raised it.
        """
        return await anext(self._iterator)

    def take_nowait(self) -> Any:
        """Return the next item of an iterable; it blocks for as long as the iterable does.

        Raises:
            StopIteration: there is none.
            Exception: the iterable has raised it.
        """
        return next(self._iterator)


def check_items(items: object) -> None:
    """Raise `MalformedRequest` unless `items` can be iterated over."""
    if isinstance(items, AsyncIterable | Iterable):
        return
    advice = ""
    if inspect.iscoroutine(items):
        items.close()
        advice = ": await it first"
    elif callable(items):
        advice = ": call it first"
    raise MalformedRequest(f"the items of map are an iterable, or an async one, not {shown(items, 80)}{advice}")
