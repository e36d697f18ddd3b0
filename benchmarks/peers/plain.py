"""Two processes with one plain Trio socket, over which large values go: what a link could reach at best."""

from __future__ import annotations

import sys
import time
from typing import Any

import trio

from benchmarks.commands import Answer, answer_in_trio, options

_READ_BYTES = 1 << 20
_SIZE_BYTES = 8


async def _receive(stream: trio.SocketStream) -> None:
    """Take values, each after its size, whole, as a program has them; answer each with a byte."""
    while size := int.from_bytes(await stream.receive_some(_SIZE_BYTES)):
        value = bytearray()
        while len(value) < size:
            value += await stream.receive_some(_READ_BYTES)
        await stream.send_all(b"\0")


async def serve() -> None:
    """Be the server."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, _receive, [listener])
        await answer_in_trio(port=listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


async def call(port: int) -> None:
    """Be the client."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)

    async def answer(command: Answer) -> Answer:
        data, times, begun = bytes(command["size"]), 0, time.perf_counter()
        while times == 0 or time.perf_counter() - begun < command["seconds"]:
            await stream.send_all(len(data).to_bytes(_SIZE_BYTES))
            await stream.send_all(data)
            await stream.receive_some(1)
            times += 1
        return {"seconds": time.perf_counter() - begun, "times": times}

    await answer_in_trio(answer)
    await stream.aclose()


if __name__ == "__main__":
    given: dict[str, Any] = options()
    if sys.argv[1] == "serve":
        trio.run(serve)
    else:
        trio.run(call, given["port"])
