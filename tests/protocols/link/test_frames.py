import itertools
import random
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.travelling import addresses
from trionet.nesting import PACKETS
from trionet.protocols.link.decoding import FrameDecoder, decode_frame
from trionet.protocols.link.frames import (
    BLOB_PART_BYTES,
    CHUNK_BYTES,
    DIRECTIONS,
    MAX_BLOB_FRAME_BYTES,
    MAX_FRAME_BYTES,
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
    Hello,
    Item,
    Ping,
    Pong,
    Reply,
    Window,
    encode_frame,
    with_length,
)

LENGTH_BYTES = 4


_numbers = st.integers(min_value=-(2**63), max_value=2**64 - 1)
_floats = st.floats(allow_nan=False)
_texts = st.text(max_size=20)
_plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _numbers | _floats | _texts | st.binary(max_size=20),
    lambda items: st.lists(items, max_size=4) | st.dictionaries(_texts | _numbers, items, max_size=4),
    max_leaves=8,
)
_directions = st.sampled_from(range(DIRECTIONS))
_most = st.integers(min_value=1, max_value=2**64 - 1)

FRAMES: dict[type[Frame], st.SearchStrategy[Frame]] = {
    Hello: st.builds(Hello, st.none() | addresses, _most, _most, _most, st.lists(_texts, max_size=3)),
    CallFrame: st.builds(
        CallFrame,
        _numbers,
        _texts,
        _texts,
        _texts,
        _plain,
        _plain,
        _texts,
        st.none() | _floats,
        st.none() | _numbers,
        st.sampled_from(range(PACKETS + 1)),
        _texts,
        _texts,
        st.binary(max_size=600),
    ),
    Reply: st.builds(Reply, _numbers, _plain),
    Error: st.builds(Error, _numbers, st.dictionaries(_texts, _plain, max_size=4)),
    Cancel: st.builds(Cancel, _numbers),
    Cancelled: st.builds(Cancelled, _numbers),
    Item: st.builds(Item, _numbers, _plain),
    End: st.builds(End, _numbers),
    Credit: st.builds(Credit, _numbers, _numbers),
    Chunk: st.builds(Chunk, _numbers, _directions, st.booleans(), st.binary(max_size=100)),
    Blob: st.builds(Blob, _numbers, _directions, st.booleans(), st.binary(max_size=100)),
    Abandon: st.builds(Abandon, _numbers),
    Window: st.builds(Window, _directions, _numbers),
    Ping: st.builds(Ping, _numbers),
    Pong: st.builds(Pong, _numbers),
    Bye: st.builds(Bye, _texts),
}
_frames = st.one_of(*FRAMES.values())


def _feed(decoder: FrameDecoder, data: bytes) -> list[Frame]:
    return [frame for frame, _ in decoder.feed(data)]


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return `data` in pieces, cut at those places (modulo its length); some pieces may be empty."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


def test_there_is_a_test_for_each_kind_of_frame() -> None:
    assert set(FRAMES) == set(get_args(Frame))


