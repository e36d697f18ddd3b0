"""The reading of long parts of blobs, in pieces, as they arrive.

Such a frame is longer than any other may be, and its data is its last element. So its beginning says how much data
follows, and the pieces are passed on as views: they are copied once, into the blob.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .frames import LENGTH_BYTES, MAX_BLOB_FRAME_BYTES, MAX_FRAME_BYTES, Blob, FrameError, encode_frame, pack_length

__all__ = ["BlobParts"]

_decode = msgspec.msgpack.Decoder(Blob).decode
_MARK: Final = encode_frame(Blob(0, 0, False, b""))[:2]
_HEAD_BYTES: Final = 24
_LONG_BYTES: Final = b"\xc6"
_EMPTY_BYTES: Final = b"\xc4\x00"
"""MessagePack: the mark of long bytes, before their length in 32 bits; and empty bytes."""


class BlobParts:
    """Reads long parts of blobs.

    Attributes:
        is_amid: whether data of the current part is to come.
    """

    __slots__ = ("_left", "_part", "_size", "is_amid")

    def __init__(self) -> None:
        self.is_amid: bool = False
        self._part = Blob(0, 0, False, b"")
        self._size = self._left = 0

    def begin(self, data: bytes, start: int, size: int) -> int:
        """Begin with the frame of `size` bytes at `start`; return the place of its data, 0 if its head is incomplete.

        Raises:
            FrameError: it is too long, or no part of a blob.
        """
        head = data[start : start + _HEAD_BYTES]
        if size > MAX_BLOB_FRAME_BYTES or not _MARK.startswith(head[: len(_MARK)]):
            raise FrameError(f"a frame of {size:,} bytes; at most {MAX_FRAME_BYTES:,} are allowed")
        if len(head) < _HEAD_BYTES:
            return 0
        place = -1
        while (place := head.find(_LONG_BYTES, place + 1)) >= 0:
            data_place = place + len(_LONG_BYTES) + LENGTH_BYTES
            if head[place + len(_LONG_BYTES) : data_place] == pack_length(size - data_place):
                self._part = _decode(head[:place] + _EMPTY_BYTES)
                self._size, self._left, self.is_amid = size, size - data_place, True
                return start + data_place
        raise FrameError("a part of a blob whose bytes are not at its end")

    def take(self, data: bytes, start: int) -> tuple[Blob, int, int]:
        """Return the next piece, from `start` on, the size of its frame, and the place after it."""
        piece, part = memoryview(data)[start : start + self._left], self._part
        self._left -= len(piece)
        self.is_amid = self._left > 0
        is_last = part.last and not self.is_amid
        return Blob(part.transfer, part.direction, is_last, piece), self._size, start + len(piece)  # type: ignore[arg-type]  # a view
