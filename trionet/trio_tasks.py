"""How tasks wait, and whether one can be used again: in fewer steps than Trio's public functions take.

As in `trio_internals`, each private part is looked up at import; where a version of Trio lacks one, a public fallback
takes its place:

=====================  ======================================  ====================================================
part                   private                                 public fallback
=====================  ======================================  ====================================================
`wait_woken`           what a task yields to wait              ``trio.lowlevel.wait_task_rescheduled``: slower
`is_as_entered`        the scopes of a task, and its locks     False: each task is used once
=====================  ======================================  ====================================================

Source: Trio 0.35, ``_core/_run.py``, ``_core/_traps.py`` and ``_core/_parking_lot.py``.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Final

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

__all__ = ["WOKEN", "is_as_entered", "wait_woken"]

_run: Any = getattr(trio._core, "_run", None)  # noqa: SLF001  the purpose of this module, here and below

_current_task = trio.lowlevel.current_task


# ---- a task that waits


class _Woken(outcome.Outcome[None]):
    """The outcome of a wait without a result; it may be used again and again, unlike ``outcome.Value(None)``."""

    __slots__ = ()

    def unwrap(self) -> None:
        """Return nothing."""

    def send(self, gen: Generator[Any, None, Any]) -> Any:
        """Resume a generator."""
        return gen.send(None)

    async def asend(self, agen: AsyncGenerator[Any, None]) -> Any:
        """Resume an async generator."""
        return await agen.asend(None)


WOKEN: Final = _Woken()
"""What to pass to ``trio.lowlevel.reschedule`` for a wait without a result."""


def _give_up(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


async def _wait_by_trio() -> None:
    """Wait until the task is rescheduled; cancelled, it is rescheduled at once.

    Whoever would reschedule it must know whether it still waits: set ``task.custom_sleep_data`` before, which Trio
    clears when it reschedules a task.
    """
    await trio.lowlevel.wait_task_rescheduled(_give_up)


def _message_of_wait() -> Any:
    """Return what a task yields to wait so: the same for each wait, which Trio would make for each."""
    waiting = trio.lowlevel.wait_task_rescheduled(_give_up)  # noqa: ASYNC105  it is never to run
    try:
        return waiting.send(None)
    finally:
        waiting.close()


_WAIT_MESSAGE: Final = _message_of_wait()


@types.coroutine
def _wait_by_message() -> Generator[Any, Any, None]:
    """Wait until the task is rescheduled; see `_wait_by_trio`."""
    (yield _WAIT_MESSAGE).unwrap()


_HAS_MESSAGE: Final = type(_WAIT_MESSAGE).__name__ == "WaitTaskRescheduled" and hasattr(_run, "WaitTaskRescheduled")
wait_woken: Final[Callable[[], Awaitable[None]]] = _wait_by_message if _HAS_MESSAGE else _wait_by_trio


# ---- a task that is used again

_lots: Any = getattr(_run, "GLOBAL_PARKING_LOT_BREAKER", None)
_CAN_REUSE: Final = (
    _lots is not None
    and hasattr(getattr(_run, "Task", None), "_cancel_status")
    and hasattr(trio.CancelScope, "_cancel_status")
    and hasattr(trio.CancelScope, "_cancel_called")
)


def _is_as_entered(scope: trio.CancelScope) -> bool:
    """Return whether the running task is as it was when it entered `scope`, which has no deadline.

    So that it may go on with other work: no scope or nursery is open within, `scope` is not cancelled, and the task
    holds no lock.
    """
    task: Any = _current_task()
    return (
        task._cancel_status is scope._cancel_status  # noqa: SLF001
        and not scope._cancel_called  # noqa: SLF001
        and task not in _lots
    )


def _is_never_as_entered(_: trio.CancelScope) -> bool:
    """Return False: it is not known."""
    return False


is_as_entered: Final[Callable[[trio.CancelScope], bool]] = _is_as_entered if _CAN_REUSE else _is_never_as_entered
