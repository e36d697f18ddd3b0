"""asyncio streams: MessagePack behind a length, calls multiplexed by a number; the server answers as it reads."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import Any

import msgspec

from benchmarks.commands import answer_in_asyncio, options
from benchmarks.load import load_in_asyncio

_LENGTH_BYTES = 4
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def _with_length(encoded: bytes) -> bytes:
    return len(encoded).to_bytes(_LENGTH_BYTES, "big") + encoded


async def _read(reader: asyncio.StreamReader) -> list[Any]:
    size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    message: list[Any] = _decode(await reader.readexactly(size))
    return message


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            number, value = await _read(reader)
            writer.write(_with_length(_encode([number, value])))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionResetError):
        writer.close()


async def serve() -> None:
    """Be the server."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    ip, port = server.sockets[0].getsockname()
    await answer_in_asyncio(ip=ip, port=port)
    server.close()


async def call(ip: str, port: int) -> None:
    """Be the client."""
    reader, writer = await asyncio.open_connection(ip, port)
    waiting: dict[int, asyncio.Future[str]] = {}
    numbers = itertools.count(1)

    async def wake() -> None:
        while True:
            number, value = await _read(reader)
            waiting.pop(number).set_result(value)

    async def echo(value: str) -> str:
        number = next(numbers)
        future = waiting[number] = asyncio.get_running_loop().create_future()
        writer.write(_with_length(_encode([number, value])))
        answer: str = await future
        return answer

    waking = asyncio.create_task(wake())
    await answer_in_asyncio(lambda command: load_in_asyncio(echo, command))
    waking.cancel()
    writer.close()


if __name__ == "__main__":
    given = options()
    asyncio.run(serve() if sys.argv[1] == "serve" else call(given["ip"], given["port"]))
