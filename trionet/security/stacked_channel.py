"""A channel within a channel: the links of nodes with certificates and a cluster key.

TLS is outside: the peer's certificate is verified first, then that it holds the cluster's key. A link needs both.

Invariant: nothing passes the inner channel before the outer one is open. A byte of plaintext counts as sent when both
channels say so, at the latest when the peer can read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trionet.protocols.link.channel import Channel, LinkKey, PeerIdentity

__all__ = ["StackedChannel", "StackedKey"]


class StackedChannel:
    """A `Channel` whose bytes pass through `inner`, then through `outer`."""

    def __init__(self, inner: Channel, outer: Channel) -> None:
        self._inner = inner
        self._outer = outer

    @property
    def peer(self) -> PeerIdentity | None:
        """Who the peer is."""
        return self._outer.peer or self._inner.peer

    @property
    def is_open(self) -> bool:
        """Whether plaintext can be sent."""
        return self._outer.is_open and self._inner.is_open

    @property
    def is_amid_record(self) -> bool:
        """Whether an incomplete record has been received."""
        return self._outer.is_amid_record or self._inner.is_amid_record

    def data_to_send(self) -> bytes:
        """Return the due bytes of the handshakes."""
        due = self._outer.data_to_send()
        if self._outer.is_open and (inner := self._inner.data_to_send()):
            sealed = self._outer.send(inner)
            self._outer.sent(len(sealed))  # all of it is sent before the first plaintext
            due += sealed
        return due

    def receive(self, data: bytes) -> bytes:
        """Return the plaintext that `data` completes.

        Raises:
            FrameError: the data is invalid; the connection is unusable.
        """
        opened = self._outer.receive(data)
        return self._inner.receive(opened) if opened else b""

    def send(self, data: bytes) -> bytes:
        """Return the bytes that carry this plaintext."""
        return self._outer.send(self._inner.send(data))

    def sent(self, count: int) -> int:
        """Handle that `count` more bytes of `send` were sent; return the plaintext that counts as sent by them."""
        return self._inner.sent(self._outer.sent(count))

    def refresh(self, now: float) -> None:
        """Change the keys of what this side sends, if that is due."""
        self._outer.refresh(now)
        self._inner.refresh(now)


class StackedKey:
    """A `LinkKey` that needs two: its channels pass through those of `inner`, then through those of `outer`.

    Attributes:
        seal: the outer key's mode, for both; and the inner key's id.
    """

    def __init__(self, mode: int, inner: LinkKey, outer: LinkKey) -> None:
        self.seal: bytes = bytes([mode]) + inner.seal[1:]
        self._inner = inner
        self._outer = outer

    def new_channel(self, prologue: bytes, *, is_initiator: bool) -> StackedChannel:
        """Return the channel of a new connection; see `LinkKey.new_channel`."""
        return StackedChannel(
            self._inner.new_channel(prologue, is_initiator=is_initiator),
            self._outer.new_channel(prologue, is_initiator=is_initiator),
        )
