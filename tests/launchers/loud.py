"""A service that prints in every way there is, and leaves things behind that hold up the end of a process."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from pathlib import Path

import trio

from trionet import rpc

__all__ = ["LOUD", "Loud"]

LOUD = {"loud": "tests.launchers.loud:Loud"}
"""What the nodes of these tests start with."""

_LONG_S = 600


class Loud:
    """Prints, and holds up."""

    @rpc
    def say(self, text: str) -> None:
        print(text)  # noqa: T201
        print(f"{text},", "amid", end=" ", flush=True)  # noqa: T201
        print("a line", flush=True)  # noqa: T201
        print(f"{text} on stderr", file=sys.stderr)  # noqa: T201
        sys.stdout.buffer.write(f"{text} as bytes\n".encode())
        sys.stdout.flush()
        os.system(f"echo {text} by a program")

    @rpc
    def start_thread(self) -> None:
        """Start a thread that Python waits for at its end."""
        threading.Thread(target=time.sleep, args=(_LONG_S,), name="a thread of loud's").start()

    @rpc
    async def work_in_thread(self, file: str, seconds: float = _LONG_S) -> None:
        """Work in a thread that can't be cancelled; the file tells when it has begun, and is gone when it has ended."""

        def work() -> None:
            Path(file).touch()
            time.sleep(seconds)
            Path(file).unlink()

        await trio.to_thread.run_sync(work)

    @rpc
    def hang_at_exit(self) -> None:
        """Have the end of Python hang."""
        atexit.register(time.sleep, _LONG_S)
