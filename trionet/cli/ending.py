"""The end of a process that has run a node: soon, whatever its threads and its ``atexit`` functions still do.

Source: at its end Python waits for all threads that are no daemons, and then for the ``atexit`` functions.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from trionet.streams import flush_streams

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["end_after", "end_soon"]

_END_S: Final = 1.0
"""How long they may take."""


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


def end_after(seconds: float, status: int) -> None:
    """Have the process end with `status` in so many seconds, unless it has ended by then."""

    def watch() -> None:
        time.sleep(seconds)
        os._exit(status)

    _start(watch)


def _start(watch: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # no thread can be started, so that none is likely to hold it up
        threading.Thread(target=watch, name="trionet ends this process", daemon=True).start()
