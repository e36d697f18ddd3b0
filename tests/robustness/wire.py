"""A node in a process of its own, and HTTP spoken to it by hand."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h2.config
import h2.connection
import h2.settings
import msgspec
import pytest
import trio

from tests.waiting import DEADLINE_S
from trionet import NodeConfig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

__all__ = [
    "CALL",
    "HTTP_2_PREFACE",
    "MEGABYTE",
    "UPGRADE",
    "Response",
    "Target",
    "Wire",
    "check_refused",
    "http_2_request",
    "open_target",
    "request_bytes",
    "ways_to_go",
]

ROOT = Path(__file__).parents[2]

TROUBLE = {"trouble": "tests.robustness.trouble:Trouble"}


MEGABYTE = 1024 * 1024

CALL = "/local/trouble/echo"

UPGRADE = (
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

HTTP_2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

ways_to_go = pytest.mark.parametrize("how", ["close", "reset"])


class Response(NamedTuple):
    """An HTTP response; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


def request_bytes(
    path: str, body: bytes | str = b"", *, method: str = "PUT", headers: dict[str, str] | None = None
) -> bytes:
    """Return a whole request; `headers` go before the defaults."""
    data = body.encode() if isinstance(body, str) else body
    lines = {"Host": "127.0.0.1", "Content-Length": str(len(data))} | (headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data


def http_2_request(
    path: str, body: bytes, *, end_stream: bool, window: int | None = None, websocket_version: str | None = None
) -> bytes:
    """Return all that a client of HTTP/2 sends for one request.

    Args:
        path, body: what is called, with what.
        end_stream: whether the body is whole.
        window: how much of the answer it permits, in bytes; None: as much as is usual.
        websocket_version: asks for a WebSocket of that version instead, if given.
    """
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    if window is not None:
        client.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
    client.initiate_connection()
    headers = [(":method", "PUT"), (":path", path), (":scheme", "http"), (":authority", "127.0.0.1")]
    if websocket_version is not None:
        headers[0] = (":method", "CONNECT")
        headers += [(":protocol", "websocket"), ("sec-websocket-version", websocket_version)]
    client.send_headers(1, headers)
    client.send_data(1, body, end_stream=end_stream)
    return client.data_to_send()


class Wire:
    """One connection, on which anything can be written."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def response(self) -> Response:
        """Read one response; an interim one (100) is skipped."""
        while True:
            head = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split()[1])
            pairs = [line.partition(":") for line in head[1:] if line]
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            if status >= 200:
                break
        if headers.get("transfer-encoding") == "chunked":
            return Response(status, headers, await self._chunks())
        return Response(status, headers, await self._exactly(int(headers["content-length"])))

    async def exchange(self, data: bytes) -> Response:
        await self.send(data)
        return await self.response()

    async def has_more(self) -> bool:
        """Wait for the peer: whether it sends something, or else closes."""
        return bool(self._buffer) or await self._receive()

    async def received(self) -> bytes:
        """Wait for more, and return all that has come since what was taken before."""
        await self._receive()
        return bytes(self._buffer)

    def discard(self) -> None:
        """Forget what has been received."""
        self._buffer.clear()

    async def rest(self) -> bytes:
        """Read until the peer closes; a connection that is reset ends, too."""
        while await self._receive():
            pass
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest

    def vanish(self, how: str) -> None:
        """Go away: ``close``, as the end of a process does, or ``reset``, as a machine that has forgotten."""
        if how == "reset":
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    async def _receive(self) -> bool:
        try:
            data = await self.stream.receive_some(64 * 1024)
        except trio.BrokenResourceError:
            return False
        self._buffer += data
        return bool(data)

    async def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            assert await self._receive(), f"the connection was closed after {bytes(self._buffer[:200])!r}"
        return await self._exactly(self._buffer.index(end) + len(end))

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            assert await self._receive(), f"the connection was closed after {bytes(self._buffer[:200])!r}"
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._until(b"\r\n"), 16):
            body += await self._exactly(size)
            await self._exactly(2)
        await self._exactly(2)
        return body


class Target:
    """A node process that is going to be mistreated."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
        self.process = process
        self.port = port
        self._errors = errors

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @asynccontextmanager
    async def connect(self, *, receive_buffer: int | None = None) -> AsyncGenerator[Wire]:
        """Open a connection.

        Args:
            receive_buffer: what the kernel keeps for this side, in bytes; small to be a client that doesn't read.
        """
        sock = trio.socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
        try:
            await sock.connect(("127.0.0.1", self.port))
            yield Wire(trio.SocketStream(sock))
        finally:
            sock.close()

    async def ask(
        self, path: str, body: bytes | str = b"", *, method: str = "PUT", headers: dict[str, str] | None = None
    ) -> Response:
        """Send one request on a connection of its own, and return the response."""
        headers = {"Host": self.host} | (headers or {})
        async with self.connect() as wire:
            return await wire.exchange(request_bytes(path, body, method=method, headers=headers))

    async def attack(self, data: bytes) -> bytes:
        """Write `data` on a connection of its own, and return all that comes back until the node closes it."""
        async with self.connect() as wire, trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                with contextlib.suppress(trio.BrokenResourceError):  # it was cut off
                    await wire.send(data)
                    await wire.stream.send_eof()

            return await wire.rest()

    async def answer_to(self, data: bytes) -> Response | None:
        """Write `data` on a connection of its own, and return the response; None if the node closes without one."""
        async with self.connect() as wire:
            await wire.send(data)
            return await wire.response() if await wire.has_more() else None

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the trouble service; return its value."""
        response = await self.ask(f"/local/trouble/{method}", json.dumps(args))
        assert response.status == 200, response
        return response.json()["value"]

    async def check(self) -> None:
        """Fail unless it is the same process, and serves."""
        with trio.fail_after(DEADLINE_S):
            assert self.process.poll() is None, self.log()
            response = await self.ask("/healthz", method="GET")
            assert (response.status, response.json()) == (200, {"status": "ok"})
            assert await self.call("pid") == self.process.pid
            assert await self.call("echo", "still", {"here": 1}) == [["still", {"here": 1}], {}]

    async def wait_running(self, running: int) -> None:
        """Wait until so many handlers of `wait` and `flow` are running."""
        with trio.fail_after(DEADLINE_S):
            while (await self.call("count"))[1] != running:
                pass

    async def open_files(self) -> int:
        """Return how many files it has open; only on Linux."""
        return len(await trio.to_thread.run_sync(os.listdir, f"/proc/{self.process.pid}/fd"))

    def log(self) -> str:
        return self._errors.read_text(encoding="utf-8", errors="replace")

    async def end(self) -> float:
        """Send SIGTERM, check that it ends cleanly, and return how long it took, in seconds."""
        before = trio.current_time()
        self.process.send_signal(signal.SIGTERM)
        with trio.fail_after(DEADLINE_S):
            await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
        self.check_end()
        return trio.current_time() - before

    def check_end(self) -> None:
        """Fail unless it has ended cleanly."""
        assert self.process.wait(DEADLINE_S) == 0, self.log()
        for record in self.log().split("\n20"):  # each begins with its time
            # Hypercorn raises, and so does the app, on what some WebSocket clients do: it ends their connection alone.
            is_contained = "a connection was closed because serving it failed" in record or "Websocket" in record
            assert is_contained or "Traceback" not in record, record


@contextmanager
def open_target(config: NodeConfig | None = None) -> Generator[Target]:
    """Run a node with the trouble service; it is killed in the end, if it is still there."""
    settings = msgspec.structs.replace(config or NodeConfig(), services=TROUBLE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIONET_")}
    with tempfile.TemporaryDirectory() as directory:
        errors = Path(directory, "stderr")
        with (
            errors.open("wb") as stderr,
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "trionet.cli.node",
                    "--json",
                    "--config",
                    msgspec.json.encode(settings).decode(),
                ],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line, errors.read_text(encoding="utf-8")
                yield Target(process, json.loads(line)["port"], errors)
            finally:
                process.kill()


def check_refused(response: Response, status: int) -> Any:
    """Check that it is a failure with that status and the body that every failure has; return what the body says."""
    assert response.status == status, response
    error = response.json()["error"]
    assert isinstance(error["code"], int)
    assert isinstance(error["name"], str)
    assert isinstance(error["text"], str)
    assert error["text"]
    return error
