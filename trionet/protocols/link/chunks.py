"""Long frames, which travel in chunks: sending and reassembly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .frames import CHUNK_BYTES, DIRECTIONS, Chunk, Direction, FrameError, encode_frame, with_length

if TYPE_CHECKING:
    from .holdings import Holding

__all__ = ["Reassembly", "Transfer"]

_FRAME_SLACK_BYTES: Final = 4096
_CHUNK_LEAST_BYTES: Final = 4096
"""Bounds the number of transfers within one window."""


class Transfer:
    """A long frame that is sent in chunks.

    Attributes:
        direction: its window.
        size: its size in bytes.
        owner: its call; None for a stream's item.
        number: unique on the link; 0 until the window has room for it.
        offset: the number of bytes in chunks so far.
        is_over: whether its last chunk was made, or it was abandoned.
        waiter: for the driver's use.
    """

    __slots__ = ("_data", "direction", "is_over", "number", "offset", "owner", "size", "waiter")

    def __init__(self, direction: Direction, data: bytes, owner: Any) -> None:
        self._data = memoryview(data)
        self.direction: Direction = direction
        self.size: int = len(data)
        self.owner: Any = owner
        self.number: int = 0
        self.offset: int = 0
        self.is_over: bool = False
        self.waiter: Any = None

    def next_chunk(self) -> bytes:
        """Return the next chunk, as a frame with its length."""
        part = self._data[self.offset : self.offset + CHUNK_BYTES]
        self.offset += len(part)
        is_last = self.offset == self.size
        data = with_length(encode_frame(Chunk(self.number, self.direction, is_last, bytes(part))))
        if is_last:
            self.end()
        return data

    def end(self) -> None:
        """Stop, and drop the data."""
        self.is_over = True
        self._data = memoryview(b"")


class Reassembly:
    """Reassembles frames from chunks.

    Invariants: it holds no more bytes of each direction than the window announced to the peer. Each byte that it holds
    is counted in the link's `Holding`.
    """

    def __init__(self, window_bytes: int, max_message_bytes: int, holding: Holding) -> None:
        self._window_bytes = window_bytes
        self._most_bytes = max_message_bytes + _FRAME_SLACK_BYTES
        self._holding = holding
        self._partial: dict[int, tuple[Direction, bytearray]] = {}
        self._held_bytes = [0] * DIRECTIONS

    def add(self, chunk: Chunk) -> tuple[Direction, bytearray] | None:
        """Add a chunk; return the frame that it completes, and its direction.

        The frame's bytes are held until `release`.

        Raises:
            FrameError: the peer broke the rules.
        """
        size = len(chunk.data)
        if not chunk.last and size < _CHUNK_LEAST_BYTES:
            raise FrameError(f"a chunk of {size} bytes that is not the last")
        direction, gathered = entry = self._partial.setdefault(chunk.transfer, (chunk.direction, bytearray()))
        gathered += chunk.data
        self._held_bytes[direction] += size
        if self._held_bytes[direction] > self._window_bytes or len(gathered) > self._most_bytes:
            raise FrameError("more chunked bytes than it was allowed")
        self._holding.change(partial=size)
        if not chunk.last or chunk.transfer not in self._partial:  # the account may have just closed this link
            return None
        del self._partial[chunk.transfer]
        self._holding.change(partial=-len(gathered), whole=len(gathered))
        return entry

    def abandon(self, transfer: int) -> tuple[Direction, int] | None:
        """Drop an incomplete frame; return its direction and size. Its bytes are held until `release`."""
        direction, gathered = self._partial.pop(transfer, (0, None))
        if gathered is None:
            return None
        self._holding.change(partial=-len(gathered), whole=len(gathered))
        return direction, len(gathered)

    def release(self, direction: Direction, size: int) -> None:
        """Release `size` bytes of complete frames."""
        self._held_bytes[direction] -= size
        self._holding.change(whole=-size)

    def clear(self) -> None:
        """Drop all incomplete frames."""
        self._partial.clear()
