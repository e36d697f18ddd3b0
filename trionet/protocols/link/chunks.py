"""Long frames, which travel in chunks, and their blobs: sending and reassembly.

The blobs of a frame are sent before it, as views of the values that they are, and each is gathered in the object that
becomes the value. So no step takes longer for a longer blob.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from trionet.blobs import encode_apart

from .frames import (
    BLOB_PART_BYTES,
    CHUNK_BYTES,
    DIRECTIONS,
    MAX_FRAME_BYTES,
    Blob,
    Chunk,
    Direction,
    FrameError,
    encode_frame,
    pack_length,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .frames import Frame, OwnCallFrame
    from .holdings import Holding

__all__ = ["LongFrame", "Reassembly", "Received", "Transfer", "encode_long"]

_FRAME_SLACK_BYTES: Final = 4096
_LEAST_BYTES: Final = 4096
"""Bounds the number of transfers, and of blobs, within one window."""

_EMPTY_BYTES: Final = b"\xc4\x00"
_LONG_BYTES: Final = b"\xc6"
"""MessagePack: empty bytes, and the head of long ones, before their length in 32 bits."""


class LongFrame:
    """An encoded frame with blobs. Its length is that of all of it, and more than `CHUNK_BYTES`.

    Attributes:
        encoded: the frame.
        blobs: its blobs.
    """

    __slots__ = ("_size", "blobs", "encoded")

    def __init__(self, encoded: bytes, blobs: Sequence[bytes]) -> None:
        self.encoded: bytes = encoded
        self.blobs: Sequence[bytes] = blobs
        self._size = len(encoded) + sum(map(len, blobs))

    def __len__(self) -> int:
        return self._size


def encode_long(frame: Frame | OwnCallFrame) -> LongFrame:
    """Return a frame whose values hold blobs."""
    blobs: list[bytes] = []
    return LongFrame(encode_apart(encode_frame, frame, blobs), blobs)


class Transfer:
    """A long frame that is sent in chunks, after its blobs.

    Attributes:
        direction: its window.
        size: its size in bytes.
        owner: its call; None for a stream's item.
        number: unique on the link; 0 until the window has room for it.
        offset: the number of bytes in chunks so far.
        is_over: whether its last chunk was made, or it was abandoned.
        waiter: for the driver's use.
    """

    __slots__ = ("_blobs", "_encoded", "_place", "direction", "is_over", "number", "offset", "owner", "size", "waiter")

    def __init__(self, direction: Direction, data: bytes | LongFrame, owner: Any) -> None:
        self._encoded, blobs = (data.encoded, data.blobs) if isinstance(data, LongFrame) else (data, ())
        self._blobs = [memoryview(blob) for blob in reversed(blobs)]
        self._place = 0  # in the last of the blobs, or in the frame
        self.direction: Direction = direction
        self.size: int = len(data)
        self.owner: Any = owner
        self.number: int = 0
        self.offset: int = 0
        self.is_over: bool = False
        self.waiter: Any = None

    def next_chunk(self, blob_part_bytes: int = BLOB_PART_BYTES) -> tuple[bytes, memoryview]:
        """Return the next chunk, or part of a blob: the beginning of its frame, from the length on, and the data."""
        kind: type[Blob | Chunk]
        if self._blobs:
            kind, whole, most = Blob, self._blobs[-1], blob_part_bytes
        else:
            kind, whole, most = Chunk, memoryview(self._encoded), CHUNK_BYTES
        part = whole[self._place : self._place + most]
        size = len(part)
        self._place += size
        self.offset += size
        is_last = self._place == len(whole)
        head = encode_frame(kind(self.number, self.direction, is_last, b"")).removesuffix(_EMPTY_BYTES) + _LONG_BYTES
        head += pack_length(size)
        if is_last:
            self._end_part()
        return pack_length(len(head) + size) + head, part

    def _end_part(self) -> None:
        self._place = 0
        if self._blobs:
            self._blobs.pop()
        else:
            self.end()

    def end(self) -> None:
        """Stop, and drop the data."""
        self.is_over = True
        self._encoded = b""
        self._blobs.clear()


class Received:
    """A frame that is received in chunks, after its blobs.

    Attributes:
        direction: its window.
        size: its size in bytes, so far.
        blobs: the complete blobs.
    """

    __slots__ = ("_blob", "_encoded", "blobs", "direction", "size")

    def __init__(self, direction: Direction) -> None:
        self.direction: Direction = direction
        self.size: int = 0
        self.blobs: list[bytes] = []
        self._encoded = BytesIO()
        self._blob: BytesIO | None = None

    @property
    def encoded(self) -> bytes:
        """The frame."""
        return self._encoded.getvalue()

    def add(self, chunk: Chunk) -> None:
        """Add a chunk of the frame.

        Raises:
            FrameError: a blob is incomplete.
        """
        if self._blob is not None:
            raise FrameError("a chunk amid a blob")
        self._encoded.write(chunk.data)

    def add_to_blob(self, part: Blob) -> None:
        """Add a part of a blob.

        Raises:
            FrameError: the blob is too short to be one.
        """
        if self._blob is None:
            self._blob = BytesIO()
        self._blob.write(part.data)
        if part.last:
            blob = self._blob.getvalue()  # not a copy
            if len(blob) < _LEAST_BYTES:
                raise FrameError(f"a blob of {len(blob)} bytes")
            self.blobs.append(blob)
            self._blob = None


class Reassembly:
    """Reassembles frames from chunks.

    Invariants: it holds no more bytes of each direction than the window announced to the peer. Each byte that it holds
    is counted in the link's `Holding`.
    """

    __slots__ = ("_held_bytes", "_holding", "_most_bytes", "_partial", "_window_bytes")

    def __init__(self, window_bytes: int, max_message_bytes: int, holding: Holding) -> None:
        self._window_bytes = window_bytes
        self._most_bytes = max_message_bytes + _FRAME_SLACK_BYTES
        self._holding = holding
        self._partial: dict[int, Received] = {}
        self._held_bytes = [0] * DIRECTIONS

    def add(self, chunk: Chunk) -> Received | None:
        """Add a chunk; return the frame that it completes.

        The frame's bytes are held until `release`.

        Raises:
            FrameError: the peer broke the rules.
        """
        size = len(chunk.data)
        if not chunk.last and size < _LEAST_BYTES:
            raise FrameError(f"a chunk of {size} bytes that is not the last")
        received = self._partial.get(chunk.transfer) or self._begin(chunk)
        received.add(chunk)
        self._hold(received, size)
        if not chunk.last or chunk.transfer not in self._partial:  # the account may have just closed this link
            return None
        del self._partial[chunk.transfer]
        self._holding.change(partial=-received.size, whole=received.size)
        return received

    def add_to_blob(self, part: Blob, frame_bytes: int) -> None:
        """Add a part of a blob, or a piece of it, whose frame has so many bytes; see `add`."""
        size = frame_bytes if frame_bytes > MAX_FRAME_BYTES else len(part.data)  # longer ones are almost all data
        if not part.last and size < _LEAST_BYTES:
            raise FrameError(f"a part of a blob of {size} bytes that is not the last")
        received = self._partial.get(part.transfer) or self._begin(part)
        received.add_to_blob(part)
        self._hold(received, len(part.data))

    def _begin(self, first: Chunk | Blob) -> Received:
        received = self._partial[first.transfer] = Received(first.direction)
        return received

    def _hold(self, received: Received, size: int) -> None:
        received.size += size
        self._held_bytes[received.direction] += size
        if self._held_bytes[received.direction] > self._window_bytes or received.size > self._most_bytes:
            raise FrameError("more chunked bytes than it was allowed")
        self._holding.change(partial=size)

    def abandon(self, transfer: int) -> tuple[Direction, int] | None:
        """Drop an incomplete frame; return its direction and size. Its bytes are held until `release`."""
        received = self._partial.pop(transfer, None)
        if received is None:
            return None
        self._holding.change(partial=-received.size, whole=received.size)
        return received.direction, received.size

    def release(self, direction: Direction, size: int) -> None:
        """Release `size` bytes of complete frames."""
        self._held_bytes[direction] -= size
        self._holding.change(whole=-size)

    def clear(self) -> None:
        """Drop all incomplete frames."""
        self._partial.clear()
