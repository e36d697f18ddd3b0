"""The first words on a link: preface and hello, in both directions.

A peer of another major version is told so in a `Bye` behind our preface, which every version can read as far as that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trionet.transports.allowance import within

from .frames import MAJOR_VERSION, PREFACE, Bye, FrameDecoder, FrameError, Hello, encode_frame, with_length
from .sockets import receive, send_all

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

__all__ = ["Handshake", "HandshakeError", "PeerSpeaksHTTP", "accept", "greeting", "initiate"]

_READ_BYTES: Final = 4096


class HandshakeError(Exception):
    """The peer is no link's end, or one that can't be talked with."""


class PeerSpeaksHTTP(Exception):
    """The peer answered in HTTP: it doesn't know links."""


def greeting(own: Hello) -> bytes:
    """Return the first words of either side."""
    return PREFACE + with_length(encode_frame(own))


class Handshake(msgspec.Struct, frozen=True):
    """How a link began.

    Attributes:
        peer: what the other side said of itself.
        rest: what came behind that.
        is_initiator: whether this side made the connection.
    """

    peer: Hello
    rest: bytes
    is_initiator: bool


async def initiate(sock: socket.socket, own: Hello) -> Handshake:
    """Begin a link on a new connection.

    Raises:
        HandshakeError: the peer refused, or isn't a node; the text says which.
        OSError: the connection broke.
        PeerSpeaksHTTP: the peer is an HTTP server.
    """
    await send_all(sock, greeting(own))
    return Handshake(*await _read_hello(lambda: receive(sock, _READ_BYTES), b""), is_initiator=True)


async def accept(stream: trio.SocketStream, first: bytes, seconds: float) -> Handshake:
    """Take the begin of a link, of which `first` has been read.

    It is to be answered with our `greeting`.

    Args:
        stream: the connection.
        first: what has come on it.
        seconds: how long the peer may take.

    Raises:
        HandshakeError: the peer isn't a node that can be talked with; it has been told.
        trio.TooSlowError: it took longer.
    """
    got = bytearray(first)

    async def read() -> bytes:
        more = bytes(await stream.receive_some(_READ_BYTES))
        got.extend(more)
        return more

    try:
        hello, rest = await within(seconds, lambda: _read_hello(read, bytes(got)))
        return Handshake(hello, rest, is_initiator=False)
    except HandshakeError as exc:
        await stream.send_all(PREFACE + with_length(encode_frame(Bye(str(exc)))))
        raise


async def _read_hello(read: Callable[[], Awaitable[bytes | bytearray]], data: bytes) -> tuple[Hello, bytes]:
    _check_preface(data)
    while len(data) < len(PREFACE):
        data += await _more(read)
        _check_preface(data)
    decoder, data = FrameDecoder(), data[len(PREFACE) :]
    while True:
        try:
            frames = list(decoder.feed(data))
        except FrameError as exc:
            raise HandshakeError(str(exc)) from exc
        if frames:
            break
        data = await _more(read)
    (frame, _), *others = frames
    if isinstance(frame, Bye):
        raise HandshakeError(f"it refused: {frame.reason}")
    if not isinstance(frame, Hello):
        raise HandshakeError(f"its first frame is a {type(frame).__name__}, not a hello")
    return frame, b"".join(with_length(encode_frame(other)) for other, _ in others) + decoder.rest


async def _more(read: Callable[[], Awaitable[bytes | bytearray]]) -> bytes:
    try:
        data = await read()
    except (OSError, trio.BrokenResourceError) as exc:
        raise HandshakeError("the connection was closed during the handshake") from exc
    if not data:
        raise HandshakeError("the connection was closed during the handshake")
    return bytes(data)


def _check_preface(data: bytes) -> None:
    if data.startswith(b"HTTP/"):
        raise PeerSpeaksHTTP
    mark, version = PREFACE[:-1], data[len(PREFACE) - 1 : len(PREFACE)]
    if data[: len(mark)] != mark[: len(data)]:
        raise HandshakeError("it does not begin as a link does")
    if version and version[0] != MAJOR_VERSION:
        raise HandshakeError(f"it speaks version {version[0]} of the link, and this node version {MAJOR_VERSION}")
