"""grpcio's asyncio interface, one channel, bytes for messages; it runs in an environment of its own."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any

from benchmarks.commands import answer_in_asyncio, options
from benchmarks.load import load_in_asyncio

grpc: Any = importlib.import_module("grpc")
importlib.import_module("grpc.aio")

_SERVICE = "trionet.Echo"
_METHOD = "Plain"


async def _plain(request: bytes, _: Any) -> bytes:
    return request


async def serve() -> None:
    """Be the server."""
    server = grpc.aio.server()
    handlers = {_METHOD: grpc.unary_unary_rpc_method_handler(_plain)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await answer_in_asyncio(ip="127.0.0.1", port=port)
    await server.stop(None)


async def call(ip: str, port: int) -> None:
    """Be the client."""
    async with grpc.aio.insecure_channel(f"{ip}:{port}") as channel:
        method = channel.unary_unary(f"/{_SERVICE}/{_METHOD}")

        async def echo(value: str) -> str:
            answer: bytes = await method(value.encode())
            return answer.decode()

        await answer_in_asyncio(lambda command: load_in_asyncio(echo, command))


if __name__ == "__main__":
    given = options()
    asyncio.run(serve() if sys.argv[1] == "serve" else call(given["ip"], given["port"]))
