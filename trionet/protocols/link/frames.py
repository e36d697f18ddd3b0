"""The wire format of the link.

A connection starts with the `PREFACE` and one `Hello` in each direction. Frames follow: a 32-bit big-endian length and
a MessagePack array. The array's first element is the number of the frame's type. New versions append elements, and
readers ignore unknown ones; another major version has another preface.

Sans-IO: bytes in, frames out. Invariants: for any input, `FrameDecoder.feed` returns or raises `FrameError`. It holds
at most one frame's bytes. Its frames don't depend on how the bytes were split.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import msgspec

from trionet.bounds import (
    LARGE_MAP_BYTES,
    MAX_CONTAINERS,
    holds_large_map_of_lists,
    messagepack_holds_more,
    over_limit,
)
from trionet.errors import IndefiniteError, error_to_wire
from trionet.identity import NodeAddress
from trionet.nesting import PACKETS
from trionet.raising import Unreadable, refuse_extension

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "CALLS",
    "CHUNK_BYTES",
    "DIRECTIONS",
    "KINDS",
    "LENGTH_BYTES",
    "MAJOR_VERSION",
    "MARK",
    "MAX_FRAME_BYTES",
    "PREFACE",
    "REPLIES",
    "Abandon",
    "Bye",
    "CallFrame",
    "Cancel",
    "Cancelled",
    "Chunk",
    "Credit",
    "Depth",
    "Direction",
    "End",
    "Error",
    "Frame",
    "FrameDecoder",
    "FrameError",
    "Hello",
    "Item",
    "OwnCallFrame",
    "Ping",
    "Pong",
    "Reply",
    "Window",
    "decode_frame",
    "direction_of_calls",
    "encode_frame",
    "pack_length",
    "split_first",
    "with_length",
]

MAJOR_VERSION: Final = 1
MARK: Final = b"\xf5"
"""The first byte of a link; no HTTP request and no TLS record begins with it."""

PREFACE: Final = MARK + b"trionet\r\n\r\n" + bytes([MAJOR_VERSION])
"""The empty line makes HTTP servers answer at once; without it some wait for more input."""

CHUNK_BYTES: Final = 63 * 1024
"""Longer frames travel as `Chunk` frames, so that short ones needn't wait for them. With its frame's own
bytes a chunk fits into a record of 65,535 bytes, the largest of TLS and of Noise."""

MAX_FRAME_BYTES: Final = CHUNK_BYTES + 1024

_LENGTH = struct.Struct(">I")
LENGTH_BYTES = _LENGTH.size

CALLS: Final = 0
REPLIES: Final = 1
DIRECTIONS: Final = PACKETS + 2
Depth = Annotated[int, msgspec.Meta(ge=0, le=PACKETS)]
"""How deeply a call is nested in others; see `trionet.nesting`."""
Direction = Annotated[int, msgspec.Meta(ge=0, lt=DIRECTIONS)]
"""Which window a chunked message counts against: `REPLIES`; `CALLS`, for calls at depth 0; from 2 on deeper ones."""


_Number = Annotated[int, msgspec.Meta(ge=0)]
_Counter = Annotated[int, msgspec.Meta(ge=-1)]
_Most = Annotated[int, msgspec.Meta(ge=1)]  # with less, callers would wait for ever


class FrameError(Exception):
    """The peer sent an invalid frame, or violated the protocol."""


class _Frame(msgspec.Struct, array_like=True):
    pass


class Hello(_Frame, tag=0):
    """The first frame in each direction.

    Attributes:
        address: the sender's listening address; None if it has none.
        max_calls: the calls of the receiver that it accepts at once, at each depth.
        window_bytes: the bytes of chunked calls at each depth, and of chunked replies, that it holds at once.
        max_message_bytes: the largest message it accepts; at most `window_bytes`.
        features: names of optional parts of the protocol that it supports.
        life: on a sealed link, the sender's boot id and the counter of its last sealed datagram, -1 before the first.
    """

    address: NodeAddress | None
    max_calls: _Most
    window_bytes: _Most
    max_message_bytes: _Most
    features: list[str] = []
    life: tuple[_Number, _Counter] | None = None


class OwnCallFrame(_Frame, tag=1):
    """Run a method, as the sender's own call: the start of a `CallFrame`, which readers decode.

    Attributes:
        msg_id: unique among the sender's calls on this link.
        timeout_s: the rest of the caller's time; None without a deadline.
        credit: None for a call; for a stream, the initial credit for items, in bytes.
        depth: its depth of nesting.
    """

    msg_id: int
    gid: str
    service: str
    method: str
    args: Any
    kwargs: Any
    id: str
    timeout_s: float | None
    credit: int | None = None
    depth: Depth = 0


class CallFrame(OwnCallFrame, tag=1):
    """Run a method, in the name of a principal.

    Attributes:
        principal: the text of the principal for whom the sender forwards the call; empty for its own.
    """

    principal: str = ""


class Reply(_Frame, tag=2):
    """The value of a call."""

    in_reply_to: int
    value: Any


class Error(_Frame, tag=3):
    """The error of a call or stream; it has ended."""

    in_reply_to: int
    error: dict[str, Any]


class Cancel(_Frame, tag=4):
    """The caller has cancelled the call. Any answer confirms it, `Cancelled` included."""

    msg_id: int


class Cancelled(_Frame, tag=5):
    """The handler was cancelled, and has finished."""

    in_reply_to: int


class Item(_Frame, tag=6):
    """One item of a stream."""

    in_reply_to: int
    value: Any


class End(_Frame, tag=7):
    """The end of a stream."""

    in_reply_to: int


class Credit(_Frame, tag=8):
    """Credit for more items of a stream, in bytes."""

    msg_id: int
    size: int


class Chunk(_Frame, tag=9):
    """A part of a longer frame.

    Attributes:
        transfer: the number of the longer frame; unique among the sender's on this link.
        direction: its window.
        last: whether this part completes the frame.
    """

    transfer: int
    direction: Direction
    last: bool
    data: bytes


class Abandon(_Frame, tag=10):
    """The rest of a transfer will not come."""

    transfer: int


class Window(_Frame, tag=11):
    """The receiver has released chunked messages of `size` bytes."""

    direction: Direction
    size: int


class Ping(_Frame, tag=12):
    """Answered by a `Pong` with the same token."""

    token: int


class Pong(_Frame, tag=13):
    """The answer to a `Ping`."""

    token: int


class Bye(_Frame, tag=14):
    """The sender makes no more calls. The link closes when both sides have sent bye and all calls are answered."""

    reason: str


Frame = (
    Hello
    | CallFrame
    | Reply
    | Error
    | Cancel
    | Cancelled
    | Item
    | End
    | Credit
    | Chunk
    | Abandon
    | Window
    | Ping
    | Pong
    | Bye
)

KINDS: Final = {kind.__struct_config__.tag: kind.__name__.lower().removesuffix("frame") for kind in get_args(Frame)}
"""The frames' names in traces, by their numbers."""

