"""The peer's calls on a link.

Invariants: no more calls are in progress at any depth than the hello announced; at depth `PACKETS` the transport
refuses further ones. Each call gets one answer. Any answer confirms a cancel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trionet.nesting import PACKETS

from .calls import IncomingCall
from .frames import CHUNK_BYTES, REPLIES, CallFrame, Cancel, Cancelled, Credit, FrameError, Window, direction_of_calls
from .liveness import TICK_S

if TYPE_CHECKING:
    from .chunks import LongFrame, Reassembly, Transfer
    from .frames import Direction
    from .handshake import Greeted
    from .holdings import Holding
    from .liveness import Liveness
    from .outbox import Outbox

__all__ = ["IncomingCalls"]

_WINDOWS_OF_ANSWERS: Final = 4
"""The bound on long answers that wait or are in flight, in windows; above it no further call starts."""
_UNCOUNTED_BYTES: Final = 4096
"""Shorter calls are not counted in the `Holding`: their tasks need more memory."""


class IncomingCalls:
    """The calls that this side answers.

    Attributes:
        running: the accepted calls without an answer, by number.
        max_answer_bytes: the largest answer that both sides allow.
        is_full: whether the long answers that wait or are in flight have reached their bound.
    """

    __slots__ = (
        "_holding",
        "_liveness",
        "_long_bytes",
        "_max_calls",
        "_most_long_bytes",
        "_outbox",
        "_reassembly",
        "_running_at",
        "is_full",
        "max_answer_bytes",
        "running",
    )

    def __init__(
        self, greeted: Greeted, outbox: Outbox, liveness: Liveness, reassembly: Reassembly, holding: Holding
    ) -> None:
        own, peer = greeted.own, greeted.peer
        self.running: dict[int, IncomingCall] = {}
        self.max_answer_bytes: int = min(peer.max_message_bytes, peer.window_bytes, own.max_message_bytes)
        self.is_full: bool = False
        self._max_calls = own.max_calls
        self._running_at = [0] * (PACKETS + 1)
        self._long_bytes = 0
        self._most_long_bytes = min(holding.share_bytes, _WINDOWS_OF_ANSWERS * min(peer.window_bytes, own.window_bytes))
        self._outbox = outbox
        self._liveness = liveness
        self._reassembly = reassembly
        self._holding = holding

    def receive(self, frame: CallFrame, size: int, is_chunked: bool = False) -> IncomingCall:
        """Return a received call.

        Raises:
            FrameError: the peer broke the rules.
        """
        is_full = self._running_at[frame.depth] >= self._max_calls  # as `is_full_at`, without the function call
        if frame.msg_id in self.running or (is_full and frame.depth != PACKETS):
            raise FrameError(f"more than {self._max_calls} calls at once at one depth, or one number twice")
        self._liveness.used_at = self._liveness.heard_at
        return IncomingCall(frame, size, is_chunked, frame.credit or 0)

    def is_full_at(self, depth: int) -> bool:
        """Whether as many calls are in progress at a depth as the hello announced.

        The caller holds no slots for those of depth `PACKETS`, so that only this side can count them.
        """
        return self._running_at[depth] >= self._max_calls

    def accept(self, call: IncomingCall) -> None:
        """Register a running call, until `answer`."""
        call.is_running = True
        self.running[call.frame.msg_id] = call
        self._running_at[call.frame.depth] += 1
        if call.size > _UNCOUNTED_BYTES and not call.is_chunked:
            self._holding.change(whole=call.size)
        if self._liveness.is_resting:
            self._liveness.rouse(self._liveness.heard_at + TICK_S)

    def answer(self, call: IncomingCall, encoded: bytes | LongFrame) -> None:
        """End a call with an encoded `Reply`, `Error`, `Cancelled` or `End`."""
        if isinstance(encoded, bytes) and len(encoded) <= CHUNK_BYTES:
            if call.is_running or call.is_chunked:
                self._end(call)
            self._outbox.put_encoded(encoded, not self.running)
            return
        if not call.is_running:
            self.accept(call)
        self._hold_answer(len(encoded))
        if call.is_running:  # the answer may have evicted the link
            call.transfer = self._outbox.send_long(encoded, REPLIES, call)

    def sent_long(self, call: IncomingCall) -> None:
        """Handle the end of a long answer: it was sent or dropped."""
        if call.transfer is not None:
            self._hold_answer(-call.transfer.size)
            self._end(call)

    def _hold_answer(self, size: int) -> None:
        """Add to the held bytes of long answers, or subtract."""
        self._long_bytes += size
        self.is_full = self._long_bytes > self._most_long_bytes
        self._holding.change(whole=size)

    def _end(self, call: IncomingCall) -> None:
        depth = call.frame.depth
        if call.is_running:
            call.is_running = False
            del self.running[call.frame.msg_id]
            self._running_at[depth] -= 1
            if call.size > _UNCOUNTED_BYTES and not call.is_chunked:
                self._holding.change(whole=-call.size)
        if call.is_chunked:
            self.release(direction_of_calls(depth), call.size)
        if not self.running:
            self._liveness.ended_calls()

    def release(self, direction: Direction, size: int) -> None:
        """Release chunked bytes: the peer may send as many again."""
        if size:
            self._reassembly.release(direction, size)
            self._outbox.put(Window(direction, size))

    def handle_cancel(self, cancel: Cancel) -> IncomingCall | None:
        """Return the call whose handler must be cancelled.

        None if its answer was sent, which is the confirmation. A long answer in flight is abandoned.
        """
        call = self.running.get(cancel.msg_id)
        if call is None or call.transfer is None:
            return call
        self._outbox.abandon(call.transfer)
        self.sent_long(call)
        self._outbox.put(Cancelled(cancel.msg_id))
        return None

    def handle_credit(self, credit: Credit) -> IncomingCall | None:
        """Return the stream that may send more items; none where its answer is being sent."""
        call = self.running.get(credit.msg_id)
        if call is None or call.transfer is not None:
            return None
        call.credit_bytes += credit.size
        return call

    def send_item(self, call: IncomingCall, encoded: bytes | LongFrame) -> Transfer | None:
        """Send an encoded `Item` of a stream; return the transfer of a long one, for which the sender must wait."""
        call.credit_bytes -= len(encoded)
        if not isinstance(encoded, bytes) or len(encoded) > CHUNK_BYTES:
            return self._outbox.send_long(encoded, REPLIES)
        self._outbox.put_encoded(encoded)
        return None

    def close(self) -> list[IncomingCall]:
        """Drop all running calls, and return them."""
        running = list(self.running.values())
        self.running.clear()
        for call in running:
            call.is_running = False
        return running
