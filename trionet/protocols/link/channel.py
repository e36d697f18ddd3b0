"""The layer between a link and its connection: bytes to bytes, for encryption say.

It is pure, as the link is. What a link counts as sent is plaintext: bytes that the peer can read.
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
        """Whether bytes have been received that are no plaintext yet."""
        ...

    def data_to_send(self) -> bytes:
        """Return the bytes of its own handshake that are due."""
        ...

    def receive(self, data: bytes) -> bytes:
        """Return the plaintext that is complete with `data`.

        Raises:
            FrameError: the peer didn't send that; the connection is of no use any more.
        """
        ...

    def send(self, data: bytes) -> bytes:
        """Return the bytes that carry this plaintext."""
        ...

    def sent(self, count: int) -> int:
        """Return how many more bytes of plaintext the peer can read once `count` more bytes of `send` have gone out."""
        ...