pack_length: Callable[[int], bytes] = _LENGTH.pack
_unpack_length = _LENGTH.unpack_from
encode_frame: Callable[[Frame | OwnCallFrame], bytes] = msgspec.msgpack.Encoder().encode
"""Returns a frame without its length."""

_encode: Callable[[Any], bytes] = encode_frame
_decode = msgspec.msgpack.Decoder(Frame, ext_hook=refuse_extension).decode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_OWN_CONTAINERS: Final = 3  # the frame, its arguments, those by name
_SHORT_LISTS: Final = range(0x90, 0xA0)
_VALUES: Final = frozenset({"args", "kwargs", "value"})
_VALUE_FRAMES: Final = {_encode(kind.__struct_config__.tag): kind for kind in (CallFrame, Reply, Error, Item)}
_NO_FRAME = (msgspec.MsgspecError, ValueError, RecursionError)


def direction_of_calls(depth: int) -> Direction:
    """Return the window for the calls at a depth."""
    return depth + REPLIES if depth else CALLS


def with_length(encoded: bytes) -> bytes:
    """Return an encoded frame with its length before it."""
    return pack_length(len(encoded)) + encoded


def decode_frame(encoded: bytes | bytearray | memoryview, max_containers: int = MAX_CONTAINERS) -> Frame:
    """Return the decoded frame.

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
        frame: Frame = _decode(encoded)
    except _NO_FRAME as exc:
        raise FrameError(f"not a frame: {exc}") from exc
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
    """

    def __init__(self, max_containers: int = MAX_CONTAINERS, rest: bytes = b"") -> None:
        self.rest: bytes = rest
        self._max_containers = max_containers
        self._short_bytes = min(max_containers, LARGE_MAP_BYTES)

    def feed(self, data: bytes) -> Iterator[tuple[Frame, int]]:
        """Yield the frames that `data` completes, each with its size in bytes. Iterate to the end before feeding more.

        Raises:
            FrameError: a frame is invalid or too long; the stream is unusable after that.
        """
        if self.rest:
            data = self.rest + data
        start, end, short, most = 0, len(data), self._short_bytes, self._max_containers
        try:
            while end - start >= LENGTH_BYTES:
                (size,) = _unpack_length(data, start)
                if size > MAX_FRAME_BYTES:
                    _checked_size(data, start)
                begin = start + LENGTH_BYTES
                stop = begin + size
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
