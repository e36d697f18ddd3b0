"""The start of a link: preface and hello, in both directions.

A peer of another major version receives a `Bye` after the preface; all versions can decode these two. All bytes after
the preface pass through the `Channel`, if there is one.
"""

from __future__ import annotations

import msgspec

from .channel import Channel
from .frames import MAJOR_VERSION, PREFACE, Bye, Frame, FrameError, Hello, encode_frame, split_first, with_length

__all__ = ["Greeted", "Handshake", "HandshakeError", "PeerSpeaksHTTP", "greeting"]


class HandshakeError(Exception):
    """The peer speaks no link, or an incompatible version."""


class PeerSpeaksHTTP(Exception):
    """The peer answered in HTTP: it has no links."""


def greeting(own: Hello) -> bytes:
    """Return the first bytes of either side, without a channel."""
    return PREFACE + with_length(encode_frame(own))


class Greeted(msgspec.Struct, frozen=True):
    """The outcome of a handshake.

    Attributes:
        own, peer: the two hellos.
        is_initiator: whether this side made the connection.
        rest: plaintext received after the peer's hello.
        first: plaintext to send before all frames: the accepting side's hello, which is sent with its first answers.
        channel: the layer below the link, or None.
    """

    own: Hello
    peer: Hello
    is_initiator: bool
    rest: bytes
    first: bytes
    channel: Channel | None


class Handshake:
    """One side's handshake."""

    def __init__(self, own: Hello, *, is_initiator: bool, channel: Channel | None = None) -> None:
        self._own = own
        self._is_initiator = is_initiator
        self._channel = channel
        self._received = b""
        self._is_preface_received = self._is_hello_sent = False
        self._due = PREFACE if is_initiator else b""
        self._advance()

    def data_to_send(self) -> bytes:
        """Return the due bytes."""
        due, self._due = self._due, b""
        return due

    def receive(self, data: bytes) -> Greeted | None:
        """Handle bytes from the peer, none at the end of the connection; return the outcome of a complete handshake.

        Raises:
            HandshakeError: the peer is no compatible node. The due bytes carry the reason.
            PeerSpeaksHTTP: the peer is an HTTP server.
        """
        if not data:
            raise HandshakeError("the connection was closed during the handshake")
        try:
            found = self._receive(data)
            return None if found is None else self._greeted(*found)
        except (FrameError, HandshakeError) as exc:
            if not self._is_initiator:
                self._refuse(str(exc))
            raise HandshakeError(str(exc)) from exc

    def _greeted(self, frame: Frame, rest: bytes) -> Greeted:
        if isinstance(frame, Bye):
            raise HandshakeError(f"it refused: {frame.reason}")
        if not isinstance(frame, Hello):
            raise HandshakeError(f"its first frame is a {type(frame).__name__}, not a hello")
        first = b"" if self._is_initiator else self._greeting()
        return Greeted(self._own, frame, self._is_initiator, rest, first, self._channel)

    def _refuse(self, reason: str) -> None:
        """Send a bye, except during the channel's handshake, when the peer could not decode it."""
        bye = with_length(encode_frame(Bye(reason)))
        if self._channel is None or not self._is_preface_received:
            self._due += PREFACE + bye
        elif self._channel.is_open:
            self._due += self._channel.send(bye)

    def _receive(self, data: bytes) -> tuple[Frame, bytes] | None:
        if not self._is_preface_received:
            self._received += data
            _check_preface(self._received)
            if len(self._received) < len(PREFACE):
                return None
            self._is_preface_received = True
            data, self._received = self._received[len(PREFACE) :], b""
            if self._channel is not None and not self._is_initiator:
                self._due += PREFACE
        if self._channel is not None:
            data = self._channel.receive(data)
        self._received += data
        self._advance()
        return split_first(self._received)

    def _advance(self) -> None:
        """Queue the bytes that can be sent now: the channel's handshake, then the initiator's hello."""
        if self._channel is not None and (self._is_initiator or self._is_preface_received):
            self._due += self._channel.data_to_send()
        if self._is_initiator and not self._is_hello_sent and (self._channel is None or self._channel.is_open):
            self._is_hello_sent = True
            hello = with_length(encode_frame(self._own))
            if self._channel is not None:
                hello = self._channel.send(hello)
                self._channel.sent(len(hello))  # all of it is sent before the first call
            self._due += hello

    def _greeting(self) -> bytes:
        """Return the plaintext before the accepting side's first answers."""
        return greeting(self._own) if self._channel is None else with_length(encode_frame(self._own))


def _check_preface(data: bytes) -> None:
    if data.startswith(b"HTTP/"):
        raise PeerSpeaksHTTP
    mark, version = PREFACE[:-1], data[len(PREFACE) - 1 : len(PREFACE)]
    if data[: len(mark)] != mark[: len(data)]:
        raise HandshakeError("it does not begin as a link does")
    if version and version[0] != MAJOR_VERSION:
        raise HandshakeError(f"it speaks version {version[0]} of the link, and this node version {MAJOR_VERSION}")
