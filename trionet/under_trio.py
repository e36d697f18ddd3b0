"""Raises helpful errors for code that runs outside of Trio, or inside of it twice."""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
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
        raise RuntimeError(f"{what} needs Trio, and {_whereabouts()}") from None


def _whereabouts() -> str:
    """Return what runs here instead of Trio, and what to do."""
    start = "start the program by trio.run(main) or trionet.run(main)"
    if asyncio := sys.modules.get("asyncio"):
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            return f"asyncio runs this: {start}; in a notebook, await asyncio.to_thread(trionet.run, main)"
    if threading.current_thread() is threading.main_thread():
        return f"nothing runs this: {start}"
    return "this thread runs without it: use trio.from_thread.run(function), in a thread of trio.to_thread.run_sync"


def check_runnable(main: Any, args: tuple[Any, ...]) -> None:
    """Raise a helpful error unless Trio can run ``main(node, *args)`` here."""
    if inspect.iscoroutine(main):
        main.close()
        raise TypeError(f"trionet.run needs the async function itself: {main.__name__}, not {main.__name__}(...)")
    if not callable(main):
        raise TypeError(f"trionet.run needs an async function of a node, not {main!r:.80}")
    try:
        trio.lowlevel.current_trio_token()
    except RuntimeError:
        _check_parameters(main, args)
        return
    raise RuntimeError(f"trionet.run was called where Trio runs already: use trionet.open_node there. Or: {GUARD_MAIN}")


def _check_parameters(main: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        signature = inspect.signature(main)
    except (TypeError, ValueError):  # it has none, as some built-in functions
        return
    try:
        signature.bind(None, *args)
    except TypeError as exc:
        name = getattr(main, "__qualname__", repr(main))
        given = "the node and its arguments" if args else "the node"
        raise TypeError(f"trionet.run calls {name} with {given}, as in 'async def {name}(node)': {exc}") from None


async def awaited(value: Awaitable[T], function: Callable[..., Any]) -> T:
    """Return the result of `value`, which `function` has returned; raise `TypeError` unless it can be awaited."""
    if not hasattr(type(value), "__await__"):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"trionet.run needs an async function: write 'async def {name}(node)'")
    return await value
