"""The frames to be sent on one link: batches, chunks and back-pressure.

The frames of one scheduler pass are sent in one write, or in batches, so that the peer handles the first while the last
are written. Long frames are sent in chunks, in turn, one chunk after each batch of short frames.

Invariants: short frames are sent in the order of `put`. The chunked bytes in flight stay within the peer's windows. The
queue is bounded: callers wait while `has_room` is false, and a link whose peer doesn't read is closed (`is_stuck`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from .chunks import LongFrame, Transfer
from .frames import (
    BLOB_PART_BYTES,
    CHUNK_BYTES,
    KINDS,
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    Abandon,
    Direction,
    Frame,
    encode_frame,
    pack_length,
)
from .windows import ByteWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import Channel
    from .holdings import Holding

__all__ = ["Outbox"]

_BATCH_FRAMES: Final = 16
_WRITE_BYTES: Final = 256 * 1024
_HIGH_BYTES: Final = 1024 * 1024
_MAX_BYTES: Final = 8 * 1024 * 1024
_FRAME_COST_BYTES: Final = 64
"""The overhead of a queued frame in memory; for short frames it exceeds their size."""

_UNCOUNTED_BYTES: Final = MAX_FRAME_BYTES
"""Shorter queues are not counted in the `Holding`; most links never exceed this."""

_KIND_OFFSET: Final = 5  # after the length and the array's first byte


class Outbox:
    """Queues the frames of one link.

    Attributes:
        is_pending: whether something is queued.
        is_due: whether to write at once rather than at the end of the scheduler pass.
        is_corked: whether more frames will follow in this pass.
        is_bursty: whether the peer's last input had several frames, so that the tasks woken by it will send several.
        has_room: whether callers may queue more without waiting.
        is_stuck: whether the queue has reached its bound, because the peer doesn't read.
        put_bytes: the bytes queued so far.
        sent_bytes: the bytes passed to the operating system so far.
        sent_frames: the frames passed on so far.
        finished: completely sent transfers, until the core removes them.
    """

    __slots__ = (
        "_counted_bytes",
        "_frames",
        "_holding",
        "_is_chunk_next",
        "_numbers",
        "_passed_bytes",
        "_queued_bytes",
        "_transfers",
        "_window_bytes",
        "_windows",
        "finished",
        "has_room",
        "is_bursty",
        "is_corked",
        "is_due",
        "is_pending",
        "is_stuck",
        "put_bytes",
        "sent_bytes",
        "sent_frames",
    )

    def __init__(self, window_bytes: int, first: bytes, holding: Holding) -> None:
        self._holding = holding
        self._counted_bytes = 0
        self._frames: deque[bytes] = deque([first] if first else [])
        self._queued_bytes = len(first) + _FRAME_COST_BYTES if first else 0
        self._passed_bytes = 0
        self._transfers: deque[Transfer] = deque()
        self._numbers = 0
        self._window_bytes = window_bytes
        self._windows: dict[Direction, ByteWindow[Transfer]] = {}  # most links need none
        self._is_chunk_next = False
        self.is_pending: bool = bool(first)
        self.is_due: bool = False
        self.is_corked: bool = False
        self.is_bursty: bool = False
        self.has_room: bool = True
        self.is_stuck: bool = False
        self.put_bytes: int = len(first)
        self.sent_bytes: int = 0
        self.sent_frames: int = 0
        self.finished: list[Transfer] = []

    def put(self, frame: Frame) -> None:
        """Queue a frame."""
        self.put_encoded(encode_frame(frame))

    def put_encoded(self, encoded: bytes, is_lone: bool = False) -> None:
        """Queue an encoded frame of at most `CHUNK_BYTES`.

        The frame of a lone call is due at once, unless more frames are expected in this pass.
        """
        size = len(encoded) + LENGTH_BYTES
        frames = self._frames
        frames.append(pack_length(size - LENGTH_BYTES) + encoded)
        self._queued_bytes += size + _FRAME_COST_BYTES
        self.put_bytes += size
        self.is_pending = True
        if self._queued_bytes > _UNCOUNTED_BYTES:
            self._check_room()
        if len(frames) >= _BATCH_FRAMES or (is_lone and not self.is_bursty and not self.is_corked):
            self.is_due = True

    def _check_room(self) -> None:
        self.has_room = self._queued_bytes <= _HIGH_BYTES
        if self._queued_bytes > _MAX_BYTES:
            self.is_stuck = self.is_due = True
        self._count()

    @property
    def queued(self) -> tuple[int, int]:
        """How many frames, and parts of long ones, wait here to be sent, and the bytes of the frames, with overhead."""
        return len(self._frames) + len(self._transfers), self._queued_bytes

    # ---- long frames

    def is_window_free(self, size: int, direction: Direction) -> bool:
        """Whether the window has room for a transfer of `size` bytes now."""
        return self._window(direction).is_free(size)

    def send_long(self, encoded: bytes | LongFrame, direction: Direction, owner: Any = None) -> Transfer:
        """Queue a frame to be sent in chunks; it starts when the window has room for it."""
        transfer = Transfer(direction, encoded, owner)
        if self._window(direction).request(transfer.size, transfer):
            self._begin([transfer])
        return transfer

    def abandon(self, transfer: Transfer) -> None:
        """Stop sending a long frame."""
        transfer.end()
        transfer.owner = None
        window = self._window(transfer.direction)
        if not transfer.number:
            self._begin(window.withdraw(transfer))
            return
        self._transfers.remove(transfer)
        self.is_pending = bool(self._frames or self._transfers)
        if transfer.offset:
            self.put(Abandon(transfer.number))
        self._begin(window.release(transfer.size - transfer.offset))

    def release(self, direction: Direction, size: int) -> None:
        """Handle that the peer has released `size` bytes of chunked frames."""
        self._begin(self._window(direction).release(size))

    def _begin(self, granted: list[Transfer]) -> None:
        for transfer in granted:
            self._numbers += 1
            transfer.number = self._numbers
            self._transfers.append(transfer)
            self.is_pending = True

    def _window(self, direction: Direction) -> ByteWindow[Transfer]:
        window = self._windows.get(direction)
        if window is None:
            window = self._windows[direction] = ByteWindow(self._window_bytes)
        return window

    # ---- writing

    def next_write(self, beside: list[memoryview] | None = None) -> bytes:
        """Return the next bytes to send: the queued frames, and one chunk of the next transfer.

        Args:
            beside: takes the data of the chunk, uncopied, to be sent behind the result; by default the result has it.
        """
        self.is_due = False
        frames = self._frames
        if self._queued_bytes <= _WRITE_BYTES:
            parts: list[Any] = list(frames)  # bytes, and perhaps a view
            frames.clear()
            self._queued_bytes = 0
            self.is_pending = False
        else:
            parts, size = [], 0
            while frames and size < _WRITE_BYTES:
                size += len(frames[0]) + _FRAME_COST_BYTES
                parts.append(frames.popleft())
            self._queued_bytes -= size
            self.is_pending = bool(frames)
        if not self.has_room:
            self.has_room = self._queued_bytes <= _HIGH_BYTES
        self.sent_frames += len(parts)
        if self._transfers:
            head, chunk = self._next_chunk(BLOB_PART_BYTES)
            parts.append(head)
            if beside is None:
                parts.append(chunk)
            else:
                beside.append(chunk)
                self._passed_bytes += len(chunk)
            self.is_pending = bool(frames or self._transfers)
        data: bytes = parts[0] if len(parts) == 1 else b"".join(parts)
        self._passed_bytes += len(data)
        return data

    def next_frame(self) -> tuple[str, bytes]:
        """Return the kind of the frame to be sent next, and its bytes, for drivers that tell frames apart."""
        self.is_due = False
        if not self.is_pending:
            return "", b""
        if self._frames and not (self._transfers and self._is_chunk_next):
            data = self._frames.popleft()
            self._queued_bytes -= len(data) + _FRAME_COST_BYTES
            if not self.has_room:
                self.has_room = self._queued_bytes <= _HIGH_BYTES
            kind = KINDS.get(data[_KIND_OFFSET], "hello")  # that one is behind the preface
        else:
            kind, data = "chunk", b"".join(self._next_chunk(CHUNK_BYTES))
        self._is_chunk_next = kind != "chunk"
        self.is_pending = bool(self._frames or self._transfers)
        self._passed_bytes += len(data)
        if kind != "chunk":
            self.sent_frames += 1
        return kind, data

    def _next_chunk(self, blob_part_bytes: int) -> tuple[bytes, memoryview]:
        transfer = self._transfers.popleft()
        head, chunk = transfer.next_chunk(blob_part_bytes)
        if transfer.is_over:
            self.finished.append(transfer)
        else:
            self._transfers.append(transfer)
        self.put_bytes += len(head) + len(chunk)
        self.sent_frames += 1
        return head, chunk

    def sent(self, count: int) -> None:
        """Handle that `count` more bytes were passed to the operating system."""
        self.sent_bytes += count
        if self._counted_bytes or self.sent_bytes != self._passed_bytes:
            self._count()

    def sent_by(self, channel: Channel | None) -> Callable[[int], None]:
        """Return what handles that `count` more bytes of a channel's were passed to the operating system."""
        return self.sent if channel is None else lambda count: self.sent(channel.sent(count))

    def _count(self) -> None:
        """Count the queued bytes, and those of a partial write, in the link's holding."""
        waiting_bytes = self._queued_bytes + self._passed_bytes - self.sent_bytes
        counted_bytes = waiting_bytes if waiting_bytes > _UNCOUNTED_BYTES else 0
        change, self._counted_bytes = counted_bytes - self._counted_bytes, counted_bytes
        if change:
            self._holding.change(whole=change)

    def close(self) -> list[Transfer]:
        """Drop the queue; return the unfinished transfers."""
        waiting = [transfer for window in self._windows.values() for transfer in window.clear()]
        dropped = [*self._transfers, *waiting]
        for transfer in dropped:
            transfer.end()
            transfer.owner = None  # breaks a reference cycle
        self._transfers.clear()
        self._frames = deque(maxlen=0)
        self.is_pending = False
        self._queued_bytes = self._counted_bytes = 0
        return dropped
