"""The first words on a link: preface and hello, in both directions.

A peer of another major version is told so in a `Bye` behind our preface, which every version can read as far as that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from .frames import MAJOR_VERSION, PREFACE, Bye, FrameDecoder, FrameError, Hello, encode_frame, with_length

if TYPE_CHECKING:
    from trio import SocketStream

__all__ = ["HandshakeError", "PeerSpeaksHTTP", "accept", "initiate"]

_READ_BYTES: Final = 4096


class HandshakeError(Exception):
    """The peer is no link's end, or one that can't be talked with."""


class PeerSpeaksHTTP(Exception):
    """The peer answered in HTTP: it doesn't know links."""


async def initiate(stream: SocketStream, own: Hello) -> tuple[Hello, bytes]:
    """Begin a link on a new connection; return the peer's hello, and what came behind it.

    Raises:
        HandshakeError: the peer refused, or isn't a node; the text says which.
        PeerSpeaksHTTP: the peer is an HTTP server.
    """
    await stream.send_all(PREFACE + with_length(encode_frame(own)))
    return await _read_hello(stream, b"")


async def accept(stream: SocketStream, own: Hello, first: bytes) -> tuple[Hello, bytes]:
    """Answer the begin of a link, of which `first` has been read; return the peer's hello, and what came behind it.

    Raises:
        HandshakeError: the peer isn't a node that can be talked with; it has been told.
    """
    try:
        hello, rest = await _read_hello(stream, first)
    except HandshakeError as exc:
        await stream.send_all(PREFACE + with_length(encode_frame(Bye(str(exc)))))
        raise
    await stream.send_all(PREFACE + with_length(encode_frame(own)))
    return hello, rest


async def _read_hello(stream: SocketStream, data: bytes) -> tuple[Hello, bytes]:
    _check_preface(data)
    while len(data) < len(PREFACE):
        data += await _receive(stream)
        _check_preface(data)
    decoder, data = FrameDecoder(), data[len(PREFACE) :]
    while True:
        try:
            frames = list(decoder.feed(data))
        except FrameError as exc:
            raise HandshakeError(str(exc)) from exc
        if frames:
            break
        data = await _receive(stream)
    (frame, _), *others = frames
    if isinstance(frame, Bye):
        raise HandshakeError(f"it refused: {frame.reason}")
    if not isinstance(frame, Hello):
        raise HandshakeError(f"its first frame is a {type(frame).__name__}, not a hello")
    return frame, b"".join(with_length(encode_frame(other)) for other, _ in others) + decoder.rest


async def _receive(stream: SocketStream) -> bytes:
    try:
        data = await stream.receive_some(_READ_BYTES)
    except trio.BrokenResourceError as exc:
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
