"""tractor: the server is an actor, the client has a portal to it, each call is a remote function.

tractor starts its actors itself, so the server is a child of the client's process. Both run in an
environment of their own.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

import trio

from benchmarks.commands import answer_in_trio
from benchmarks.load import load_in_trio

tractor: Any = importlib.import_module("tractor")


async def plain(value: str) -> str:
    """Return `value`."""
    return value


async def cpu_s() -> float:
    """Return the processor time of the actor's process."""
    return time.process_time()


async def call() -> None:
    """Be the client, and start the server."""
    module = importlib.import_module("benchmarks.peers.actors")  # this one, by the name that the actor imports it by
    async with tractor.open_nursery() as nursery:
        portal = await nursery.start_actor("echo", enable_modules=[module.__name__])

        async def echo(value: str) -> str:
            answer: str = await portal.run(module.plain, value=value)
            return answer

        async def load(command: dict[str, Any]) -> dict[str, Any]:
            before = await portal.run(module.cpu_s)
            result = await load_in_trio(echo, command)
            return {**result, "server_cpu_s": await portal.run(module.cpu_s) - before}

        await answer_in_trio(load)
        await portal.cancel_actor()


if __name__ == "__main__":
    trio.run(call)
