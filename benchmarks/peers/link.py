"""The peer that it is all about: two trionet nodes, over the link or over HTTP."""

from __future__ import annotations

import sys
from typing import Any

import trio

import trionet
from benchmarks.commands import answer_in_trio, options
from benchmarks.load import load_in_trio


class Echo:
    """What the server serves."""

    @trionet.rpc
    def plain(self, value: str) -> str:
        """Return `value`."""
        return value

    @trionet.rpc
    async def task(self, value: str) -> str:
        """Return `value`; being a coroutine function, it runs in a task of its own."""
        return value


async def serve(transport: Any) -> None:
    """Be the server."""
    async with trionet.open_node(trionet.NodeConfig(transport=transport)) as node:
        await node.local.routes.put(Echo(), "echo")
        await answer_in_trio(ip=node.address.ip, port=node.address.port)


async def call(transport: Any, method: str, ip: str, port: int) -> None:
    """Be the client; with the method ``typed``, that of calls by method."""
    server = trionet.NodeAddress(ip, port)
    remote = trionet.Remote(node=server, service="echo", method=method)
    async with trionet.open_node(trionet.NodeConfig(transport=transport)) as node:
        send = node.local.comm.send

        async def echo(value: str) -> str:
            answer: str = await send([value], remote)
            return answer

        async def echo_by_method(value: str) -> str:
            return await node.call(server, Echo.plain, value)

        chosen = echo_by_method if method == "typed" else echo
        await answer_in_trio(lambda command: load_in_trio(chosen, command))


if __name__ == "__main__":
    given = options()
    if sys.argv[1] == "serve":
        trio.run(serve, given["transport"])
    else:
        trio.run(call, given["transport"], given["method"], given["ip"], given["port"])