@pytest.mark.parametrize("kind", FRAMES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_frame_round_trips(kind: type[Frame], data: st.DataObject) -> None:
    frame = data.draw(FRAMES[kind])
    decoded = decode_frame(encode_frame(frame))
    assert type(decoded) is kind
    assert decoded == frame


@given(frames=st.lists(_frames, max_size=8), places=st.lists(st.integers(min_value=0), max_size=12))
def test_frames_come_out_the_same_however_their_bytes_were_cut(frames: list[Frame], places: list[int]) -> None:
    encoded = [encode_frame(frame) for frame in frames]
    decoder, got = FrameDecoder(), []
    for piece in _cut(b"".join(map(with_length, encoded)), places):
        got += list(decoder.feed(piece))
    assert [frame for frame, _ in got] == frames
    assert [size for _, size in got] == [len(data) for data in encoded]
    assert not decoder.rest


def test_frames_come_out_of_single_bytes() -> None:
    frames: list[Frame] = [Ping(1), CallFrame(2, "local", "probe", "pid", [b"x" * 300], None, "id", 1.5), Bye("done")]
    decoder = FrameDecoder()
    data = b"".join(with_length(encode_frame(frame)) for frame in frames)
    assert [frame for byte in data for frame in _feed(decoder, bytes([byte]))] == frames


@given(frame=_frames, place=st.integers(min_value=1))
def test_the_begin_of_a_frame_is_kept_and_told(frame: Frame, place: int) -> None:
    data = with_length(encode_frame(frame))
    begin = data[: 1 + place % (len(data) - 1)]
    decoder = FrameDecoder()
    assert _feed(decoder, with_length(encode_frame(Ping(1))) + begin) == [Ping(1)]
    assert decoder.rest
    assert _feed(decoder, data[len(begin) :]) == [frame]
    assert not decoder.rest


@given(frame=_frames, more=st.lists(_plain, min_size=1, max_size=3))
def test_elements_at_the_end_that_are_not_known_are_ignored(frame: Frame, more: list[Any]) -> None:
    elements = msgspec.msgpack.decode(encode_frame(frame))
    assert decode_frame(msgspec.msgpack.encode([*elements, *more])) == frame


@pytest.mark.parametrize("frame", [CallFrame(1, "g", "s", "m", [], None, "id", None), Hello(None, 1, 2, 3)], ids=repr)
def test_an_element_with_a_default_may_be_left_out(frame: Frame) -> None:
    elements = msgspec.msgpack.decode(encode_frame(frame))
    assert decode_frame(msgspec.msgpack.encode(elements[:-1])) == frame


def _of_size(size: int) -> bytes:
    """Return an encoded frame of exactly that many bytes."""
    frame = Chunk(1, 0, False, b"")
    frame.data = bytes(size - len(encode_frame(Chunk(1, 0, False, bytes(CHUNK_BYTES)))) + CHUNK_BYTES)
    encoded = encode_frame(frame)
    assert len(encoded) == size
    return encoded


def test_a_frame_at_the_limit_is_taken() -> None:
    decoder = FrameDecoder()
    data = with_length(_of_size(MAX_FRAME_BYTES))
    assert _feed(decoder, data[:-1]) == []
    assert decoder.rest
    assert len(_feed(decoder, data[-1:])) == 1


def test_a_full_chunk_fits_into_a_frame_whatever_its_numbers_are() -> None:
    assert len(encode_frame(Chunk(2**64 - 1, 1, False, bytes(CHUNK_BYTES)))) <= MAX_FRAME_BYTES


@pytest.mark.parametrize("size", [MAX_BLOB_FRAME_BYTES + 1, 2**24, 2**31, 2**32 - 1])
def test_a_frame_over_the_limit_is_refused_before_its_content_comes(size: int) -> None:
    got = FrameDecoder().feed(with_length(encode_frame(Ping(1))) + size.to_bytes(LENGTH_BYTES, "big"))
    assert next(got)[0] == Ping(1)
    with pytest.raises(FrameError, match=f"a frame of {size:,} bytes; at most {MAX_FRAME_BYTES:,}"):
        next(got)


def test_a_long_frame_that_is_no_part_of_a_blob_is_refused_by_its_first_bytes() -> None:
    data = with_length(encode_frame(Chunk(1, 0, False, bytes(MAX_FRAME_BYTES))))
    with pytest.raises(FrameError, match=f"at most {MAX_FRAME_BYTES:,} are allowed"):
        _feed(FrameDecoder(), data[: LENGTH_BYTES + 2])


def test_a_long_part_of_a_blob_whose_bytes_are_not_its_last_element_is_refused() -> None:
    encoded = msgspec.msgpack.encode([15, 1, 0, False, bytes(MAX_FRAME_BYTES), "more"])
    with pytest.raises(FrameError, match=r"not at its end|at most"):
        _feed(FrameDecoder(), with_length(encoded))


@settings(max_examples=50)
@given(
    transfer=_numbers,
    is_last=st.booleans(),
    size=st.integers(min_value=MAX_FRAME_BYTES, max_value=BLOB_PART_BYTES),
    places=st.lists(st.integers(min_value=0), max_size=12),
)
def test_a_long_part_of_a_blob_comes_in_pieces_however_its_bytes_were_cut(
    transfer: int, is_last: bool, size: int, places: list[int]
) -> None:
    part, behind = Blob(transfer, 1, is_last, random.Random(size).randbytes(size)), Ping(7)
    encoded = encode_frame(part)
    decoder, got = FrameDecoder(), list[tuple[Frame, int]]()
    for data in _cut(
        with_length(encode_frame(behind)) + with_length(encoded) + with_length(encode_frame(behind)), places
    ):
        for frame, frame_bytes in decoder.feed(data):
            got.append((frame, frame_bytes))
    assert [got[0][0], got[-1][0]] == [behind, behind]
    pieces = [frame for frame, _ in got[1:-1]]
    assert all(isinstance(piece, Blob) for piece in pieces)
    assert b"".join(piece.data for piece in pieces if isinstance(piece, Blob)) == part.data
    assert {(piece.transfer, piece.direction) for piece in pieces if isinstance(piece, Blob)} == {(transfer, 1)}
    assert [piece.last for piece in pieces if isinstance(piece, Blob)] == [False] * (len(pieces) - 1) + [is_last]
    assert {frame_bytes for _, frame_bytes in got[1:-1]} == {len(encoded)}
    assert not decoder.is_amid_frame


_WRONG: dict[str, Any] = {
    "an empty array": [],
    "no array": {"type": "ping"},
    "a text for a tag": ["ping", 1],
    "a float for a tag": [12.0, 1],
    "a tag that is not known": [16, 1],
    "a tag below zero": [-1, 1],
    "a large tag": [2**63, 1],
    "an array for a tag": [[12], 1],
    "nothing for a tag": [None, 1],
    "too few elements": [1, 7, "local", "probe"],
    "a text for a number": [12, "1"],
    "a float for a number": [12, 1.5],
    "a number for a text": [14, 1],
    "a direction that is none": [11, DIRECTIONS, 1],
    "a direction below zero": [9, 1, -1, True, b"data"],
    "a depth beyond the deepest": [1, 1, "local", "probe", "echo", [], None, "id", None, None, PACKETS + 1],
    "a depth below zero": [1, 1, "local", "probe", "echo", [], None, "id", None, None, -1],
    "a text for a depth": [1, 1, "local", "probe", "echo", [], None, "id", None, None, "1"],
    "nothing for a depth": [1, 1, "local", "probe", "echo", [], None, "id", None, None, None],
    "a hello that takes no calls": [0, None, 0, 1, 1, []],
    "a hello that holds nothing": [0, None, 1, -1, 1, []],
    "a hello that takes no message": [0, None, 1, 1, 0, []],
    "a text for bytes": [9, 1, 0, True, "data"],
    "a number for a flag": [9, 1, 0, 1, b"data"],
    "a list for an error": [3, 1, []],
    "numbers for an error's keys": [3, 1, {1: "a"}],
    "an address that is none": [0, ["127.0.0.1", 65_536], 1, 1, 1, []],
    "an address without ip": [0, ["", 1], 1, 1, 1, []],
}


@pytest.mark.parametrize("content", _WRONG.values(), ids=_WRONG.keys())
def test_what_is_no_frame_is_an_error(content: Any) -> None:
    encoded = msgspec.msgpack.encode(content)
    with pytest.raises(FrameError, match="not a frame"):
        decode_frame(encoded)
    with pytest.raises(FrameError, match="not a frame"):
        _feed(FrameDecoder(), with_length(encoded))


_REPLY = b"\x93\x02\x01"  # a reply to call 1, its value left out

_GARBAGE = {
    "nothing": b"",
    "an unused code": b"\xc1",
    "text of no encoding": b"\x92\x0e\xa2\xff\xfe",
    "an array that promises 2^32 - 1 elements": _REPLY + b"\xdd\xff\xff\xff\xff",
    "a map that promises 2^32 - 1 elements": _REPLY + b"\xdf\xff\xff\xff\xff",
    "bytes that promise 2^32 - 1": _REPLY + b"\xc6\xff\xff\xff\xff",
    "arrays 60,000 deep": _REPLY + b"\x91" * 60_000 + b"\xc0",
    "a map for a key": _REPLY + b"\x81\x80\xc0",
    "a timestamp out of range": _REPLY + b"\xd7\xff" + b"\xff" * 8,
    "something behind the frame": _REPLY + b"\xc0\xc0",
}


@pytest.mark.parametrize("garbage", _GARBAGE.values(), ids=_GARBAGE.keys())
def test_garbage_is_an_error(garbage: bytes) -> None:
    with pytest.raises(FrameError):
        _feed(FrameDecoder(), with_length(garbage))
