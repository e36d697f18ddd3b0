"""The layer between a link and its connection: bytes to bytes, for example for encryption.

It is pure, like the link. A link counts sent bytes in plaintext: those that the peer may be able to decode.
"""

from __future__ import annotations

from typing import Final, Protocol

from .frames import FrameError

__all__ = [
    "BOTH_MODE",
    "CERTIFICATE_MODES",
    "SEAL_BYTES",
    "TLS_MODE",
    "Channel",
    "LinkKey",
    "PeerIdentity",
    "PeerRefused",
]

SEAL_BYTES: Final = 5
"""The size of a `LinkKey.seal`."""

TLS_MODE: Final = 2
"""The mode of links between nodes with certificates."""

BOTH_MODE: Final = 3
"""The mode of links between nodes with certificates and a cluster key."""

CERTIFICATE_MODES: Final = frozenset({TLS_MODE, BOTH_MODE})


class PeerRefused(FrameError):
    """A channel did not open: one side refuses what the other presents. The channel's due bytes tell the peer."""


class PeerIdentity(Protocol):
    """Who a peer has proven to be."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def ends_at(self) -> float:
        """The end of its proof, in seconds since 1970."""
        ...

    def may_claim(self, host: str) -> bool:
        """Whether it may have this IP address, or this name, as its address."""
        ...


class Channel(Protocol):
    """Transforms the bytes of one connection, after the preface."""

    @property
    def peer(self) -> PeerIdentity | None:
        """Who the peer is, once it is open; None if the channel proves only that it is of the same cluster."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether its own handshake has ended, so that plaintext can be sent."""
        ...

    @property
    def is_amid_record(self) -> bool:
        """Whether an incomplete record has been received."""
        ...

    def data_to_send(self) -> bytes:
        """Return the due bytes of its own handshake."""
        ...

    def receive(self, data: bytes) -> bytes:
        """Return the plaintext that `data` completes.

        Raises:
            FrameError: the data is invalid; the connection is unusable.
        """
        ...

    def send(self, data: bytes) -> bytes:
        """Return the bytes that carry this plaintext."""
        ...

    def sent(self, count: int) -> int:
        """Handle that `count` more bytes of `send` were sent; return how many more bytes of plaintext count as sent.

        Plaintext counts at the latest when the peer can read it: with the last byte of its record. It may count
        earlier.
        """
        ...

    def refresh(self, now: float) -> None:
        """Change the key of what this side sends, if that is due; to be called about once in a second of use."""
        ...


class LinkKey(Protocol):
    """Makes the channels of connections between nodes that share it."""

    @property
    def seal(self) -> bytes:
        """What names it in the clear, after the preface: its mode (1 to 127), and its id of 4 bytes."""
        ...

    def new_channel(self, prologue: bytes, *, is_initiator: bool) -> Channel:
        """Return the channel of a new connection.

        Args:
            prologue: the initiator's clear preface, as it was sent; both channels must hold the same.
            is_initiator: whether this side made the connection.
        """
        ...
