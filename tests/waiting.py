"""How tests wait: for a condition, under a deadline that a machine which stalls for seconds still meets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DEADLINE_S", "is_listening", "is_running", "wait_until"]

DEADLINE_S = 60.0

_POLL_S = 0.01


async def wait_until(predicate: Callable[[], bool]) -> None:
    """Return once `predicate()` holds; fail when it doesn't within the deadline."""
    with trio.fail_after(DEADLINE_S):
        while not predicate():  # noqa: ASYNC110  other processes set no trio.Event
            await trio.sleep(_POLL_S)


def is_running(pid: int) -> bool:
    """Whether the process is there, and is not one that has ended and only waits to be reaped.

    One whose first thread has ended looks so, but has all its sockets and can't be reaped before its last thread has.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):  # it has ended since, or this is not Linux
        return not Path("/proc/self/stat").exists()
    state, *others = stat.rpartition(")")[2].split()
    threads = int(others[16])
    return state not in "ZX" or threads > 1


async def is_listening(port: int) -> bool:
    """Whether something accepts connections on that port of the loopback interface."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True
