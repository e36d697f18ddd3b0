"""One link after its handshake: bytes and the time in; events, bytes and the next deadline out.

The driver passes input to `receive`, sends the bytes of `data_to_send`, reports progress to `sent`, and calls `advance`
at `liveness.deadline`. `outgoing` makes calls, `incoming` answers them. `receive` yields the events of its input; all
other events are in `events`, which the driver empties after each step.

Invariant: no input from the peer raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from .calls import IncomingCall, OutgoingCall
from .decoding import decode_frame
from .events import CancelReceived, Closed, CreditReceived, Event, PeerSilent, Retired, RoomFreed
from .frames import (
    REPLIES,
    Abandon,
    Blob,
    Bye,
    CallFrame,
    Cancel,
    Cancelled,
    Chunk,
    Credit,
    End,
    Error,
    Frame,
    FrameError,
    Item,
    Ping,
    Pong,
    Reply,
    Window,
    direction_of_calls,
)
from .liveness import AT_ONCE, TICK_S, Progress
from .state import LinkState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LinkCore"]

_NEVER: Final = float("inf")


class LinkCore(LinkState):
    """One link."""

    __slots__ = ()

    received_bytes: int
    received_frames: int

    # ---- input

    def receive(self, data: bytes, now: float) -> Iterator[Event]:  # noqa: C901  a function call for each step is slower
        """Handle bytes from the peer, and yield the events. Iterate to the end before the next input.

        The first call has no bytes: it handles those after the peer's hello, and makes this side's hello due.
        """
        if self.is_closed:
            return
        liveness, outbox, answered, received = self.liveness, self.outbox, self.outgoing.answered, self.incoming.receive
        liveness.heard_at = now
        outbox.is_corked, count = True, 0
        try:
            data = data if self._channel is None else self._channel.receive(data)
            self.received_bytes += len(data)
            for frame, size in self._decoder.feed(data):
                count += 1
                if type(frame) is Reply:  # the two common kinds
                    event: Event | None = answered(frame)
                elif type(frame) is CallFrame:
                    event = received(frame, size)
                else:
                    event = self._handle(frame, size)
                if event is not None:
                    yield event
                if self.is_closed:
                    return
        except FrameError as exc:
            self.close(f"it broke the protocol: {exc}", is_fault=True)
            return
        if count:
            self.received_frames += count
            liveness.framed_at = now
        if liveness.is_resting and (self._is_amid_input or self._channel is not None):
            liveness.rouse(now + TICK_S)
        outbox.is_bursty = count > 1
        outbox.is_corked = False
        if outbox.is_pending:
            outbox.is_due = True

    def receive_end(self) -> None:
        """Handle the end of the input."""
        if self._is_amid_input:
            self.close("it broke the protocol: it ended in the middle of a frame", is_fault=True)
        self.close("the other side closed it")

    def _handle(self, frame: Frame, size: int) -> Event | None:
        handler = self._HANDLERS.get(type(frame))
        if handler is None:
            raise FrameError("a second hello")
        return handler(self, frame, size)

    def _on_answer(self, frame: Reply | Error | Cancelled | End, _: int) -> Event | None:
        return self.outgoing.answered(frame)

    def _on_item(self, item: Item, size: int) -> Event | None:
        return self.outgoing.handle_item(item, size)

    def _on_credit(self, credit: Credit, _: int) -> Event | None:
        call = self.incoming.handle_credit(credit)
        return None if call is None else CreditReceived(call)

    def _on_cancel(self, cancel: Cancel, _: int) -> Event | None:
        was_full = self.incoming.is_full
        call = self.incoming.handle_cancel(cancel)
        if was_full and not self.incoming.is_full:
            self.events.append(RoomFreed())
        return None if call is None else CancelReceived(call)

    def _on_blob(self, part: Blob, frame_bytes: int) -> None:
        self.liveness.used_at = self.liveness.heard_at
        self._reassembly.add_to_blob(part, frame_bytes)
        if self._decoder.blob_parts.is_amid:  # a frame counts when it is complete
            self.received_frames -= 1

    def _on_chunk(self, chunk: Chunk, _: int) -> Event | None:
        self.liveness.used_at = self.liveness.heard_at
        whole = self._reassembly.add(chunk)
        if whole is None:
            return None
        direction, size = whole.direction, whole.size
        frame = decode_frame(whole.encoded, self._max_containers, whole.blobs)
        if type(frame) is CallFrame and direction == direction_of_calls(frame.depth):
            return self.incoming.receive(frame, size, True)
        if not (isinstance(frame, Reply | Item | Error) and direction == REPLIES):
            raise FrameError(f"a chunked {type(frame).__name__}")
        event = self._handle(frame, size)
        self.incoming.release(direction, size)
        return event

    def _on_abandon(self, abandon: Abandon, _: int) -> None:
        dropped = self._reassembly.abandon(abandon.transfer)
        if dropped is not None:
            self.incoming.release(*dropped)

    def _on_window(self, window: Window, _: int) -> None:
        self.outbox.release(window.direction, window.size)

    def _on_ping(self, ping: Ping, _: int) -> None:
        self.outbox.put(Pong(ping.token))

    def _on_pong(self, pong: Pong, _: int) -> Event | None:
        liveness = self.liveness
        if liveness.pinged_at is None or pong.token != liveness.pings:
            return None
        self.round_trip.add(liveness.heard_at - liveness.pinged_at)
        liveness.ponged()
        is_waking, self._is_waking = self._is_waking, False
        return RoomFreed() if is_waking else None

    def _on_bye(self, _: Bye, __: int) -> None:
        self._is_bye_received = True
        self.retire("closing")

    _HANDLERS: ClassVar[dict[type[Any], Callable[[LinkCore, Any, int], Event | None]]] = {
        **dict.fromkeys((Reply, Error, Cancelled, End), _on_answer),
        Item: _on_item,
        Credit: _on_credit,
        Cancel: _on_cancel,
        Chunk: _on_chunk,
        Blob: _on_blob,
        Abandon: _on_abandon,
        Window: _on_window,
        Ping: _on_ping,
        Pong: _on_pong,
        Bye: _on_bye,
    }

    # ---- output

    def data_to_send(self, beside: list[memoryview] | None = None) -> bytes:
        """Return the bytes to be sent next; none if there are none.

        Args:
            beside: takes more bytes, uncopied, to be sent behind the result, if the link has no channel.
        """
        had_room, was_full = self.outbox.has_room, self.incoming.is_full
        data = self.outbox.next_write(beside if self._channel is None else None)
        if was_full or not had_room or self.outbox.finished:
            self._handle_progress(had_room, was_full)
        return data if self._channel is None or not data else self._channel.send(data)

    def frame_to_send(self) -> tuple[str, bytes] | None:
        """Return the kind of the frame to be sent next, and its bytes; None if there is none."""
        had_room, was_full = self.outbox.has_room, self.incoming.is_full
        kind, data = self.outbox.next_frame()
        if was_full or not had_room or self.outbox.finished:
            self._handle_progress(had_room, was_full)
        if not data:
            return None
        return kind, data if self._channel is None else self._channel.send(data)

    def _handle_progress(self, had_room: bool, was_full: bool) -> None:
        """Handle transfers that have been sent, and that there may be room: calls need less of it than answers."""
        for transfer in self.outbox.finished:
            owner, transfer.owner = transfer.owner, None  # breaks a reference cycle
            if isinstance(owner, IncomingCall):
                self.incoming.sent_long(owner)
            elif isinstance(owner, OutgoingCall):
                self.outgoing.long_ones -= 1
            else:
                self.events.append(transfer)
        self.outbox.finished.clear()
        self._say_bye()
        if self.outbox.has_room and (not had_room or (was_full and not self.incoming.is_full)):
            self.events.append(RoomFreed())

    def close_if_stuck(self) -> None:
        """Close the link if its queue has reached its bound."""
        if self.outbox.is_stuck:
            self.close("it does not read its input", is_fault=True)

    # ---- calls

    def wake(self, now: float) -> bool:
        """Wake a resting link for a call; False if its peer must answer a ping first: `RoomFreed` says that it has."""
        liveness = self.liveness
        if liveness.is_resting and liveness.is_in_doubt(now):
            self._is_waking = True
            if not liveness.is_asked:
                self._ping(now)
                liveness.deadline = now + TICK_S
            return False
        if liveness.is_resting:
            liveness.rouse()
        return True

    def _ping(self, now: float) -> None:
        self.outbox.put(Ping(self.liveness.pings + 1))
        self.liveness.pinged(now, self.outbox.put_bytes)

    def cancel(self, call: OutgoingCall) -> bool:
        """Cancel a call without an answer; return whether the caller must wait for a confirmation."""
        is_awaited = self.outgoing.cancel(call)
        self._say_bye()
        return is_awaited

    # ---- time

    def advance(self, now: float) -> None:
        """Handle the passage of time: pings, silence, idleness.

        A late call shows that this node has stalled; the stall does not count against the peer.
        """
        liveness = self.liveness
        if self.is_closed:  # perhaps by a frame that roused it
            liveness.deadline = _NEVER
        if now < liveness.deadline:
            return
        if self._channel is not None:
            self._channel.refresh(now)
        if liveness.deadline == AT_ONCE:  # it has just become active, and its peer owes nothing
            liveness.looked(now, is_resting=False)
            return
        judged_at, is_idle = liveness.judged_at(now), self.is_idle
        if not is_idle:
            liveness.used_at = now
        if self._is_bye_sent:
            liveness.said_bye(now)
        fault = liveness.fault(judged_at, Progress(self.outbox.sent_bytes, is_idle, self._is_amid_input))
        if fault is not None:
            self.close(fault, is_fault=True)
            return
        if liveness.pinged_at is None and (not is_idle or self.round_trip.smoothed_s is None):
            self._ping(now)
        elif is_idle and liveness.is_unused(now):
            self.retire("idle")
        self._look_again(now, judged_at)

    def _look_again(self, now: float, judged_at: float) -> None:
        """Set the deadline of the next check, and whether the link rests."""
        liveness, is_parting, is_idle = self.liveness, self._parting is not None, self.is_idle
        if liveness.is_asked:
            self.events.append(PeerSilent())
        is_owed = liveness.pinged_at is not None or is_parting or self._is_amid_input
        liveness.looked(now, is_resting=is_idle and not is_owed)
        if is_idle and not is_parting:
            liveness.doubt(judged_at)

    # ---- its end

    def retire(self, reason: str) -> None:
        """Make no more calls; the link ends when both sides have sent bye, and all calls are answered."""
        if self._parting is None and not self.is_closed:
            self._parting = reason
            self.outgoing.is_open = False
            self.events.append(Retired())
            self._say_bye()
            self.liveness.rouse()

    def _say_bye(self) -> None:
        """Send the bye when it is due, but after the last chunk of a long call, which it would overtake."""
        if self._parting is not None and not (self._is_bye_sent or self.is_closed or self.outgoing.long_ones):
            self._is_bye_sent = True
            self.outbox.put(Bye(self._parting))

    def close(self, reason: str, *, is_fault: bool = False) -> None:
        """Close the link without a bye; calls on it end with an error."""
        if self.is_closed:
            return
        self.is_closed = True
        self.liveness.deadline = _NEVER
        outgoing, incoming = self.outgoing.close(reason), self.incoming.close()
        self._reassembly.clear()
        transfers = self.outbox.close()
        self._holding.close()
        self.events.append(Closed(reason, is_fault, outgoing, incoming, transfers))
