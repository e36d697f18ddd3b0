"""The mark that `rpc` leaves on a function: its name on the wire, and how it runs.

Invariant: a mark says ``thread`` for plain functions only. Whether a function is plain is judged through its
decorators: an async function in a thread would return a coroutine that nobody there can run.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import msgspec

from trionet.errors import MalformedRequest
from trionet.user_code import attempt

__all__ = ["MARK", "MOST_WRAPPERS", "Mark", "check_flags", "check_plain", "is_method", "mark_of"]

MARK = "__trionet_rpc__"
"""The attribute of a marked function."""

MOST_WRAPPERS = 100
_WRAPS = ("__wrapped__", "__func__", "func", "fget")
"""The attributes with a wrapped function: of functools.wraps, staticmethod, classmethod, partialmethod, property."""
_DESCRIPTORS = (staticmethod, classmethod, functools.partialmethod, functools.singledispatchmethod)
_ASYNC = {
    "an async generator": inspect.isasyncgenfunction,
    "async": inspect.iscoroutinefunction,
    "a generator": inspect.isgeneratorfunction,
}


class Mark(msgspec.Struct, frozen=True):
    """What `rpc` says about a function.

    Attributes:
        name: its name on the wire.
        thread: whether it runs in a worker thread.
        abandon_on_cancel: whether a cancelled call leaves the thread behind.
        read: whether it only reads.
        idempotent: whether running it twice has the effect of running it once.
    """

    name: str
    thread: bool = False
    abandon_on_cancel: bool = False
    read: bool = False
    idempotent: bool = False


def mark_of(member: Any) -> Mark | None:
    """Return the mark of a member of a class, under any decorators; None without one."""
    for _ in range(MOST_WRAPPERS):
        mark = attempt(getattr, member, MARK, None, default=None)
        if isinstance(mark, Mark):
            return mark
        inner = _wrapped_by(member)
        if inner is None:
            return None
        member = inner
    return None


def is_method(thing: Any) -> bool:
    """Return whether `thing` can be called, at least as an attribute of an object."""
    return callable(thing) or isinstance(thing, _DESCRIPTORS)


def check_flags(thread: object, abandon_on_cancel: object, read: object, idempotent: object) -> None:
    """Raise `MalformedRequest` unless `rpc` can have these arguments."""
    flags = {"thread": thread, "abandon_on_cancel": abandon_on_cancel, "read": read, "idempotent": idempotent}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise MalformedRequest(f"{name} of @trionet.rpc is True or False, not {value!r:.80}")
    if abandon_on_cancel and not thread:
        raise MalformedRequest(
            "abandon_on_cancel is about a method's thread: use @trionet.rpc(thread=True, abandon_on_cancel=True)"
        )


def check_plain(function: Any, shown: str) -> None:
    """Raise `MalformedRequest` unless a thread can run `function`, which an error names as `shown`."""
    member = function
    for _ in range(MOST_WRAPPERS):
        call = attempt(getattr, type(member), "__call__", None, default=None)
        for kind, is_kind in _ASYNC.items():
            if any(attempt(is_kind, each, default=False) for each in (member, call)):
                raise MalformedRequest(
                    f"{shown} is {kind}, and @trionet.rpc(thread=True) is for plain functions: leave thread out, and "
                    f"run the part that blocks by trio.to_thread.run_sync"
                )
        inner = _wrapped_by(member)
        if inner is None:
            return
        member = inner


def _wrapped_by(member: Any) -> Any:
    """Return the function that a decorator's result wraps; None if there is none."""
    wrapped = (attempt(getattr, member, name, None, default=None) for name in _WRAPS)
    inner = next((found for found in wrapped if found is not None), None)
    return inner if inner is not None and is_method(inner) else None
