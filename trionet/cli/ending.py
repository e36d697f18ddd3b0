"""The end of a process that has run a node: soon, whatever its threads and its ``atexit`` functions still do.

Source: Trio waits for the threads of its tasks, unless they are given up when they are cancelled
(`trio.to_thread.run_sync`). At its end Python waits for all other threads that are no daemons, and then for the
``atexit`` functions.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import trio

from trionet.streams import flush_streams

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["end_after", "end_despite_threads", "end_soon"]

_END_S: Final = 1.0
"""How long they may take."""

_POLL_S: Final = 0.1


def end_soon(status: int) -> int:
    """Have the process end with `status` soon after its main thread; return the status."""
    flush_streams()

    def watch() -> None:
        threading.main_thread().join()
        time.sleep(_END_S)
        left = [thread.name for thread in threading.enumerate() if not thread.daemon and thread.is_alive()]
        if left:
            print(f"trionet: ended while threads were running: {', '.join(left)}", file=sys.stderr, flush=True)
        os._exit(status)

    _start(watch)
    return status


async def end_despite_threads(grace_s: float, is_due: Callable[[], bool], status: Callable[[], int]) -> None:
    """Have the process end with `status` when Trio waits for threads of its tasks: these can't be cancelled.

    Args:
        grace_s: how long those tasks may take to end by themselves, before what all threads have.
        is_due: whether all else is done that the process has to do.
        status: asked at the end.
    """
    await trio.sleep(grace_s + _END_S)
    from trio.testing import active_thread_count  # takes long to import: only where it is needed

    while not (is_due() and active_thread_count()):  # noqa: ASYNC110  nobody tells
        await trio.sleep(_POLL_S)
    print("trionet: ended while handlers were waiting for threads", file=sys.stderr, flush=True)
    flush_streams()
    os._exit(status())


def end_after(seconds: float, status: int) -> None:
    """Have the process end with `status` in so many seconds, unless it has ended by then."""

    def watch() -> None:
        time.sleep(seconds)
        os._exit(status)

    _start(watch)


def _start(watch: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # no thread can be started, so that none is likely to hold it up
        threading.Thread(target=watch, name="trionet ends this process", daemon=True).start()
