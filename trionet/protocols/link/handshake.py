"""The start of a link: the clear preface, the channel's handshake, and hello, in both directions.

The clear preface is `PREFACE` and a mode. Plain links have no channel; their mode is 0, which is also the first byte of
the hello's length. A sealed link's mode is the `LinkKey.seal` of its key: a byte of 1 to 127, and the key's id. The
accepting side answers with the same mode, or refuses with one byte from 128 on (`Refusal`).

All later bytes of a sealed link pass through its channel. A sealed acceptor says nothing before the initiator's first
bytes have opened, a refusal apart, and its outcome waits for the first record, which is the initiator's hello: whoever
replays the first bytes gets no further.

A plain peer of another major version receives a `Bye` after the preface; all versions can decode these two.

Invariant: the outcome's mode is one that this side was given: neither the peer nor a refusal can change it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .channel import CERTIFICATE_MODES, SEAL_BYTES, TLS_MODE, Channel, LinkKey, PeerIdentity, PeerRefused
from .decoding import split_first
from .frames import MAJOR_VERSION, PREFACE, Bye, Frame, FrameError, Hello, encode_frame, with_length
from .refusals import FIRST_REFUSAL, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trionet.identity import NodeAddress

__all__ = [
    "AddressRefused",
    "CertificateRefused",
    "Greeted",
    "Handshake",
    "HandshakeCut",
    "HandshakeError",
    "KeyRefused",
    "PeerSpeaksHTTP",
    "greeting",
]


class HandshakeError(Exception):
    """The peer speaks no link, or an incompatible version."""


class HandshakeCut(HandshakeError):
    """The connection ended: its peer may have stopped."""

    def __init__(self) -> None:
        super().__init__("the connection was closed during the handshake")


class KeyRefused(HandshakeError):
    """One side refuses the other's mode or key.

    Attributes:
        refusal: the reason; from the peer it is a hint, which nothing authenticates.
    """

    def __init__(self, refusal: Refusal, text: str) -> None:
        super().__init__(text)
        self.refusal = refusal


class AddressRefused(HandshakeError):
    """An authenticated peer states the wrong address."""


class CertificateRefused(HandshakeError):
    """One side refuses the other's certificate, or has none."""


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
        key: the key of the channel, or None.
    """

    own: Hello
    peer: Hello
    is_initiator: bool
    rest: bytes
    first: bytes
    channel: Channel | None
    key: LinkKey | None = None

    @property
    def peer_identity(self) -> PeerIdentity | None:
        """Who the peer has proven to be, by its certificate; None without certificates."""
        return None if self.channel is None else self.channel.peer


class Handshake:
    """One side's handshake.

    Args:
        own: this side's hello.
        is_initiator: whether this side made the connection.
        keys: of an initiator: the one key to seal with, or none for a plain link; of an acceptor: those that open.
        accepts_plain: whether an acceptor takes plain links too; by default, if it has no keys.
        expected: the address that the peer of a sealed link must state; None for any but this side's own.
        life: returns the `Hello.life` of a sealed link. It is asked when the peer has answered, so that the counter is
            of a time after the peer's start.
    """

    def __init__(
        self,
        own: Hello,
        *,
        is_initiator: bool,
        keys: Sequence[LinkKey] = (),
        accepts_plain: bool | None = None,
        expected: NodeAddress | None = None,
        life: Callable[[], tuple[int, int] | None] | None = None,
    ) -> None:
        self._own = own
        self._life = life
        self._expected = expected
        self._is_initiator = is_initiator
        self._keys = {key.seal: key for key in reversed(keys)}
        self._accepts_plain = not keys if accepts_plain is None else accepts_plain
        self._key: LinkKey | None = None
        self._channel: Channel | None = None
        self._received = b""
        self._is_mode_known = self._is_hello_sent = False
        self._clear = self._due = b""  # the clear preface goes with the channel's first bytes
        if is_initiator:
            self._clear = PREFACE
            if keys:
                (key,) = keys
                self._open_channel(key)
            self._advance()

    def data_to_send(self) -> bytes:
        """Return the due bytes."""
        due, self._due = self._due, b""
        return due

    def receive(self, data: bytes) -> Greeted | None:
        """Handle bytes from the peer, none at the end of the connection; return the outcome of a complete handshake.

        Raises:
            HandshakeError: the peer is no compatible node. The due bytes carry the reason.
            HandshakeCut: there were no bytes.
            PeerSpeaksHTTP: the peer is an HTTP server, and a plain link was to be made.
        """
        if not data:
            raise HandshakeCut
        try:
            found = self._receive(data)
            return None if found is None else self._greeted(*found)
        except (FrameError, HandshakeError) as exc:
            self._refuse(exc)
            if isinstance(exc, HandshakeError):
                raise
            raise HandshakeError(str(exc)) from exc

    def _greeted(self, frame: Frame, rest: bytes) -> Greeted:
        if isinstance(frame, Bye):
            raise HandshakeError(f"it refused: {frame.reason}")
        if not isinstance(frame, Hello):
            raise HandshakeError(f"its first frame is a {type(frame).__name__}, not a hello")
        if self._channel is not None:
            self._check_address(frame.address)
        elif frame.life is not None:  # nothing authenticates it
            frame = msgspec.structs.replace(frame, life=None)
        first = b"" if self._is_initiator else self._greeting()
        return Greeted(self._own, frame, self._is_initiator, rest, first, self._channel, self._key)

    def _check_address(self, address: NodeAddress | None) -> None:
        """Check the address that an authenticated peer states.

        Raises:
            AddressRefused: it is this side's own, so the connection was reflected; or another one than was dialed, so
                the connection was diverted; or not one of those in its certificate.
        """
        assert self._channel is not None
        identity = self._channel.peer
        if address is not None and identity is not None and not identity.may_claim(address.ip):
            raise AddressRefused(f"the certificate of {identity.name} is not for the address that it states, {address}")
        if address is not None and address == self._own.address:
            raise AddressRefused("it states this node's own address, as if the connection led back to this node")
        if self._expected is not None and address != self._expected:
            raise AddressRefused(f"another node answers there: {address or 'one without an address'}")

    def _refuse(self, exc: Exception) -> None:
        """Send the reason: a bye where the peer can decode it, else a byte, or what the channel says.

        An initiator tells only what concerns the other side's certificate.
        """
        if self._is_initiator and not isinstance(exc, CertificateRefused):
            return
        bye = with_length(encode_frame(Bye(str(exc))))
        if isinstance(exc, CertificateRefused):
            assert self._channel is not None
            self._send(self._channel.data_to_send())
            if self._channel.is_open:
                self._due += self._channel.send(bye)
        elif isinstance(exc, KeyRefused):
            self._due += PREFACE + bytes([exc.refusal])
        elif self._channel is not None:
            if self._channel.is_open:
                self._due += self._channel.send(bye)
        elif self._accepts_plain:
            self._due += PREFACE + bye

    def _receive(self, data: bytes) -> tuple[Frame, bytes] | None:
        if not self._is_mode_known:
            self._received += data
            seal = self._received_seal()
            if seal is None:
                return None
            self._check_mode(seal)
            self._is_mode_known = True
            data, self._received = self._received[len(PREFACE) + len(seal) :], b""
        if self._channel is not None:
            data = self._open(data, self._channel)
        self._received += data
        self._advance()
        return split_first(self._received)

    # ---- the mode

    def _received_seal(self) -> bytes | None:
        """Return the mode in the peer's clear preface, nothing if it is plain; None while that is incomplete.

        Raises:
            HandshakeError: the peer is no compatible node.
            PeerSpeaksHTTP: the peer is an HTTP server.
        """
        data, start = self._received, len(PREFACE)
        if data.startswith(b"HTTP/"):
            if self._keys:
                raise HandshakeError("it answers in HTTP, and a node with a cluster key makes no calls by HTTP")
            raise PeerSpeaksHTTP
        self._check_preface(data[:start])
        if len(data) <= start:
            return None
        if data[start] == 0:
            return b""
        if data[start] >= FIRST_REFUSAL:
            return data[start : start + 1]
        return data[start : start + SEAL_BYTES] if len(data) >= start + SEAL_BYTES else None

    def _check_preface(self, data: bytes) -> None:
        mark, version = PREFACE[:-1], data[len(PREFACE) - 1 :]
        if data[: len(mark)] != mark[: len(data)]:
            raise HandshakeError("it does not begin as a link does")
        if version and version[0] != MAJOR_VERSION:
            text = f"it speaks version {version[0]} of the link, and this node version {MAJOR_VERSION}"
            if self._is_initiator or self._accepts_plain:
                raise HandshakeError(text)
            raise KeyRefused(Refusal.VERSION, text)

    def _check_mode(self, seal: bytes) -> None:
        """Agree on the peer's mode.

        Raises:
            HandshakeError: one side refuses the other's mode.
        """
        if self._is_initiator:
            self._check_answered_mode(seal)
        elif not seal:
            if not self._accepts_plain:
                raise _refused(Refusal.NO_CERTIFICATE if self._has_certificate else Refusal.PLAIN)
        elif len(seal) < SEAL_BYTES:
            raise HandshakeError("it does not begin as a link does")
        elif seal in self._keys:
            self._open_channel(self._keys[seal])
        else:
            raise _refused(self._mode_refusal(seal[0]))

    @property
    def _has_certificate(self) -> bool:
        return any(seal[0] in CERTIFICATE_MODES for seal in self._keys)

    def _mode_refusal(self, mode: int) -> Refusal:
        """Return why an acceptor refuses the seal of a peer with this mode, which is none of its own."""
        if self._has_certificate != (mode in CERTIFICATE_MODES):
            return Refusal.NO_CERTIFICATE if self._has_certificate else Refusal.CERTIFICATE
        if self._has_certificate and mode not in {seal[0] for seal in self._keys}:
            return Refusal.PLAIN if mode == TLS_MODE else Refusal.SEALED
        return Refusal.UNKNOWN_KEY if self._keys else Refusal.SEALED

    def _check_answered_mode(self, seal: bytes) -> None:
        if len(seal) == 1:
            refusal = Refusal(seal[0]) if seal[0] in set(Refusal) else None
            if refusal is None:
                raise HandshakeError(f"it refused the link, with the unknown reason {seal[0]}")
            raise KeyRefused(refusal, refusal.as_refused)
        if seal != (b"" if self._key is None else self._key.seal):
            if seal:
                raise HandshakeError("it answers in another mode than this node's")
            raise KeyRefused(Refusal.SEALED, Refusal.SEALED.as_refused)

    # ---- the channel

    def _open_channel(self, key: LinkKey) -> None:
        self._key, self._clear = key, PREFACE + key.seal
        self._channel = key.new_channel(self._clear, is_initiator=self._is_initiator)

    def _open(self, data: bytes, channel: Channel) -> bytes:
        """Pass bytes through the channel; a failure to open the peer's first message refuses the key."""
        try:
            return channel.receive(data)
        except PeerRefused as exc:
            raise CertificateRefused(str(exc)) from exc
        except FrameError as exc:
            if self._is_initiator and not self._is_hello_sent:
                raise KeyRefused(Refusal.UNOPENED, Refusal.UNOPENED.as_refused) from exc
            if self._is_initiator or not self._clear:
                raise
            raise _refused(Refusal.UNOPENED) from exc

    def _advance(self) -> None:
        """Queue the bytes that can be sent now: the channel's handshake, then the initiator's hello."""
        if self._channel is not None and (due := self._channel.data_to_send()):
            self._send(due)
        if self._is_initiator and not self._is_hello_sent and (self._channel is None or self._channel.is_open):
            self._is_hello_sent = True
            hello = self._encoded_hello()
            if self._channel is not None:
                hello = self._channel.send(hello)
                self._channel.sent(len(hello))  # all of it is sent before the first call
            self._send(hello)

    def _send(self, data: bytes) -> None:
        self._due += self._clear + data
        self._clear = b""

    def _greeting(self) -> bytes:
        """Return the plaintext before the accepting side's first answers."""
        return greeting(self._own) if self._channel is None else self._encoded_hello()

    def _encoded_hello(self) -> bytes:
        own = self._own
        if self._channel is not None and self._life is not None:
            own = msgspec.structs.replace(own, life=self._life())
        return with_length(encode_frame(own))


def _refused(refusal: Refusal) -> KeyRefused:
    """Return the error of the refusing side."""
    return KeyRefused(refusal, refusal.as_refusing)
