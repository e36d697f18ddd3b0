"""The load of every peer's client: echo calls, a fixed number of them in flight, for a fixed time.

It needs nothing but the standard library (and Trio for `load_in_trio`). Each answer is compared with what was sent, so
that what is measured is real work.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["PAYLOAD", "Load", "load_in_asyncio", "load_in_trio"]

PAYLOAD = "trionet" * 14 + "!!"
"""100 bytes."""


class Load:
    """Counts calls until the time is over."""

    def __init__(self, seconds: float) -> None:
        self.calls = 0
        self._cpu_s = time.process_time()
        self._begun = time.perf_counter()
        self._end = self._begun + seconds

    async def call(self, call: Callable[[str], Awaitable[str]]) -> None:
        """Call repeatedly, one at a time, until the time is over."""
        clock, end = time.perf_counter, self._end
        while clock() < end:
            if await call(PAYLOAD) != PAYLOAD:
                raise ValueError("the echo is wrong")
            self.calls += 1

    def call_blocking(self, call: Callable[[str], str]) -> int:
        """Call as `call` does, in one of several threads; return the number of calls."""
        calls, clock, end = 0, time.perf_counter, self._end
        while clock() < end:
            if call(PAYLOAD) != PAYLOAD:
                raise ValueError("the echo is wrong")
            calls += 1
        return calls

    def result(self) -> dict[str, Any]:
        """Return the measurement, after the end of all calls."""
        return {
            "calls": self.calls,
            "seconds": time.perf_counter() - self._begun,
            "cpu_s": time.process_time() - self._cpu_s,
        }


async def load_in_trio(call: Callable[[str], Awaitable[str]], command: dict[str, Any]) -> dict[str, Any]:
    """Run the command ``load``: ``in_flight``, ``seconds``."""
    import trio

    load = Load(command["seconds"])
    if command["in_flight"] == 1:
        await load.call(call)
    else:
        async with trio.open_nursery() as nursery:
            for _ in range(command["in_flight"]):
                nursery.start_soon(load.call, call)
    return load.result()


async def load_in_asyncio(call: Callable[[str], Awaitable[str]], command: dict[str, Any]) -> dict[str, Any]:
    """Run the command ``load``, in asyncio."""
    import asyncio

    load = Load(command["seconds"])
    if command["in_flight"] == 1:
        await load.call(call)
    else:
        async with asyncio.TaskGroup() as group:
            for _ in range(command["in_flight"]):
                group.create_task(load.call(call))
    return load.result()
