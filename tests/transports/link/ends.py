"""The ends of links: a peer that speaks frames by hand, and a look inside the links of a node."""

from __future__ import annotations

import struct
from collections import deque
from contextlib import asynccontextmanager
from socket import SO_LINGER, SO_RCVBUF, SOL_SOCKET
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from trio.testing import wait_all_tasks_blocked

from tests.serving import serve_listener
from tests.waiting import DEADLINE_S, wait_until
from trionet import Event, Node, NodeAddress, Remote
from trionet.protocols.link.chunks import Received
from trionet.protocols.link.decoding import FrameDecoder, decode_frame
from trionet.protocols.link.frames import (
    PREFACE,
    Blob,
    CallFrame,
    Chunk,
    Frame,
    Hello,
    Ping,
    Pong,
    encode_frame,
    with_length,
)
from trionet.transports.link.tcp import TCPLink

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trionet.protocols.link.outbox import Outbox
    from trionet.transports.link.tcp import TCPTransport

__all__ = [
    "MIB",
    "Closed",
    "HandPeer",
    "Hold",
    "call",
    "cancel_when",
    "chosen_link",
    "connect",
    "count_writes",
    "events_of",
    "hello",
    "links",
    "listen",
    "outbox",
    "passes_until",
    "serve_raw",
    "socket_names",
    "transport",
]

MIB = 1024 * 1024

F = TypeVar("F")


def hello(
    address: NodeAddress | None = None,
    *,
    max_calls: int = 1024,
    window_bytes: int = 32 * MIB,
    max_message_bytes: int = 16 * MIB,
) -> Hello:
    """Return what a node of the default configuration says at first."""
    return Hello(address, max_calls, window_bytes, max_message_bytes)


class Closed(Exception):
    """The node has closed the connection."""


class HandPeer:
    """The other end of a node's link, which says what the test tells it to.

    Attributes:
        hello: the node's.
        seen: every frame that has come since, pings left out.
        ponging: whether pings are answered while frames are received.
    """

    hello: Hello

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.seen: list[Frame] = []
        self.ponging = True
        self._decoder = FrameDecoder()
        self._frames: deque[Frame] = deque()
        self._parts: dict[int, Received] = {}
        self._whole: deque[tuple[Frame, int]] = deque()

    async def shake_hands(self, own: Hello, *, behind: bytes = b"") -> None:
        """Say hello, and more `behind` it, and take the node's; who begins makes no difference to the bytes."""
        await self.send_bytes(PREFACE + with_length(encode_frame(own)) + behind)
        await self.take_hello()

    async def take_hello(self) -> None:
        """Receive the node's first bytes."""
        got = b""
        while len(got) < len(PREFACE):
            got += await self._read()
        assert got.startswith(PREFACE)
        self._frames.extend(frame for frame, _ in self._decoder.feed(got[len(PREFACE) :]))
        first = await self.receive()
        assert isinstance(first, Hello)
        self.hello = first
        self.seen.clear()

    async def send(self, *frames: Frame) -> None:
        await self.send_bytes(b"".join(with_length(encode_frame(frame)) for frame in frames))

    async def send_bytes(self, data: bytes) -> None:
        with trio.fail_after(DEADLINE_S):
            await self.stream.send_all(data)

    async def receive(self) -> Frame:
        """Return the next frame that is no ping.

        Raises:
            Closed: there is none.
        """
        while True:
            while not self._frames:
                self._frames.extend(frame for frame, _ in self._decoder.feed(await self._read()))
            frame = self._frames.popleft()
            if isinstance(frame, Chunk | Blob):
                self._gather(frame)
            if not isinstance(frame, Ping):
                self.seen.append(frame)
                return frame
            if self.ponging:
                await self.send(Pong(frame.token))

    async def receive_a(self, kind: type[F]) -> F:
        """Return the next frame of that kind; the others are in `seen`."""
        while not isinstance(frame := await self.receive(), kind):
            pass
        return frame

    def _gather(self, part: Chunk | Blob) -> None:
        received = self._parts.setdefault(part.transfer, Received(part.direction))
        received.size += len(part.data)
        if isinstance(part, Blob):
            received.add_to_blob(part)
            return
        received.add(part)
        if part.last:
            del self._parts[part.transfer]
            self._whole.append((decode_frame(received.encoded, blobs=received.blobs), received.size))

    async def receive_whole(self) -> tuple[Frame, int]:
        """Return the next frame that is complete, and how many chunked bytes it is, which count against the window."""
        while not self._whole:
            frame = await self.receive()
            if not isinstance(frame, Chunk | Blob):
                return frame, 0
        return self._whole.popleft()

    async def _read(self) -> bytes:
        with trio.fail_after(DEADLINE_S):
            try:
                data = bytes(await self.stream.receive_some(256 * 1024))
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise Closed from exc
        if not data:
            raise Closed
        return data

    async def wait_closed(self) -> None:
        """Take what comes until the node closes the connection."""
        try:
            while True:
                await self.receive()
        except Closed:
            pass

    def reset(self) -> None:
        """Close the connection as a process that was killed does: at once, and with a reset."""
        self.stream.socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    @staticmethod
    def call(
        number: int,
        method: str,
        *args: Any,
        timeout_s: float | None = None,
        credit: int | None = None,
        depth: int = 0,
        service: str = "probe",
    ) -> CallFrame:
        """Return a call of the service ``probe``, or another."""
        return CallFrame(number, "local", service, method, list(args), None, f"hand-{number}", timeout_s, credit, depth)


