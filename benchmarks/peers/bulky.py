"""Two trionet nodes with large values and small calls on one link."""

from __future__ import annotations

import sys
import time
from typing import Any

import trio

import trionet
from benchmarks.commands import Answer, answer_in_trio, options
from benchmarks.load import PAYLOAD

_MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_VALUES_AT_ONCE = 4


class Bulk:
    """What the server serves."""

    @trionet.rpc
    def plain(self, value: str) -> str:
        """Return `value`."""
        return value

    @trionet.rpc
    def sink(self, data: bytes) -> int:
        """Take `data`; return its size."""
        return len(data)

    @trionet.rpc
    def source(self, size: int) -> bytes:
        """Return so many bytes."""
        return bytes(size)


def _config() -> trionet.NodeConfig:
    return trionet.NodeConfig(max_message_bytes=_MAX_MESSAGE_BYTES)


async def serve() -> None:
    """Be the server."""
    async with trionet.open_node(_config()) as node:
        await node.local.routes.put(Bulk(), "bulk")
        await answer_in_trio(ip=node.address.ip, port=node.address.port)


class Client:
    """The client's small calls and large values."""

    def __init__(self, node: trionet.Node, server: trionet.NodeAddress) -> None:
        self._send = node.local.comm.send
        self._remotes = {
            method: trionet.Remote(node=server, service="bulk", method=method) for method in ("plain", "sink", "source")
        }
        self._took_s: list[float] = []

    async def answer(self, command: Answer) -> Answer:
        """Do one of the commands, for some seconds at least; return how long each small call took meanwhile."""
        self._took_s = []
        begun = time.perf_counter()
        times = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._call_on)
            if command["do"] == "idle":
                await trio.sleep(command["seconds"])
            while command["do"] == "move" and time.perf_counter() - begun < command["seconds"]:
                await self._move(command["direction"], command["size"], command["count"])
                times += 1
            seconds = time.perf_counter() - begun
            nursery.cancel_scope.cancel()
        return {"seconds": seconds, "times": times, "took_s": self._took_s}

    async def _call_on(self) -> None:
        while True:
            sent = time.perf_counter()
            if await self._send([PAYLOAD], self._remotes["plain"]) != PAYLOAD:
                raise ValueError("the echo is wrong")
            self._took_s.append(time.perf_counter() - sent)

    async def _move(self, direction: str, size: int, count: int) -> None:
        """Move `count` values of `size` bytes, a few at a time."""
        limit = trio.CapacityLimiter(_VALUES_AT_ONCE)

        async def move() -> None:
            async with limit:
                if direction == "to the server":
                    moved = await self._send([bytes(size)], self._remotes["sink"])
                else:
                    moved = len(await self._send([size], self._remotes["source"]))
                if moved != size:
                    raise ValueError(f"of {size} bytes {moved} have arrived")

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(move)


async def call(ip: str, port: int) -> None:
    """Be the client."""
    async with trionet.open_node(_config()) as node:
        await answer_in_trio(Client(node, trionet.NodeAddress(ip, port)).answer)


if __name__ == "__main__":
    given: dict[str, Any] = options()
    if sys.argv[1] == "serve":
        trio.run(serve)
    else:
        trio.run(call, given["ip"], given["port"])
