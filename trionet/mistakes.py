"""Typical mistakes, recognised by what Python and Trio raise for them.

Only exceptions that end a program, a block or a handler are looked at: nothing of this runs before a failure.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

from .user_code import described, leaves

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["add_hints", "hint_of", "option_hint", "similar"]

_MOST_CHARS: Final = 40
_MOST_KNOWN: Final = 100
"""Bounds of the work for a name that a stranger has sent."""
_ALIKE: Final = 0.75

_AWAIT: Final = "an 'await' is missing: what an async function returns is a coroutine until it is awaited"

_HINTS: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (
        RuntimeError,
        r"Attempted to call run\(\) from inside a run\(\)",
        "Trio runs this already: write 'await function(...)', in an async function",
    ),
    (
        RuntimeError,
        r"no running event loop",
        "Trio runs this, not asyncio: use Trio's functions, such as trio.sleep, or run asyncio in a thread, by "
        "trio.to_thread.run_sync(asyncio.run, main())",
    ),
    (
        RuntimeError,
        r"must be called from async context",
        "Trio does not run in this thread: use trio.from_thread.run(function), in a thread of trio.to_thread.run_sync",
    ),
    (
        RuntimeError,
        r"this thread wasn't created by Trio",
        "where Trio runs, as in a handler, write 'await function(...)', in an async function; a thread that calls "
        "trio.from_thread.run(function) is started by trio.to_thread.run_sync",
    ),
    (AttributeError, r"'coroutine' object", _AWAIT),
    (TypeError, r"'coroutine' (object|and)|(and|of) 'coroutine'|got coroutine", _AWAIT),
    (
        TypeError,
        r"'(async_generator|MemoryReceiveChannel|GroupItems|Results)' object is not iterable",
        "its items arrive one by one: write 'async for'",
    ),
    (
        TypeError,
        r"'Replies' object is not (iterable|subscriptable)|'Replies' and|and 'Replies'",
        "a group's replies are two maps with SIDs as keys: replies.values and replies.errors",
    ),
    (TypeError, r"'Node' object is not subscriptable", "write node.group(gid)"),
    (
        AttributeError,
        r"'Node' object has no attribute",
        "a service is called by node.call(address, Class.method); trionet's own services are those of node.local",
    ),
)


_UNEXPECTED: Final = re.compile(r"unexpected keyword argument '(\w+)'$")
_OPTIONS: Final = frozenset({"gid", "orphans", "partial", "service", "wait"})
_TIMES: Final = frozenset({"deadline", "timeout", "timeout_s"})


def option_hint(text: str) -> str:
    """Return the end of a sentence about arguments that don't fit: how to say what is said about calls otherwise."""
    found = _UNEXPECTED.search(text)
    name = found[1] if found else ""
    if name in _OPTIONS:
        return f"; options of a call come before it: options({name}=...).call(...)"
    return "; deadlines are Trio's: put 'with trio.fail_after(seconds):' around the call" if name in _TIMES else ""


def similar(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that asks for the known name that `name` may have been meant to be; or nothing."""
    if len(name) > _MOST_CHARS:
        return ""
    import difflib  # only on an error

    close = difflib.get_close_matches(name, itertools.islice(known, _MOST_KNOWN), n=1, cutoff=_ALIKE)
    return f": did you mean {close[0]!r}?" if close else ""


def hint_of(exc: BaseException) -> str | None:
    """Return what to do about an exception, if it is that of a typical mistake."""
    kind = type(exc)
    if kind not in {RuntimeError, AttributeError, TypeError}:
        return None
    text = described(exc)
    return next((hint for of, pattern, hint in _HINTS if kind is of and re.search(pattern, text)), None)


def add_hints(exc: BaseException) -> None:
    """Add what to do as a note, to an exception or to each one in a group."""
    for leaf in leaves(exc):
        hint = hint_of(leaf)
        if hint is not None and hint not in getattr(leaf, "__notes__", ()):
            leaf.add_note(hint)
