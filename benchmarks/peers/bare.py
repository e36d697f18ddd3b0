"""The practical limit: a Trio socket, trionet's own frames, and nothing else.

Calls are multiplexed by their number; the socket is read until it would block; all frames that are ready go out in one
send. There is no router, no check of names or types, no deadline, no flow control, and on the server no task per call.
"""

from __future__ import annotations

import secrets
import socket
import sys
from typing import Any

import outcome
import trio

from benchmarks.commands import answer_in_trio, options
from benchmarks.load import load_in_trio
from trionet.protocols.link.decoding import FrameDecoder
from trionet.protocols.link.frames import CallFrame, Reply, encode_frame, with_length

_READ_BYTES = 256 * 1024


class Wire:
    """A connected socket that sends what has gathered in one scheduler pass in one go."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._decoder = FrameDecoder()
        self._waiting: list[bytes] = []
        self._writer: trio.lowlevel.Task | None = None

    async def read(self) -> list[Any] | None:
        """Wait for frames; None at the end."""
        while True:
            try:
                data = self._sock.recv(_READ_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
                continue
            return [frame for frame, _ in self._decoder.feed(data)] if data else None

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        while data:
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)

    async def put(self, encoded: bytes, *, is_alone: bool) -> None:
        """Have a frame sent: at once if no other will come, else by `write`, with what else is put until then."""
        if is_alone and self._writer is not None:
            await self.send(with_length(encoded))
            return
        self._waiting.append(with_length(encoded))
        if self._writer is not None:
            trio.lowlevel.reschedule(self._writer)
            self._writer = None

    async def write(self) -> None:
        """Send what has been put."""
        while True:
            if not self._waiting:
                self._writer = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._forget)
            data = b"".join(self._waiting)
            self._waiting.clear()
            await self.send(data)

    def _forget(self, _: object) -> trio.lowlevel.Abort:
        self._writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    def close(self) -> None:
        """Close the socket."""
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()


async def answer(wire: Wire) -> None:
    """Echo what comes, all that came together in one send."""
    while (frames := await wire.read()) is not None:
        await wire.send(b"".join([with_length(encode_frame(Reply(call.msg_id, call.args[0]))) for call in frames]))
    wire.close()


async def serve() -> None:
    """Be the server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        async def accept(nursery: trio.Nursery) -> None:
            while True:
                await trio.lowlevel.wait_readable(listener)
                sock, _ = listener.accept()
                nursery.start_soon(answer, Wire(sock))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, nursery)
            ip, port = listener.getsockname()
            await answer_in_trio(ip=ip, port=port)
            nursery.cancel_scope.cancel()


class Calls:
    """The client's calls in progress: a task waits for each."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._waiting: dict[int, trio.lowlevel.Task] = {}
        self._prefix = secrets.token_hex(8)
        self._number = 0
        self._came = 0

    async def echo(self, value: str) -> str:
        """Make one call."""
        self._number = number = self._number + 1
        is_alone = not self._waiting and self._came < 2
        self._waiting[number] = trio.lowlevel.current_task()
        call = CallFrame(number, "local", "echo", "plain", [value], None, f"{self._prefix}-{number:x}", None)
        await self._wire.put(encode_frame(call), is_alone=is_alone)
        answer: str = await trio.lowlevel.wait_task_rescheduled(_give_up)
        return answer

    async def read(self) -> None:
        """Wake who waits for what comes."""
        while (frames := await self._wire.read()) is not None:
            self._came = len(frames)
            for reply in frames:
                trio.lowlevel.reschedule(self._waiting.pop(reply.in_reply_to), outcome.Value(reply.value))


def _give_up(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


async def call(ip: str, port: int) -> None:
    """Be the client."""
    wire = Wire(socket.create_connection((ip, port)))
    calls = Calls(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.write)
        nursery.start_soon(calls.read)
        await answer_in_trio(lambda command: load_in_trio(calls.echo, command))
        nursery.cancel_scope.cancel()
    wire.close()


if __name__ == "__main__":
    given = options()
    if sys.argv[1] == "serve":
        trio.run(serve)
    else:
        trio.run(call, given["ip"], given["port"])
