"""Raises helpful errors for code that runs outside of Trio, or inside of it twice."""

from __future__ import annotations

import contextlib
import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from .import_paths import GUARD_MAIN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["awaited", "check_runnable", "check_under_trio"]

T = TypeVar("T")


def check_under_trio(what: str) -> None:
    """Raise `RuntimeError` unless Trio runs the caller.

    Args:
        what: the name of the called function.
    """
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        library = _running_library()
        raise RuntimeError(
            f"{what} needs Trio, and {library} runs this: start the program by trio.run(main) or trionet.run(main)"
        ) from None


def _running_library() -> str:
    if asyncio := sys.modules.get("asyncio"):
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            return "asyncio"
    return "nothing"


def check_runnable(main: Any) -> None:
    """Raise a helpful error unless Trio can run `main` here."""
    if inspect.iscoroutine(main):
        main.close()
        raise TypeError(f"trionet.run needs the async function itself: {main.__name__}, not {main.__name__}(...)")
    if not callable(main):
        raise TypeError(f"trionet.run needs an async function of a node, not {main!r:.80}")
    try:
        trio.lowlevel.current_trio_token()
    except RuntimeError:
        return
    raise RuntimeError(f"trionet.run was called where Trio runs already: use trionet.open_node there. Or: {GUARD_MAIN}")


async def awaited(value: Awaitable[T], function: Callable[..., Any]) -> T:
    """Return the result of `value`, which `function` has returned; raise `TypeError` unless it can be awaited."""
    if not hasattr(type(value), "__await__"):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"trionet.run needs an async function: write 'async def {name}(node)'")
    return await value
