"""Starting a program as a child.

Invariants: a failure to start is a `SpawnError` with the reason; a standard stream that this process lacks is
``/dev/null`` for the child; waiting for a killed child is bounded.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import trio

from trionet.errors import SpawnError
from trionet.forks import keep_from_forks
from trionet.log_limits import about, limited_log
from trionet.open_files import explain_full, is_full

from .base import KILL_AFTER_S
from .interpreter import python_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["explain_failure", "kill_child", "missing_streams", "open_child"]

_log = limited_log(__name__)


async def open_child(command: Sequence[str], *, what: str | None = None, **options: Any) -> trio.Process:
    """Start a program; see `trio.lowlevel.open_process`.

    Args:
        command: the program and its arguments.
        what: its name in errors; default: the program.
        options: those of `subprocess.Popen`.

    Raises:
        SpawnError: it can't be started; the text is the reason.
    """
    try:
        process = await trio.lowlevel.open_process(
            command, **{"env": python_environment(), **missing_streams(), **options}
        )
    except (OSError, RuntimeError, ValueError) as exc:  # no descriptor or process; no thread; a NUL in an argument
        raise SpawnError(f"can't start {what or command[0]}: {explain_failure(exc)}") from exc
    for stream in (process.stdin, process.stdout):
        if isinstance(stream, trio.lowlevel.FdStream):
            keep_from_forks(stream)
    return process


def explain_failure(exc: Exception) -> str:
    """Return the reason of a failure as a text."""
    reason = exc.strerror if isinstance(exc, OSError) else None
    if isinstance(exc, OSError) and is_full(exc):
        reason = f"{reason}: {explain_full(exc)}"
    return reason or str(exc) or type(exc).__name__


def missing_streams() -> dict[str, int]:
    """Return options of `subprocess.Popen` for the output streams that this process was started without."""
    return {name: subprocess.DEVNULL for number, name in ((1, "stdout"), (2, "stderr")) if not _is_stream(number)}


def _is_stream(number: int) -> bool:
    try:
        # Descriptors that Python opens are not inheritable: such a one has the number of a missing stream.
        return os.get_inheritable(number)
    except OSError:
        return False


async def kill_child(process: trio.Process) -> int:
    """Kill a child, wait for its end, and return its exit status; the wait is bounded, in case the kernel is stuck."""
    process.kill()
    with trio.move_on_after(KILL_AFTER_S, shield=True):
        return await process.wait()
    _log.error("process %d has been killed, and doesn't end", process.pid, extra=about("", pid=process.pid))
    return -9
