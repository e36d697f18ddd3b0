"""The link's frames: what two nodes say to each other, as bytes.

A connection starts with the `PREFACE` and one `Hello` in each direction. After that, frames: a 32-bit big-endian
length, then a MessagePack array whose first element is the frame's number. The array grows at its end only, and a
reader ignores what it doesn't know there; another major version has another preface.

Sans-IO: bytes in, frames out. Invariants: `FrameDecoder.feed` returns or raises `FrameError`, whatever comes in; it
holds at most one frame's bytes; frames come out the same however their bytes were cut.
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
"""The empty line has an HTTP server answer at once that this is no request; else some wait for more."""

CHUNK_BYTES: Final = 63 * 1024
"""A frame longer than this travels as `Chunk` frames, so that short ones needn't wait for it. With its frame's own
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


_Most = Annotated[int, msgspec.Meta(ge=1)]  # with less, whoever calls would wait for ever


class FrameError(Exception):
    """The peer sent what is no frame."""


class _Frame(msgspec.Struct, array_like=True):
    pass


class Hello(_Frame, tag=0):
    """The first frame in each direction.

    Attributes:
        address: where the sender listens; None for one that doesn't.
        max_calls: how many calls of the receiver it will have in progress at once, at each depth.
        window_bytes: how many bytes of chunked calls at each depth, and of chunked replies, it will hold at once.
        max_message_bytes: the largest message it takes; at most `window_bytes`.
        features: names of optional parts of the protocol that it knows.
    """

    address: NodeAddress | None
    max_calls: _Most
    window_bytes: _Most
    max_message_bytes: _Most
    features: list[str] = []


class CallFrame(_Frame, tag=1):
    """Run a method.

    Attributes:
        msg_id: unique among the sender's calls on this link.
        timeout_s: what is left of the caller's time; None without a deadline.
        credit: None for a call; for a stream, how many bytes of items may be sent at first.
        depth: how deeply it is nested in others.
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


class Reply(_Frame, tag=2):
    """The value of a call."""

    in_reply_to: int
    value: Any


class Error(_Frame, tag=3):
    """The error of a call or stream; it has ended."""

    in_reply_to: int
    error: dict[str, Any]


class Cancel(_Frame, tag=4):
    """The caller doesn't want the answer any more. Answered by whatever ends the call, `Cancelled` included."""

    msg_id: int


class Cancelled(_Frame, tag=5):
    """The handler was cancelled, and has finished."""

    in_reply_to: int


class Item(_Frame, tag=6):
    """One item of a stream."""

    in_reply_to: int
    value: Any


class End(_Frame, tag=7):
    """A stream has come to its end."""

    in_reply_to: int


class Credit(_Frame, tag=8):
    """The reader of a stream has taken items of so many bytes."""

    msg_id: int
    size: int


class Chunk(_Frame, tag=9):
    """A part of a longer frame.

    Attributes:
        transfer: which one; unique among the sender's on this link.
        direction: the window it counts against.
        last: whether the frame is complete with this part.
    """

    transfer: int
    direction: Direction
    last: bool
    data: bytes


class Abandon(_Frame, tag=10):
    """The rest of a transfer will not come."""

    transfer: int


class Window(_Frame, tag=11):
    """Chunked messages of so many bytes are no longer held."""

    direction: Direction
    size: int


class Ping(_Frame, tag=12):
    """Answered by a `Pong` with the same token."""

    token: int


class Pong(_Frame, tag=13):
    """The answer to a `Ping`."""

    token: int


class Bye(_Frame, tag=14):
    """The sender will make no more calls on this link. It closes when both have said so and all calls are answered."""

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

pack_length = _LENGTH.pack
_unpack_length = _LENGTH.unpack_from
encode_frame: Callable[[Frame], bytes] = msgspec.msgpack.Encoder().encode
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
    """Return which window the calls at a depth count against."""
    return depth + REPLIES if depth else CALLS


def with_length(encoded: bytes) -> bytes:
    """Return an encoded frame with its length before it."""
    return pack_length(len(encoded)) + encoded


def decode_frame(encoded: bytes | bytearray | memoryview, max_containers: int = MAX_CONTAINERS) -> Frame:
    """Return the frame that `encoded` is.

    Of one that holds more than `max_containers` lists, maps and so on, the values are `Unreadable`: the call that it
    belongs to fails, and the link goes on.

    Raises:
        FrameError: it is none.
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
    """Return a frame, of which the values that it carries are not decoded."""
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
    """Cuts a stream of bytes into frames.

    Attributes:
        rest: the bytes of a frame that is incomplete; at first the start of the stream.
    """

    def __init__(self, max_containers: int = MAX_CONTAINERS, rest: bytes = b"") -> None:
        self.rest: bytes = rest
        self._max_containers = max_containers
        self._short_bytes = min(max_containers, LARGE_MAP_BYTES)

    def feed(self, data: bytes) -> Iterator[tuple[Frame, int]]:
        """Give the frames that are complete with `data`, each with its size in bytes. Use it up before feeding more.

        Raises:
            FrameError: what came is no frame, or one that is too long; the stream is of no use after that.
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
                frame = data[begin:stop]  # most are short, and a copy is less work than a view
                if size <= short or (size <= most and b"\xde" not in frame and b"\xdf" not in frame):
                    yield _decode(frame), size  # too short to hold too many containers, or without large maps
                else:
                    yield decode_frame(frame, most), size
        except _NO_FRAME as exc:
            raise FrameError(f"not a frame: {exc}") from exc
        self.rest = data[start:]
