"""Where the handlers of a node wait: found from outside, in the tasks of the Trio run, at the time of the question.

A task answers the call in its context variables (`trionet.current_call`). Invariant: nothing here runs a task, or
changes one.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from .nesting import Holding, position
from .prepared_call import PreparedCall
from .protocols.call_reports import Pause, cut
from .transports.link.incoming import LinkServer
from .trio_internals import is_waiting_for_thread

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import FrameType

__all__ = ["pauses_of"]

_CALLING: Final = frozenset({"trionet.services.comm", "trionet.templates.base", "trionet.templates.fan_out"})
"""The modules that wait for other calls."""

_PLUMBING: Final = frozenset({"trio", "trionet", "contextlib", "outcome"})
"""The packages whose places say nothing to a user."""
_HANDLERS: Final = ("trionet.services.", "trionet.templates.", "trionet.launchers.")
"""But these are handlers, or what they wait for."""
_NURSERY_END: Final = "NurseryManager.__aexit__"

# Only the identity of these is used.
_RUNS_HANDLER: Final = frozenset(
    method.__code__
    for method in (PreparedCall.run, PreparedCall._one_by_one, PreparedCall._close)  # noqa: SLF001
)
_RUNS_STREAM: Final = LinkServer._run_stream.__code__  # noqa: SLF001
_SENDS_ITEM: Final = LinkServer._send_item.__code__  # noqa: SLF001

_Frames = list[tuple["FrameType", int]]


def pauses_of(running: Collection[PreparedCall]) -> dict[PreparedCall, list[Pause]]:
    """Return what the tasks of each running call wait for, besides other calls."""
    found: defaultdict[PreparedCall, list[Pause]] = defaultdict(list)
    current, root = trio.lowlevel.current_task(), trio.lowlevel.current_root_task()
    pending = [] if root is None else [(root, False)]
    while pending:
        task, is_within = pending.pop()
        call = _call_of(task)
        if call is not None and call in running:
            frames = list(task.iter_await_frames())
            # The tasks of links may have begun in a handler, too: they are in other nurseries.
            is_within = is_within or any(_runs_handler(frame) for frame, _ in frames)
            pause = _pause_of(task, call, frames) if is_within and task is not current else None
            if pause is not None:
                found[call].append(pause)
        pending += [(child, is_within) for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


def _call_of(task: trio.lowlevel.Task) -> PreparedCall | None:
    """Return the call that a task answers."""
    found = task.context.get(position)
    while isinstance(found, Holding):
        found = found.outer
    return found if isinstance(found, PreparedCall) else None


def _runs_handler(frame: FrameType) -> bool:
    return frame.f_code in _RUNS_HANDLER or frame.f_code is _RUNS_STREAM


def _pause_of(task: trio.lowlevel.Task, call: PreparedCall, frames: _Frames) -> Pause | None:
    """Return what a task waits for; None for another call, or for its own tasks."""
    start = max((number for number, (frame, _) in enumerate(frames) if frame.f_code in _RUNS_HANDLER), default=-1)
    frames = frames[start + 1 :]  # before are the callers of a call of the node to itself
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in frames]
    if not _CALLING.isdisjoint(modules):
        return None
    place, inner = _place_in(frames, modules)
    if is_waiting_for_thread(task):
        return Pause("thread", place if place or not call.method.in_thread else "the handler itself")
    if call.method.is_stream and (not place or any(frame.f_code is _SENDS_ITEM for frame, _ in frames)):
        return Pause("credit")
    if inner == _NURSERY_END and any(nursery.child_tasks for nursery in task.child_nurseries):
        return None
    return Pause("code", place)


def _place_in(frames: _Frames, modules: list[str]) -> tuple[str, str]:
    """Return the innermost place that is neither Trio's nor of the plumbing, and the name of what waits there."""
    for number in range(len(frames) - 1, -1, -1):
        module = modules[number]
        if module.partition(".")[0] in _PLUMBING and not module.startswith(_HANDLERS):
            continue
        (frame, line), code = frames[number], frames[number][0].f_code
        inner = frames[number + 1][0].f_code.co_qualname if number + 1 < len(frames) else ""
        is_trios = inner and modules[number + 1].partition(".")[0] == "trio"
        what = f"trio.{inner} in " if is_trios else ""
        return cut(f"{what}{code.co_qualname} ({Path(frame.f_code.co_filename).name}:{line})"), inner
    # A task that is a function of Trio's itself, as in ``nursery.start_soon(trio.sleep, 10)``.
    is_trios = bool(frames) and modules[0].partition(".")[0] == "trio"
    return f"trio.{frames[0][0].f_code.co_qualname}" if is_trios else "", ""
