"""The reading of the link's frames.

Sans-IO: bytes in, frames out. Invariants: for any input, `FrameDecoder.feed` returns or raises `FrameError`. It holds
at most one frame's bytes. Its frames don't depend on how the bytes were split, except that a long part of a blob comes
in pieces, as it arrives.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.blobs import from_blobs
from trionet.bounds import (
    LARGE_MAP_BYTES,
    MAX_CONTAINERS,
    holds_large_map_of_lists,
    messagepack_holds_more,
    over_limit,
)
from trionet.errors import IndefiniteError, error_to_wire
from trionet.raising import Unreadable, refuse_extension

from .blob_parts import BlobParts
from .frames import (
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    CallFrame,
    Error,
    Frame,
    FrameError,
    Item,
    Reply,
    encode_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["FrameDecoder", "decode_frame", "split_first"]

_unpack_length = struct.Struct(">I").unpack_from
_encode: Callable[[Any], bytes] = encode_frame
_decode = msgspec.msgpack.Decoder(Frame, ext_hook=refuse_extension).decode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_OWN_CONTAINERS: Final = 3  # the frame, its arguments, those by name
_SHORT_LISTS: Final = range(0x90, 0xA0)
_VALUES: Final = frozenset({"args", "kwargs", "value"})
_VALUE_FRAMES: Final = {_encode(kind.__struct_config__.tag): kind for kind in (CallFrame, Reply, Error, Item)}
_NO_FRAME = (msgspec.MsgspecError, ValueError, RecursionError)


def decode_frame(
    encoded: bytes | bytearray | memoryview, max_containers: int = MAX_CONTAINERS, blobs: Sequence[bytes] = ()
) -> Frame:
    """Return the decoded frame, which holds these blobs.

    If it holds more than `max_containers` lists, maps and so on, its values are `Unreadable`: its call fails, and the
    link stays open.

    Raises:
        FrameError: `encoded` is no frame.
    """
    try:
        if len(encoded) > min(max_containers, LARGE_MAP_BYTES):
            encoded = bytes(encoded)
            if holds_large_map_of_lists(encoded):
                raise FrameError("lists are the keys of a map")
            if len(encoded) > max_containers and messagepack_holds_more(encoded, max_containers + _OWN_CONTAINERS):
                return _without_values(encoded, max_containers)
        frame: Frame = _decode_with(encoded, blobs) if blobs else _decode(encoded)
    except _NO_FRAME as exc:
        raise FrameError(f"not a frame: {exc}") from exc
    return frame


def _decode_with(encoded: bytes | bytearray | memoryview, blobs: Sequence[bytes]) -> Frame:
    left = iter(blobs)
    frame: Frame = msgspec.msgpack.Decoder(Frame, ext_hook=from_blobs(left)).decode(encoded)
    if next(left, None) is not None:
        raise FrameError("it has more blobs than it holds")
    return frame


def _without_values(encoded: bytes, max_containers: int) -> Frame:
    """Return a frame without decoding its values."""
    if encoded[0] not in _SHORT_LISTS:
        raise FrameError("not a frame: its array is too long")
    elements: list[Any] = _split(encoded)
    kind = _VALUE_FRAMES.get(bytes(elements[0]))
    if kind is None:
        raise FrameError("it holds too many containers")
    reason = over_limit(max_containers)
    for place, name in enumerate(kind.__struct_fields__, 1):
        if name == "error":
            elements[place] = error_to_wire(IndefiniteError(reason))
        elif name in _VALUES and place < len(elements):
            elements[place] = None
    frame: Frame = _decode(_encode(elements))
    for name in _VALUES.intersection(kind.__struct_fields__):
        setattr(frame, name, Unreadable(reason))
    return frame


def split_first(data: bytes) -> tuple[Frame, bytes] | None:
    """Return the first frame of a stream of bytes, and the rest; None while it is incomplete.

    Raises:
        FrameError: it is none.
    """
    if len(data) < LENGTH_BYTES:
        return None
    stop = LENGTH_BYTES + _checked_size(data, 0)
    return (decode_frame(data[LENGTH_BYTES:stop]), data[stop:]) if len(data) >= stop else None


def _checked_size(data: bytes, start: int) -> int:
    size: int = _unpack_length(data, start)[0]
    if size > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {size:,} bytes; at most {MAX_FRAME_BYTES:,} are allowed")
    return size


class FrameDecoder:
    """Splits a stream of bytes into frames.

    Attributes:
        rest: the bytes of an incomplete frame; initially the start of the stream.
        blob_parts: reads the long parts of blobs.
    """

    __slots__ = ("_max_containers", "_short_bytes", "blob_parts", "rest")

    def __init__(self, max_containers: int = MAX_CONTAINERS, rest: bytes = b"") -> None:
        self.rest: bytes = rest
        self.blob_parts: BlobParts = BlobParts()
        self._max_containers = max_containers
        self._short_bytes = min(max_containers, LARGE_MAP_BYTES)

    @property
    def is_amid_frame(self) -> bool:
        """Whether an incomplete frame has been fed."""
        return bool(self.rest) or self.blob_parts.is_amid

    def feed(self, data: bytes) -> Iterator[tuple[Frame, int]]:
        """Yield the frames that `data` completes, each with its size in bytes. Iterate to the end before feeding more.

        Raises:
            FrameError: a frame is invalid or too long; the stream is unusable after that.
        """
        if self.rest:
            data = self.rest + data
        start, end, short, most = 0, len(data), self._short_bytes, self._max_containers
        try:
            if self.blob_parts.is_amid and data:
                piece, size, start = self.blob_parts.take(data, 0)
                yield piece, size
            while end - start >= LENGTH_BYTES:
                (size,) = _unpack_length(data, start)
                begin = start + LENGTH_BYTES
                stop = begin + size
                if size > MAX_FRAME_BYTES:
                    begin = self.blob_parts.begin(data, begin, size)
                    if not begin:
                        break
                    piece, size, start = self.blob_parts.take(data, begin)
                    yield piece, size
                    continue
                if stop > end:
                    break
                start = stop
                frame = data[begin:stop]  # a copy of a short frame is faster than a view
                if size <= short or (size <= most and b"\xde" not in frame and b"\xdf" not in frame):
                    yield _decode(frame), size  # too short to hold too many containers, or without large maps
                else:
                    yield decode_frame(frame, most), size
        except _NO_FRAME as exc:
            raise FrameError(f"not a frame: {exc}") from exc
        self.rest = data[start:]
