"""One trionet node, and a process with many that call it: a link each.

Only the public interface is used: the many are whole nodes, each with its own port.
"""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any

import trio

import trionet
from benchmarks.commands import Answer, answer_in_trio, options
from benchmarks.load import PAYLOAD
from benchmarks.memory import memory, open_sockets
from benchmarks.peers.link import Echo


async def _observe(_: Answer) -> Answer:
    return {**memory(), "sockets": open_sockets()}


async def serve() -> None:
    """Be the one."""
    async with trionet.open_node(trionet.NodeConfig(idle_timeout_s=3600)) as node:
        await node.local.routes.put(Echo(), "echo")
        await answer_in_trio(_observe, ip=node.address.ip, port=node.address.port)


class Many:
    """The many, and their calls."""

    def __init__(self, nursery: trio.Nursery, remote: trionet.Remote) -> None:
        self._nursery = nursery
        self._remote = remote
        self._nodes: list[trionet.Node] = []
        self._linked: list[trionet.Node] = []

    async def answer(self, command: Answer) -> Answer:
        """Do one of the commands."""
        match command["do"]:
            case "start":
                await self._start(command["count"])
                return {}
            case "link":
                await self._link(command["count"])
                return {}
            case "load":
                return await self._load(command["in_flight"], command["seconds"], command["links"])
            case _:
                return await _observe(command)

    async def _start(self, count: int) -> None:
        config = trionet.NodeConfig(idle_timeout_s=3600)
        for _ in range(count):
            self._nodes.append(await self._nursery.start(trionet.serve_node, config))

    async def _call(self, node: trionet.Node) -> None:
        if await node.local.comm.send([PAYLOAD], self._remote) != PAYLOAD:
            raise ValueError("the echo is wrong")

    async def _link(self, count: int) -> None:
        """Have `count` more nodes make a call, and so a link."""
        fresh = self._nodes[len(self._linked) :][:count]
        for node in fresh:
            await self._call(node)
        self._linked += fresh

    async def _load(self, in_flight: int, seconds: float, links: int) -> Answer:
        """Make calls over the first `links` links, one after the other; return how long each took."""
        took: list[float] = []
        turn = itertools.cycle(self._linked[:links])
        clock = time.perf_counter
        begun = clock()
        end = begun + seconds

        async def call() -> None:
            while (sent := clock()) < end:
                await self._call(next(turn))
                took.append(clock() - sent)

        async with trio.open_nursery() as nursery:
            for _ in range(in_flight):
                nursery.start_soon(call)
        return {"seconds": clock() - begun, "took_s": took}


async def call(ip: str, port: int) -> None:
    """Be the many."""
    remote = trionet.Remote(node=trionet.NodeAddress(ip, port), service="echo", method="plain")
    async with trio.open_nursery() as nursery:
        await answer_in_trio(Many(nursery, remote).answer)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    given: dict[str, Any] = options()
    if sys.argv[1] == "serve":
        trio.run(serve)
    else:
        trio.run(call, given["ip"], given["port"])