@asynccontextmanager
async def connect(
    node: Node | NodeAddress, own: Hello | None = None, *, receive_buffer_bytes: int | None = None
) -> AsyncGenerator[HandPeer]:
    """Make a link to `node`."""
    sock = trio.socket.socket()
    if receive_buffer_bytes is not None:
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, receive_buffer_bytes)
    address = node.address if isinstance(node, Node) else node
    await sock.connect((address.ip, address.port))
    async with trio.SocketStream(sock) as stream:
        peer = HandPeer(stream)
        await peer.shake_hands(own or hello())
        yield peer


async def listen(
    nursery: trio.Nursery,
    behave: Callable[[HandPeer], Awaitable[object]],
    own: Hello | None = None,
    *,
    receive_buffer_bytes: int | None = None,
) -> NodeAddress:
    """Have `behave` run for each link that a node makes to the address that is returned."""

    async def serve(stream: trio.SocketStream) -> None:
        peer = HandPeer(stream)
        await peer.shake_hands(own or hello())
        await behave(peer)

    return await serve_raw(nursery, serve, receive_buffer_bytes=receive_buffer_bytes)


async def serve_raw(
    nursery: trio.Nursery,
    serve: Callable[[trio.SocketStream], Awaitable[object]],
    *,
    receive_buffer_bytes: int | None = None,
) -> NodeAddress:
    """Have `serve` run for each connection that is made to the address that is returned, and close it then."""

    async def serve_until_closed(stream: trio.SocketStream) -> None:
        try:
            await serve(stream)
        except* Closed:
            pass

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    if receive_buffer_bytes is not None:
        listener.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, receive_buffer_bytes)
    nursery.start_soon(serve_listener, serve_until_closed, listener)
    return NodeAddress(*listener.socket.getsockname())


class Hold:
    """A handler that stays until it is let go, and tells what becomes of it.

    Attributes:
        started, running, finished, cancelled: how many calls have begun, are there now, have returned, were cancelled.
        most: how many were there at once.
        release: lets all go.
    """

    def __init__(self, *, stubborn: bool = False) -> None:
        self.started = self.running = self.finished = self.cancelled = self.most = 0
        self.release = trio.Event()
        self._stubborn = stubborn

    async def handle(self, *args: Any) -> str:
        self.started += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            with trio.CancelScope(shield=self._stubborn):
                await self.release.wait()
            self.finished += 1
        except trio.Cancelled:
            # What a handler does in the end takes some passes, too.
            with trio.CancelScope(shield=True):
                for _ in range(5):
                    await trio.lowlevel.checkpoint()
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return "released"

    async def wait_started(self, count: int = 1) -> None:
        await wait_until(lambda: self.started >= count)


async def call(node: Node, to: Node | NodeAddress, method: str, *args: Any, **options: Any) -> Any:
    """Call a method of the service ``probe`` of another node."""
    address = to.address if isinstance(to, Node) else to
    return await node.local.comm.send(list(args), Remote(node=address, service="probe", method=method), **options)


@asynccontextmanager
async def events_of(node: Node) -> AsyncGenerator[list[Event]]:
    """Give a list that the node's events of the block come to be in."""
    seen = list[Event]()

    async def collect() -> None:
        async for event in events:
            seen.append(event)

    async with trio.open_nursery() as nursery:
        events = node.events()
        nursery.start_soon(collect)
        yield seen
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def cancel_when(predicate: Callable[[], bool], call: Callable[[], Awaitable[object]]) -> None:
    """Make a call, and cancel it once `predicate()` holds; return when its scope has exited."""

    async def run() -> None:
        with scope:
            await call()

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(run)
        await passes_until(predicate)
        scope.cancel()
    assert scope.cancelled_caught


def transport(node: Node) -> TCPTransport:
    found: TCPTransport = node._endpoint.links  # type: ignore[assignment]  # noqa: SLF001  a look inside
    return found


def links(node: Node) -> list[TCPLink]:
    """Return the links that the node has open."""
    return [link for link in transport(node)._open if isinstance(link, TCPLink)]  # noqa: SLF001  a look inside


def outbox(link: TCPLink) -> Outbox:
    return link.core.outbox


def chosen_link(node: Node, peer: NodeAddress) -> TCPLink:
    """Return the link that the node's calls to `peer` go out on."""
    link = transport(node)._links[peer]  # noqa: SLF001  a look inside
    assert isinstance(link, TCPLink)
    return link


class _CountingSocket:
    """A socket that notes how many bytes each write has written."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.writes: list[int] = []

    def send(self, data: bytes) -> int:
        sent = self._sock.send(data)
        self.writes.append(sent)
        return sent

    def sendmsg(self, buffers: list[memoryview]) -> int:
        sent = self._sock.sendmsg(buffers)
        self.writes.append(sent)
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def count_writes(link: TCPLink) -> list[int]:
    """Return a list that the sizes of the link's writes come to be in."""
    sock = _CountingSocket(link._sock)  # noqa: SLF001  a look inside
    link._sock = sock  # type: ignore[assignment]  # noqa: SLF001
    return sock.writes


def socket_names(link: TCPLink) -> tuple[Any, Any]:
    """Return the addresses of the connection's ends, this one's first."""
    sock = link._sock  # noqa: SLF001  a look inside
    return sock.getsockname(), sock.getpeername()


async def passes_until(predicate: Callable[[], bool]) -> None:
    """Return in the scheduler pass in which `predicate()` comes to hold; `wait_until` only looks now and then."""
    with trio.fail_after(DEADLINE_S):
        while not predicate():
            await trio.lowlevel.checkpoint()
