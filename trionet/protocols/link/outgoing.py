"""This side's calls on a link.

Invariants: each call gets one answer, at the latest when the link closes, and uses one of the peer's slots until then.
A call waits only for slots and windows of its own depth (see `trionet.nesting`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trionet.errors import ConnectionLost, MessageTooLarge, NodeUnreachable, TemporarilyUnavailable, TrionetError
from trionet.nesting import DEEPEST, PACKETS

from .calls import STREAM_CREDIT_BYTES, OutgoingCall, OutgoingStream
from .chunks import LongFrame
from .frames import (
    CHUNK_BYTES,
    Cancel,
    Cancelled,
    Credit,
    End,
    Error,
    Hello,
    Item,
    OwnCallFrame,
    Reply,
    direction_of_calls,
    encode_frame,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .liveness import Liveness
    from .outbox import Outbox

__all__ = ["LinkResting", "LinkRetired", "OutgoingCalls"]


class LinkRetired(Exception):
    """No further calls can be made on this link; nothing was sent."""


class LinkResting(Exception):
    """The link must be woken by `LinkCore.wake` before the call; nothing was sent."""


class OutgoingCalls:
    """The calls that this side makes.

    Attributes:
        is_open: whether further calls can be made.
        in_progress: the calls without an answer, by number.
        next_number: the number of the next call.
        free_places: the peer's free slots, by depth.
        long_ones: the number of long calls that are being sent.
    """

    __slots__ = (
        "_liveness",
        "_max_bytes",
        "_max_calls",
        "_name",
        "_outbox",
        "_short_bytes",
        "free_places",
        "in_progress",
        "is_open",
        "long_ones",
        "next_number",
    )

    def __init__(self, peer: Hello, outbox: Outbox, liveness: Liveness, name: str) -> None:
        self.is_open: bool = True
        self.in_progress: dict[int, OutgoingCall] = {}
        self.next_number: int = 1
        self.free_places: list[int] = [peer.max_calls] * PACKETS + [sys.maxsize]  # packets need none
        self.long_ones: int = 0
        self._max_calls = peer.max_calls
        self._max_bytes = min(peer.max_message_bytes, peer.window_bytes)
        self._short_bytes = min(self._max_bytes, CHUNK_BYTES)
        self._outbox = outbox
        self._liveness = liveness
        self._name = name

    def call(self, call: OutgoingCall, frame: OwnCallFrame, blobs: Sequence[bytes] = ()) -> None:
        """Send a call; its frame has the number `next_number` and the call's depth, and holds these blobs.

        Raises:
            LinkRetired: no more calls can be made.
            LinkResting: the link must be woken first.
            MessageTooLarge: the peer would refuse it.
            TemporarilyUnavailable: it is long, and nested too deeply to wait for its turn.
        """
        if not self.is_open:
            raise LinkRetired
        if self._liveness.is_resting:
            raise LinkResting
        encoded = encode_frame(frame)
        if blobs or len(encoded) > self._short_bytes:
            self._send_long(call, LongFrame(encoded, blobs))
        is_lone, number = not self.in_progress, self.next_number
        call.number, self.next_number = number, number + 1
        self.free_places[call.depth] -= 1
        self.in_progress[number] = call
        if call.transfer is None:
            call.start_offset = self._outbox.put_bytes
            self._outbox.put_encoded(encoded, is_lone)  # last: it may close the link, which answers the call

    def _send_long(self, call: OutgoingCall, encoded: LongFrame) -> None:
        size, direction = len(encoded), direction_of_calls(call.depth)
        if size > self._max_bytes:
            raise MessageTooLarge(
                f"a request of {size:,} bytes is over the limit of {self._name} of {self._max_bytes:,} bytes: "
                f"its max_message_bytes"
            )
        if call.depth == DEEPEST and not self._outbox.is_window_free(size, direction):
            raise self._refusal(f"{size:,} bytes more exceed its window, which follows from its max_message_bytes")
        self.long_ones += 1
        call.transfer = self._outbox.send_long(encoded, direction, call)

    def check_may_wait(self, depth: int) -> None:
        """Raise `TemporarilyUnavailable` for the deepest calls: if they waited, they could deadlock."""
        if depth == DEEPEST:
            raise self._refusal(f"{self._max_calls} are in progress, its max_calls_per_peer")

    def _refusal(self, reason: str) -> TemporarilyUnavailable:
        return TemporarilyUnavailable(
            f"{self._name} accepts no further call that is nested {DEEPEST} deep or deeper: {reason}"
        )

    def cancel(self, call: OutgoingCall) -> bool:
        """Cancel a call without an answer; return whether the caller must wait for a confirmation."""
        if call.number not in self.in_progress:
            return False
        if call.transfer is not None and not call.transfer.is_over:  # it will not be complete, and not run
            self.long_ones -= 1
            del self.in_progress[call.number]
            self.free_places[call.depth] += 1
            self._liveness.ended_calls()
            self._outbox.abandon(call.transfer)  # last: it may close the link
            return False
        if call.depth == PACKETS:
            return False  # its handler has finished already
        self._outbox.put(Cancel(call.number))
        return True

    def answered(self, answer: Reply | Error | Cancelled | End) -> OutgoingCall | None:
        """Handle an answer; return its call, if the call is in progress."""
        in_progress = self.in_progress
        call = in_progress.pop(answer.in_reply_to, None)
        if call is not None:
            call.answer = answer
            self.free_places[call.depth] += 1
            if not in_progress:
                self._liveness.used_at = self._liveness.heard_at
        return call

    # ---- streams

    def handle_item(self, item: Item, size: int) -> OutgoingCall | None:
        """Add an item to its stream; return that, if it is in progress.

        Raises:
            FrameError: the peer broke the rules.
        """
        call = self.in_progress.get(item.in_reply_to)
        if call is not None:
            call.add(item, size)
        return call

    def consumed(self, stream: OutgoingStream, size: int) -> None:
        """Handle that the reader has consumed an item of `size` bytes: the peer may send more."""
        stream.consumed_bytes += size
        if stream.consumed_bytes > STREAM_CREDIT_BYTES // 2 and stream.answer is None:
            self._outbox.put(Credit(stream.number, stream.consumed_bytes))
            stream.credit_bytes += stream.consumed_bytes
            stream.consumed_bytes = 0

    def close(self, reason: str) -> list[OutgoingCall]:
        """End all calls with an error, and return them."""
        self.is_open = False
        lost = list(self.in_progress.values())
        self.in_progress.clear()
        for call in lost:
            call.answer = self._lost(call, reason)
        return lost

    def _lost(self, call: OutgoingCall, reason: str) -> TrionetError:
        if call.is_unsent(self._outbox.sent_bytes):
            return NodeUnreachable(f"the link with {self._name} was lost before the call was sent: {reason}")
        return ConnectionLost(f"the link with {self._name} was lost after the call was sent: {reason}")
