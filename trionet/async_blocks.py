"""Context managers for ``async with``, which tell who uses them in another way what to write.

Invariant: a misuse raises what Python raises for it, `TypeError` or `AttributeError`, and its text has the right line.
A block that is never entered is a `RuntimeWarning`, as a coroutine is that is never awaited.
"""

from __future__ import annotations

import functools
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar

from .under_trio import check_under_trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

__all__ = ["async_block"]

P = ParamSpec("P")
T = TypeVar("T")


class _AsyncBlock(Generic[T]):
    """A block that has not begun, or has begun once."""

    __slots__ = ("__weakref__", "_inner", "_is_settled", "_line")

    def __init__(self, inner: AbstractAsyncContextManager[T], line: str) -> None:
        self._inner = inner
        self._line = line
        self._is_settled = False

    # The coroutines are the inner ones: a wrapper would be one more frame in each traceback.
    def __aenter__(self) -> Awaitable[T]:
        if self._is_settled:
            raise RuntimeError(f"a block can be entered once: write '{self._line}' again")
        self._is_settled = True
        check_under_trio(self._line.removeprefix("async with ").partition("(")[0])
        return self._inner.__aenter__()

    def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> Awaitable[bool | None]:
        return self._inner.__aexit__(kind, exc, traceback)

    def __repr__(self) -> str:
        return f"<a block that is entered by '{self._line}'>"

    def __del__(self) -> None:
        if not self._is_settled:
            warnings.warn(f"a block was never entered: write '{self._line}'", RuntimeWarning, stacklevel=2)

    def _refuse(self, given: str) -> NoReturn:
        self._is_settled = True
        raise TypeError(f"{given} instead of 'async with': write '{self._line}'")

    if not TYPE_CHECKING:  # type checkers refuse all of these

        def __await__(self) -> NoReturn:
            self._refuse("'await'")

        def __aiter__(self) -> NoReturn:
            self._refuse("'async for'")

        def __iter__(self) -> NoReturn:
            self._refuse("'for'")

        def __enter__(self) -> NoReturn:
            self._refuse("'with'")

        def __exit__(self, *_: object) -> None:
            """Never called; Python asks for it before `__enter__`."""

        def __getattr__(self, name: str) -> NoReturn:
            if not name.startswith("_"):
                self._is_settled = True
            raise AttributeError(f"there is no {name!r} before the block is entered: write '{self._line}'", name=name)


def async_block(
    line: str,
) -> Callable[[Callable[P, AsyncGenerator[T]]], Callable[P, AbstractAsyncContextManager[T, bool | None]]]:
    """Do as ``contextlib.asynccontextmanager`` does, with helpful errors.

    Args:
        line: the line that enters the block, for the texts.
    """

    def decorate(function: Callable[P, AsyncGenerator[T]]) -> Callable[P, Any]:
        manager = asynccontextmanager(function)

        @functools.wraps(function)
        def made(*args: P.args, **kwargs: P.kwargs) -> _AsyncBlock[T]:
            return _AsyncBlock(manager(*args, **kwargs), line)

        return made

    return decorate
