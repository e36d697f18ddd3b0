"""Finds the code that blocks an event loop, in the stack of the loop's thread.

Invariant: code that waits in Trio's own poll is none, nor is code that a debugger has stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from .user_code import attempt

if TYPE_CHECKING:
    from types import CodeType, FrameType

__all__ = ["Blocker", "find_blocker", "frame_of_blocker", "handles_calls"]

F = TypeVar("F", bound=Callable[..., Any])

_LOOP: Final = frozenset({"trio", "outcome"})
"""The packages of Trio's loop: it starts tasks by way of ``outcome``."""
_WAITS: Final = "trionet.trio_waits"
"""The module that is a part of the loop, too: it receives where Trio waits."""
_DEBUGGERS: Final = frozenset({"bdb", "pdb", "debugpy", "pydevd", "_pydevd_bundle"})

_handling: Final[set[CodeType]] = set()


class Blocker(msgspec.Struct, frozen=True):
    """The code that blocks an event loop, in words for a log line.

    Attributes:
        what: the handler or the task.
        place: file, line and function.
    """

    what: str
    place: str


def handles_calls(function: F) -> F:
    """Mark a method that runs handlers; its object has the ``name`` of the call."""
    _handling.add(function.__code__)
    return function


def frame_of_blocker(thread_id: int) -> FrameType | None:
    """Return a frame of the code that a loop's thread runs now: the same for as long as one handler or task goes on.

    To be compared as an object, and not by its id, which a later frame may have.

    Returns:
        None if that is the loop itself, or a debugger.
    """
    stack = _stack_of(thread_id)
    of_call = _index_of_call(stack)
    return _first_of_task(stack) if of_call is None else stack[of_call]


def find_blocker(thread_id: int) -> Blocker | None:
    """Return the code that a loop's thread runs now; None if that is the loop itself, or a debugger.

    To look is not free: a frame whose variables were read may form a cycle with an exception that passes it later.
    """
    stack = _stack_of(thread_id)
    of_call = _index_of_call(stack)
    if of_call is None:
        is_found = _first_of_task(stack) is not None
        return Blocker("a task outside of handlers", _place(stack[0], stack[0])) if is_found else None
    name = attempt(lambda: stack[of_call].f_locals["self"].name, default="of a call")
    place = _place(stack[of_call - 1], stack[0]) if of_call else "a function that is not written in Python"
    return Blocker(f"the handler {name}", place)


def _stack_of(thread_id: int) -> list[FrameType]:
    """Return the frames of a thread, innermost first; none where a debugger has stopped it."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001  documented, and private by name only
    stack: list[FrameType] = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return [] if any(_package_of(each) in _DEBUGGERS for each in stack) else stack


def _index_of_call(stack: list[FrameType]) -> int | None:
    return next((index for index, each in enumerate(stack) if each.f_code in _handling), None)


def _first_of_task(stack: list[FrameType]) -> FrameType | None:
    """Return the first frame inside of Trio's loop; None if the loop itself runs."""
    if not stack or _package_of(stack[0]) in _LOOP:
        return None
    outside_in = reversed(stack)
    if not any(_package_of(each) in _LOOP for each in outside_in):  # the iterator goes on behind the one found
        return None
    return next((each for each in outside_in if _package_of(each) not in _LOOP), None)


def _place(first: FrameType, innermost: FrameType) -> str:
    shown = _shown(first)
    return shown if innermost is first else f"{shown}, which is in {_shown(innermost)}"


def _shown(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"


def _package_of(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    if name == _WAITS:
        return "trio"
    return name.partition(".")[0] if isinstance(name, str) else ""
