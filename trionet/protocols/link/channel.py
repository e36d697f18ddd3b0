"""The layer between a link and its connection: bytes to bytes, for example for encryption.

It is pure, like the link. A link counts sent bytes in plaintext: the bytes that the peer can decode.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Channel"]


class Channel(Protocol):
    """Transforms the bytes of one connection, after the preface."""

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
        """Handle that `count` more bytes of `send` were sent; return how many bytes of plaintext they complete."""
        ...
