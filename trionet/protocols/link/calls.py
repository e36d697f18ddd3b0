"""The state of one call on a link: at the caller's side, and at the handler's side."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

from trionet.errors import TrionetError

from .chunks import Transfer
from .frames import CallFrame, Cancelled, End, Error, FrameError, Item, Reply

__all__ = ["STREAM_CREDIT_BYTES", "Answer", "IncomingCall", "OutgoingCall", "OutgoingStream"]

STREAM_CREDIT_BYTES: Final = 256 * 1024
"""The bytes of a stream's items that the caller's side buffers."""

Answer = Reply | Error | Cancelled | End | TrionetError


class OutgoingCall(msgspec.Struct, eq=False):
    """A call to the peer. The driver creates it, and may subclass it.

    Attributes:
        depth: its depth of nesting.
        number: its `CallFrame.msg_id`.
        start_offset: the start of its frame, in bytes of the outbox.
        answer: its answer; a `TrionetError` when the link was lost.
        transfer: the transfer of a long call.
    """

    depth: int = 0
    number: int = 0
    start_offset: int = 0
    answer: Answer | None = None
    transfer: Transfer | None = None

    def is_unsent(self, sent_bytes: int) -> bool:
        """Whether no byte of it is among the `sent_bytes` passed to the operating system."""
        return self.transfer.offset == 0 if self.transfer is not None else self.start_offset >= sent_bytes

    def add(self, item: Item, size: int) -> None:
        """Add an item of a stream.

        Raises:
            FrameError: the peer broke the rules.
        """
        raise FrameError(f"an item of {size} bytes in reply to {item.in_reply_to}, which is no stream")


class OutgoingStream(OutgoingCall, eq=False):
    """A stream from the peer.

    Attributes:
        items: unread values, each with its size in bytes.
        consumed_bytes: bytes of the items read since the last credit.
        credit_bytes: bytes of the items that the peer may send.
    """

    items: deque[tuple[Any, int]] = msgspec.field(default_factory=deque)
    consumed_bytes: int = 0
    credit_bytes: int = STREAM_CREDIT_BYTES

    def add(self, item: Item, size: int) -> None:
        """Add an item; see `OutgoingCall.add`."""
        if self.credit_bytes <= 0:
            raise FrameError("more items than it was allowed")
        self.credit_bytes -= size
        self.items.append((item.value, size))


class IncomingCall(msgspec.Struct, eq=False):
    """A call of the peer.

    Attributes:
        frame: its frame.
        size: the size of its frame in bytes.
        is_chunked: whether it was received in chunks; its bytes are held until the answer.
        credit_bytes: bytes of the items that may be sent.
        is_running: whether it is accepted and has no answer.
        transfer: the transfer of a long answer.
        handler: for the driver's use.
    """

    frame: CallFrame
    size: int
    is_chunked: bool
    credit_bytes: int
    is_running: bool = False
    transfer: Transfer | None = None
    handler: Any = None
