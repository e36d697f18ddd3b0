"""The wire format of the link.

A connection starts with the `PREFACE` and one `Hello` in each direction. Frames follow: a 32-bit big-endian length and
a MessagePack array. The array's first element is the number of the frame's type. New versions append elements, and
readers ignore unknown ones; another major version has another preface.

`decoding` reads them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import msgspec

from trionet.blobs import BLOB_BYTES, refuse_blobs
from trionet.identity import NodeAddress
from trionet.nesting import PACKETS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BLOB_PART_BYTES",
    "CALLS",
    "CHUNK_BYTES",
    "DIRECTIONS",
    "KINDS",
    "LENGTH_BYTES",
    "MAJOR_VERSION",
    "MARK",
    "MAX_BLOB_FRAME_BYTES",
    "MAX_FRAME_BYTES",
    "PREFACE",
    "REPLIES",
    "Abandon",
    "Blob",
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
    "FrameError",
    "Hello",
    "Item",
    "OwnCallFrame",
    "Ping",
    "Pong",
    "Reply",
    "Window",
    "direction_of_calls",
    "encode_frame",
    "pack_length",
    "with_length",
]

MAJOR_VERSION: Final = 1
MARK: Final = b"\xf5"
"""The first byte of a link; no HTTP request and no TLS record begins with it."""

PREFACE: Final = MARK + b"trionet\r\n\r\n" + bytes([MAJOR_VERSION])
"""The empty line makes HTTP servers answer at once; without it some wait for more input."""

CHUNK_BYTES: Final = BLOB_BYTES
"""Longer frames travel as `Chunk` frames, so that short ones needn't wait for them. With its frame's own
bytes a chunk fits into a record of 65,535 bytes, the largest of TLS and of Noise."""

MAX_FRAME_BYTES: Final = CHUNK_BYTES + 1024

BLOB_PART_BYTES: Final = 256 * 1024
"""The most bytes of a blob in one frame. They are written in less than a tenth of a millisecond."""

MAX_BLOB_FRAME_BYTES: Final = BLOB_PART_BYTES + 1024

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
    """Run a method, in the name of a principal, or within another call.

    Attributes:
        principal: the text of the principal for whom the sender forwards the call; empty for its own.
        parent: the id of the call of the sender's in whose handler it is made; empty outside of any.
        trace: its trace context; see `trionet.trace_headers`. Empty for none.
    """

    principal: str = ""
    parent: str = ""
    trace: bytes = b""


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


class Blob(_Frame, tag=15):
    """A part of a blob of a longer frame; the blobs come before the chunks of the frame, in order.

    Readers handle a part of more than `MAX_FRAME_BYTES` as it arrives, in pieces, which are views.

    Attributes:
        transfer: the number of the longer frame.
        direction: its window.
        last: whether this part completes the blob.
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
    | Blob
)

KINDS: Final = {kind.__struct_config__.tag: kind.__name__.lower().removesuffix("frame") for kind in get_args(Frame)}
"""The frames' names in traces, by their numbers."""

pack_length: Callable[[int], bytes] = _LENGTH.pack
encode_frame: Callable[[Frame | OwnCallFrame], bytes] = msgspec.msgpack.Encoder(enc_hook=refuse_blobs).encode
"""Returns a frame without its length. Raises `HoldsBlobs` if it holds blobs; see `trionet.blobs.encode_apart`."""


def direction_of_calls(depth: int) -> Direction:
    """Return the window for the calls at a depth."""
    return depth + REPLIES if depth else CALLS


def with_length(encoded: bytes) -> bytes:
    """Return an encoded frame with its length before it."""
    return pack_length(len(encoded)) + encoded
