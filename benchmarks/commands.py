"""The worker's side: commands on standard input, answers on standard output, as lines of JSON.

It needs nothing but the standard library, because workers also run in the environments of other libraries.

Invariants: a worker answers each command with one line; it ends when its standard input does, so that none outlives the
runner, however that ends. What libraries print goes to standard error.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Answer", "Line", "answer_in_asyncio", "answer_in_threads", "answer_in_trio", "options"]

Answer = dict[str, Any]


class Line:
    """Standard input and output, claimed for the commands."""

    def __init__(self) -> None:
        self._in, self._out = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._pending = b""

    def hear(self) -> Answer | None:
        """Wait for the next command; return None at the end of the input."""
        while b"\n" not in self._pending:
            data = os.read(self._in, 65536)
            if not data:
                return None
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        command: Answer = json.loads(line)
        return command

    def say(self, answer: Answer) -> None:
        """Write one answer."""
        data = json.dumps(answer).encode() + b"\n"
        while data:
            data = data[os.write(self._out, data) :]


def options() -> Answer:
    """Return the settings from the runner: the last word of the command line, in JSON."""
    found: Answer = json.loads(sys.argv[-1])
    return found


def _failure(exc: Exception) -> Answer:
    traceback.print_exc()
    return {"error": f"{type(exc).__name__}: {exc}"}


def _cpu() -> Answer:
    return {"cpu_s": time.process_time()}


async def answer_in_trio(answer: Callable[[Answer], Awaitable[Answer]] | None = None, **ready: Any) -> None:
    """Send `ready`, then answer commands until the end of the input; every worker knows ``cpu``."""
    import trio

    run_sync: Any = trio.to_thread.run_sync
    # Its name until Trio 0.23; tractor needs an older one.
    keyword = "abandon_on_cancel" if "abandon_on_cancel" in inspect.signature(run_sync).parameters else "cancellable"
    line = Line()
    line.say(ready)
    while (command := await run_sync(line.hear, **{keyword: True})) is not None:
        try:
            line.say(_cpu() if command["do"] == "cpu" or answer is None else await answer(command))
        except Exception as exc:
            line.say(_failure(exc))


async def answer_in_asyncio(answer: Callable[[Answer], Awaitable[Answer]] | None = None, **ready: Any) -> None:
    """Answer commands as `answer_in_trio`, in asyncio."""
    import asyncio

    line = Line()
    line.say(ready)
    while (command := await asyncio.to_thread(line.hear)) is not None:
        try:
            line.say(_cpu() if command["do"] == "cpu" or answer is None else await answer(command))
        except Exception as exc:
            line.say(_failure(exc))


def answer_in_threads(answer: Callable[[Answer], Answer] | None = None, **ready: Any) -> None:
    """Answer commands as `answer_in_trio`, blocking."""
    line = Line()
    line.say(ready)
    while (command := line.hear()) is not None:
        try:
            line.say(_cpu() if command["do"] == "cpu" or answer is None else answer(command))
        except Exception as exc:
            line.say(_failure(exc))
