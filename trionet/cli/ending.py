"""The end of a process that has run a node, within a bounded time in spite of its threads and ``atexit`` functions.

Source: Trio waits for the threads of its tasks, unless they are abandoned on cancellation (`trio.to_thread.run_sync`).
At its end Python waits for all other threads except daemons, and then for the ``atexit`` functions.
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
"""The time limit of these."""

_POLL_S: Final = 0.1


def end_soon(status: int) -> int:
    """End the process with `status` soon after its main thread; return the status."""
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
    """End the process with ``status()`` while Trio waits for threads of its tasks, which can't be cancelled.

    Args:
        grace_s: the time that those tasks have to end, in addition to that of all threads.
        is_due: whether the process has nothing else to do.
        status: called at the end.
    """
    await trio.sleep(grace_s + _END_S)
    from trio.testing import active_thread_count  # a slow import: only on use

    while not (is_due() and active_thread_count()):  # noqa: ASYNC110  Trio has no event for this
        await trio.sleep(_POLL_S)
    print("trionet: ended while handlers were waiting for threads", file=sys.stderr, flush=True)
    flush_streams()
    os._exit(status())


def end_after(seconds: float, status: int) -> None:
    """End the process with `status` after some seconds, if it still runs."""

    def watch() -> None:
        time.sleep(seconds)
        os._exit(status)

    _start(watch)


def _start(watch: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # no thread can be started: probably none delays the end
        threading.Thread(target=watch, name="trionet ends this process", daemon=True).start()
