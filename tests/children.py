"""Child processes of tests: nothing of them outlives the test, however that ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["child", "kill_children", "reset_signals"]


@contextmanager
def child(command: Sequence[str | Path], **options: Any) -> Generator[subprocess.Popen[bytes]]:
    """Run a command for as long as the block lasts, and then kill it and what it has started in its process group."""
    process = subprocess.Popen(command, process_group=0, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # what could not be written
                    stream.close()


def reset_signals() -> None:
    """Undo what a shell in the background or ``nohup`` has ignored for us: every child would inherit it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # ignored as before, but not by the programs that we start
    for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD))


def kill_children() -> None:
    """Kill the children of this process that are still there."""
    if not sys.platform.startswith("linux"):
        return
    for listing in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for pid in listing.read_text().split():
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
