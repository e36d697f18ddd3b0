"""What waits to be written on one link.

Frames that are ready in one scheduler pass go out in one write, or, where there are many, a lot at a time, so that the
peer has begun with the first when the last are written. Longer ones go out in chunks, one after each lot of
short frames, in turn, so that they don't hold up short ones.

Invariants: frames go out in the order of `put`; the bytes that wait are bounded, because those who can wait do so in
`room`, and a peer that doesn't read is reported to `on_stuck`; no more chunked bytes are under way than the peer's
windows let.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from .flow import ByteWindow
from .frames import CHUNK_BYTES, MAX_FRAME_BYTES, Abandon, Chunk, Direction, Frame, encode_frame, with_length

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .holdings import Holding

__all__ = ["Outbox", "Transfer"]

_LOT_FRAMES: Final = 16
_WRITE_BYTES: Final = 256 * 1024
_HIGH_BYTES: Final = 1024 * 1024
_MAX_BYTES: Final = 8 * 1024 * 1024
_FRAME_COST_BYTES: Final = 64
"""What a frame that waits takes besides its own bytes: short ones are mostly that."""

_UNCOUNTED_BYTES: Final = MAX_FRAME_BYTES
"""What a link may have waiting before it is counted among what all links hold; most never have more."""


class Transfer:
    """A long frame on its way out, a chunk at a time.

    Attributes:
        offset: how many bytes of `data` have gone out.
        written: set when the last one has.
    """

    __slots__ = ("data", "direction", "number", "offset", "written")

    def __init__(self, number: int, direction: Direction, data: bytes) -> None:
        self.number: int = number
        self.direction: Direction = direction
        self.data: memoryview = memoryview(data)
        self.offset: int = 0
        self.written: trio.Event = trio.Event()


class Outbox:
    """Queues and writes the frames of one link.

    Attributes:
        is_held: whether `put` leaves the writing to a `flush` that will come.
        is_bursty: whether the peer's last words came in a burst, so that those that they wake will say more than one.
        put_bytes: how many bytes have been put in so far.
        sent_bytes: how many have been handed to the operating system.
    """

    def __init__(
        self,
        sock: socket.socket,
        window_bytes: int,
        on_stuck: Callable[[str], None],
        first: bytes,
        holding: Holding,
    ) -> None:
        self._sock = sock
        self._on_stuck = on_stuck
        self._holding = holding
        self._counted_bytes = 0
        self._frames: deque[bytes] = deque([first] if first else [])
        self._waiting_bytes = len(first)
        self._transfers: deque[Transfer] = deque()
        self._numbers = 0
        self._window_bytes = window_bytes
        self._windows: dict[Direction, ByteWindow] = {}  # most links need none
        self._room_waiters = trio.lowlevel.ParkingLot()
        self._writer: trio.lowlevel.Task | None = None
        self._rest = memoryview(b"")
        self._is_closed = False
        self.is_held: bool = False
        self.is_bursty: bool = False
        self.put_bytes: int = len(first)
        self.sent_bytes: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._frames or self._transfers)

    @property
    def has_room(self) -> bool:
        """Whether those who can wait needn't."""
        return self._waiting_bytes <= _HIGH_BYTES

    def put(self, frame: Frame) -> None:
        """Have `frame` written with the next ones."""
        self.put_encoded(encode_frame(frame))

    def put_encoded(self, encoded: bytes) -> None:
        """Have an encoded frame of at most `CHUNK_BYTES` written with the next ones."""
        data = with_length(encoded)
        size = len(data)
        if self._is_closed:
            return
        self._frames.append(data)
        self._waiting_bytes += size + _FRAME_COST_BYTES
        self.put_bytes += size
        if self._waiting_bytes > _MAX_BYTES:
            self._on_stuck("it does not read what it is sent")
        elif self._waiting_bytes > _UNCOUNTED_BYTES:
            self._count()
        if len(self._frames) >= _LOT_FRAMES and not self._rest:  # with a rest, the writer waits for room to write
            self._write_now()
        elif self._writer is not None and not self.is_held:
            self.wake()

    def put_alone(self, encoded: bytes) -> None:
        """Do what `put_encoded` does for the only call in progress: it is written at once.

        Except in a burst, where more will follow to write with.
        """
        if self.is_bursty or self.is_held or self._writer is None:
            self.put_encoded(encoded)
            return
        self.is_held = True
        self.put_encoded(encoded)
        self.is_held = False
        self.flush()

    def flush(self) -> None:
        """Write what waits now, as far as it goes, without the detour through the writer.

        For those who know that nothing more will be put in this scheduler pass.
        """
        if self._writer is not None and not self.is_empty:  # else the writer is at work, and sees to it
            self._write_now()

    def _count(self) -> None:
        """Tell how much waits: all links together may hold so much."""
        waiting_bytes = self._waiting_bytes + len(self._rest)
        counted_bytes = waiting_bytes if waiting_bytes > _UNCOUNTED_BYTES else 0
        change, self._counted_bytes = counted_bytes - self._counted_bytes, counted_bytes
        if change:
            self._holding.change(whole=change)

    def _write_now(self) -> None:
        data = self._next_write()
        try:
            sent = self._sock.send(data)
        except OSError:  # it would block, or is broken: the writer will find out
            sent = 0
        self.sent_bytes += sent
        self._rest = memoryview(data)[sent:]
        if self._rest or self._counted_bytes:
            self._count()
        if self._rest or self._room_waiters or not self.is_empty:
            self.wake()

    async def room(self) -> None:
        """Wait while too much waits to be written."""
        while self._waiting_bytes > _HIGH_BYTES and not self._is_closed:
            await self._room_waiters.park()
        if self._is_closed:
            await trio.lowlevel.checkpoint_if_cancelled()  # those that answer calls needn't make the answer any more

    def _window(self, direction: Direction) -> ByteWindow:
        window = self._windows.get(direction)
        if window is None:
            window = self._windows[direction] = ByteWindow(self._window_bytes)
        return window

    def is_window_free(self, encoded: bytes, direction: Direction) -> bool:
        """Whether the transfer of a longer frame can begin without waiting for others to end."""
        return self._window(direction).is_free(len(encoded))

    async def send_long(self, encoded: bytes, direction: Direction, begun: Callable[[Transfer], None]) -> None:
        """Send a longer frame in chunks; return when the last one has been written.

        When cancelled, the transfer is abandoned, and the frame never arrives, unless it has been written by then.

        Args:
            encoded: the frame.
            direction: the window that it counts against.
            begun: called with the transfer when the window has room for it.
        """
        await self._window(direction).acquire(len(encoded))
        if self._is_closed:
            return
        self._numbers += 1
        transfer = Transfer(self._numbers, direction, encoded)
        begun(transfer)
        self._transfers.append(transfer)
        self.wake()
        try:
            await transfer.written.wait()
        except trio.Cancelled:
            if not transfer.written.is_set():
                self._abandon(transfer)
            raise

    def _abandon(self, transfer: Transfer) -> None:
        self._transfers.remove(transfer)
        if transfer.offset:
            self.put(Abandon(transfer.number))
        self._window(transfer.direction).release(len(transfer.data) - transfer.offset)

    def release(self, direction: Direction, size: int) -> None:
        """The peer holds `size` bytes of chunked messages less."""
        self._window(direction).release(size)

    def close(self) -> None:
        """Let go everyone who waits; nothing will be written any more."""
        self._is_closed = True
        self._room_waiters.unpark_all()
        for window in self._windows.values():
            window.close()
        for transfer in self._transfers:
            transfer.written.set()
        self._transfers.clear()
        self._frames.clear()
        self._waiting_bytes = self._counted_bytes = 0
        self._rest = memoryview(b"")
        self._on_stuck = _ignore  # the link's; it is over

    def wake(self) -> None:
        """Have the writer look again."""
        writer, self._writer = self._writer, None
        if writer is not None:
            trio.lowlevel.reschedule(writer)

    async def write(self, is_finished: Callable[[], bool]) -> None:
        """Write what waits, as long as it takes until `is_finished` while nothing waits."""
        while True:
            while self.is_empty and not self._rest:
                if self._room_waiters:
                    self._room_waiters.unpark_all()
                if is_finished():
                    return
                self._writer = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._forget_writer)
            if not self._rest:
                self._rest = memoryview(self._next_write())
                self._count()
            await self._write_rest()
            self._count()
            if self._room_waiters and self.has_room:
                self._room_waiters.unpark_all()
            if not self.is_empty:
                await trio.lowlevel.checkpoint()

    def _forget_writer(self, _: object) -> trio.lowlevel.Abort:
        self._writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _next_write(self) -> bytes:
        """Return what goes out next: the frames that wait, and one chunk of the transfer whose turn it is."""
        frames = self._frames
        if self._waiting_bytes <= _WRITE_BYTES:
            parts = list(frames)
            frames.clear()
            self._waiting_bytes = 0
        else:
            parts, size = [], 0
            while frames and size < _WRITE_BYTES:
                size += len(frames[0]) + _FRAME_COST_BYTES
                parts.append(frames.popleft())
            self._waiting_bytes -= size
        if self._transfers:
            parts.append(self._next_chunk())
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next_chunk(self) -> bytes:
        transfer = self._transfers.popleft()
        part = transfer.data[transfer.offset : transfer.offset + CHUNK_BYTES]
        transfer.offset += len(part)
        is_last = transfer.offset == len(transfer.data)
        if is_last:
            transfer.written.set()
        else:
            self._transfers.append(transfer)
        data = with_length(encode_frame(Chunk(transfer.number, transfer.direction, is_last, bytes(part))))
        self.put_bytes += len(data)
        return data

    async def _write_rest(self) -> None:
        while self._rest:
            try:
                sent = self._sock.send(self._rest)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)
                continue
            self.sent_bytes += sent
            self._rest = self._rest[sent:]


def _ignore(_: str) -> None: ...
