"""Long `bytes` beside their frames: uncopied where they are sent, and in memory once where they arrive."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.protocols.link.cores import KIB, call_frame, encoded, greeted, hello, open_core
from tests.protocols.link.ends import BLOB
from trionet.blobs import BLOB_CODE
from trionet.codec import MESSAGEPACK
from trionet.protocols.link.calls import IncomingCall, OutgoingCall
from trionet.protocols.link.chunks import LongFrame, encode_long
from trionet.protocols.link.frames import (
    BLOB_PART_BYTES,
    REPLIES,
    Abandon,
    Blob,
    Chunk,
    Reply,
    encode_frame,
    with_length,
)
from trionet.protocols.link.holdings import Account

if TYPE_CHECKING:
    from trionet.protocols.link.core import LinkCore

MIB = 1024 * KIB
LARGE = hello(window_bytes=64 * MIB, max_message_bytes=32 * MIB)


def open_large() -> LinkCore:
    return open_core(greeted(own=LARGE, peer=LARGE), Account(256 * MIB).open(lambda _: None))


def start(core: LinkCore, *blobs: bytes) -> OutgoingCall:
    call = OutgoingCall()
    core.outgoing.call(call, call_frame(core.outgoing.next_number, *[BLOB for _ in blobs]), blobs)
    return call


def fault(core: LinkCore) -> str:
    (closed,) = core.events
    return str(closed.reason)  # type: ignore[union-attr]


def test_a_blob_is_sent_as_views_of_the_value_itself() -> None:
    core, data = open_large(), bytes(MIB)
    start(core, data)
    sizes = list[int]()
    while core.outbox.is_pending:
        beside = list[memoryview]()
        core.data_to_send(beside)
        (view,) = beside
        if not core.outbox.finished and view.obj is data:
            sizes.append(len(view))
    assert sizes == [BLOB_PART_BYTES] * 4


def test_a_value_of_many_megabytes_is_in_memory_once_where_it_arrives() -> None:
    size = 16 * MIB
    sender, receiver = open_large(), open_large()
    start(sender, bytes(size))
    tracemalloc.start()
    try:
        calls = list[IncomingCall]()
        while sender.outbox.is_pending:
            data = sender.data_to_send()
            for piece in (data[:100_000], data[100_000:]):
                for event in receiver.receive(piece, 0.0):
                    assert isinstance(event, IncomingCall)
                    calls.append(event)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert calls[0].frame.args == [bytes(size)]
    assert peak < size * 5 // 4  # what grows has an eighth of reserve
    assert receiver.received_frames == sender.outbox.sent_frames


def test_values_in_containers_travel_beside_their_frame_in_order() -> None:
    values = [bytes([number]) * (70_000 + number) for number in range(4)]
    value = [{"one": values[0], "more": (values[1], [values[2]])}, "text", b"short", values[3], values[0]]
    sender, receiver = open_large(), open_large()
    blobs = list[bytes]()
    args = msgspec.Raw(MESSAGEPACK.encode(value, blobs))
    assert [id(blob) for blob in blobs] == [id(each) for each in (*values, values[0])]
    frame = call_frame(1)
    frame.args = args
    sender.outgoing.call(OutgoingCall(), frame, blobs)
    events = [
        e for _ in iter(lambda: sender.outbox.is_pending, False) for e in receiver.receive(sender.data_to_send(), 0)
    ]
    (call,) = events
    assert isinstance(call, IncomingCall)
    assert MESSAGEPACK.restore(call.frame.args) == value
    reply = encode_long(Reply(1, MESSAGEPACK.lower_apart(value)))
    assert [id(blob) for blob in reply.blobs] == [id(each) for each in (*values, values[0])]


def test_an_abandoned_blob_is_released() -> None:
    core = open_large()
    holding = core._holding  # noqa: SLF001  it is the test's own
    assert not list(core.receive(encoded(Blob(1, 0, False, bytes(200_000)))[:150_000], 0))
    assert 149_000 < holding.partial_bytes < 150_000  # counted as it arrives
    assert not list(core.receive(encoded(Blob(1, 0, False, bytes(200_000)))[150_000:], 0))
    assert holding.partial_bytes == 200_000
    assert not list(core.receive(encoded(Abandon(1)), 0))
    assert (holding.partial_bytes, holding.whole_bytes) == (0, 0)


def test_a_cancelled_call_sends_no_more_of_its_blob() -> None:
    core = open_large()
    call = start(core, bytes(8 * MIB))
    core.data_to_send()
    assert not core.cancel(call)
    assert core.data_to_send() == encoded(Abandon(1))


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([Blob(1, 0, False, bytes(4000))], "a part of a blob of 4000 bytes that is not the last"),
        ([Blob(1, 0, True, bytes(4095))], "a blob of 4095 bytes"),
        ([Blob(1, 0, False, bytes(5000)), Chunk(1, 0, True, encode_frame(call_frame(1, BLOB)))], "a chunk amid a blob"),
        ([Chunk(1, 0, True, encode_frame(call_frame(1, BLOB)))], f"not a frame: unknown extension type {BLOB_CODE}"),
        ([Blob(1, 0, True, bytes(5000)), Chunk(1, 0, True, encode_frame(call_frame(1)))], "more blobs than it holds"),
        (
            [Blob(1, 0, True, bytes(5000)), Chunk(1, 0, True, encode_frame(call_frame(1, BLOB, BLOB)))],
            f"not a frame: unknown extension type {BLOB_CODE}",
        ),
        ([Blob(1, REPLIES, False, bytes(200_000))] * 2, "more chunked bytes than it was allowed"),
    ],
)
def test_blobs_against_the_rules_are_a_fault(frames: list[Blob | Chunk], reason: str) -> None:
    core = open_core()
    assert not list(core.receive(encoded(*frames), 0))
    assert core.is_closed
    assert fault(core).endswith(reason)


def test_what_follows_the_data_in_a_part_does_not_count_as_data() -> None:
    core = open_core()
    padded = msgspec.msgpack.encode([15, 1, 0, False, b"", bytes(5000)])
    assert not list(core.receive(with_length(padded), 0))
    assert fault(core).endswith("a part of a blob of 0 bytes that is not the last")


def test_a_frame_with_blobs_is_as_long_as_all_of_it() -> None:
    assert len(LongFrame(b"abc", [bytes(5), bytes(7)])) == 15
