"""What a stranger's bytes may cost when they are decoded: time that is linear, and memory that is bounded."""

from __future__ import annotations

import math
import random
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.test_codec import both
from tests.travelling import Parcel, Point, is_same, values
from tests.waiting import DEADLINE_S
from trionet import DecodeError, IndefiniteError, MalformedRequest, Node, NodeConfig, Remote, TrionetError, open_node
from trionet.bounds import (
    MAX_CONTAINERS,
    holds_large_map_of_lists,
    json_holds_more,
    messagepack_holds_more,
)
from trionet.codec import JSON, MESSAGEPACK, Codec
from trionet.hashing import MAX_SAME_HASH, check_hashes
from trionet.maelstrom.envelope import BadLine
from trionet.maelstrom.envelope import decode as decode_line
from trionet.protocols.link.decoding import decode_frame
from trionet.protocols.link.frames import CallFrame, FrameError, Item, Reply, encode_frame
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import Callable

P = 2**61 - 1
"""What CPython's hashes of numbers are taken modulo of."""

SIZE = 256 * 1024
MOST = 10_000
"""A bound for messages of that size, as the default one is for those of 16 MB."""


def _array(item: bytes, count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + item * count


def _json_array(item: bytes, count: int) -> bytes:
    return b"[" + b",".join([item] * count) + b"]"


def _binary(index: int, width: int = 16) -> tuple[int, ...]:
    """Return -1 and -2, which share a hash, for the digits of `index`."""
    return tuple(-1 - (index >> place & 1) for place in range(width))


FLOODS: dict[str, tuple[Codec, Callable[[], bytes]]] = {
    "json lists": (JSON, lambda: _json_array(b"[]", SIZE // 3)),
    "json objects": (JSON, lambda: _json_array(b"{}", SIZE // 3)),
    "json objects after a text of brackets": (JSON, lambda: b'["' + b"[" * 99 + b'",' + _json_array(b"{}", SIZE // 3)),
    "messagepack lists": (MESSAGEPACK, lambda: _array(b"\x90", SIZE)),
    "messagepack maps": (MESSAGEPACK, lambda: _array(b"\x80", SIZE)),
    "messagepack texts written too long": (MESSAGEPACK, lambda: _array(b"\xda\x00\x00", SIZE // 3)),
    "messagepack tuples": (MESSAGEPACK, lambda: _array(b"\x81\xa6$tuple\x90", SIZE // 9)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_message_full_of_containers_is_refused_before_they_are_made(name: str) -> None:
    codec, make = FLOODS[name]
    data = make()
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match=r"more than 10,000 .*max_message_containers"):
            codec.limited(MOST).decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(data) + 100_000


@both
def test_the_bound_is_a_million_by_default(codec: Codec) -> None:
    assert (codec.max_containers, NodeConfig().max_message_containers) == (MAX_CONTAINERS, 1_000_000)


LARGE: list[tuple[Codec, Callable[[], Any]]] = [
    (MESSAGEPACK, lambda: list(range(50_000))),
    (JSON, lambda: list(range(50_000))),
    (MESSAGEPACK, lambda: random.Random(1).randbytes(1_000_000)),
    (MESSAGEPACK, lambda: [random.Random(1).random() for _ in range(50_000)]),
    (JSON, lambda: {number: number for number in range(9_000)}),
    (MESSAGEPACK, lambda: {number: number for number in range(9_000)}),
    (MESSAGEPACK, lambda: {str(number): [number] for number in range(2_000)}),
    (JSON, lambda: "[{" * 40_000),
    (JSON, lambda: '\\"[{' * 20_000),
    (MESSAGEPACK, lambda: ["\N{LATIN SMALL LETTER A WITH GRAVE}" * 20] * 4_000),
    (MESSAGEPACK, lambda: [b"\x90" * 40] * 4_000),
    (JSON, lambda: [[] for _ in range(MOST - 1)]),
    (MESSAGEPACK, lambda: [{} for _ in range(MOST - 1)]),
]


@pytest.mark.parametrize("index", range(len(LARGE)))
def test_a_large_value_passes(index: int) -> None:
    codec, make = LARGE[index]
    value = make()
    assert codec.limited(MOST).decode(codec.encode(value)) == value


@pytest.mark.slow
def test_the_largest_values_that_people_send_pass() -> None:
    for codec, value in (
        (MESSAGEPACK, list(range(2_000_000))),
        (MESSAGEPACK, bytes(range(256)) * 125_000),
        (JSON, {number: number for number in range(900_000)}),
        (MESSAGEPACK, {number: number for number in range(900_000)}),
    ):
        is_equal = codec.decode(codec.encode(value)) == value  # to be shown, they would take minutes
        assert is_equal


@both
@given(value=values)
def test_containers_are_counted_as_they_are(codec: Codec, value: Any) -> None:
    data = codec.encode(value)
    plain = msgspec.json.decode(data) if codec is JSON else msgspec.msgpack.decode(data)
    holds_more = json_holds_more if codec is JSON else messagepack_holds_more
    count = _containers(plain)
    assert not holds_more(data, count)
    # Bytes that are short have no other form than one with a length; long texts have.
    assert count == 0 or holds_more(data, count - 1)


def _containers(plain: Any) -> int:
    if isinstance(plain, dict):
        return 1 + sum(map(_containers, plain.values()))
    return 1 + sum(map(_containers, plain)) if isinstance(plain, list) else 0


@pytest.mark.parametrize(
    "extension",
    [
        *(bytes([0xD4 + power]) + b"\x05" + bytes(2**power) for power in range(5)),
        *(
            bytes([0xC7 + power]) + length.to_bytes(2**power, "big") + b"\x05" + bytes(length)
            for power in range(3)
            for length in (0, 1, 4, 200)
        ),
    ],
)
def test_what_follows_an_extension_is_counted(extension: bytes) -> None:
    data = b"\xdd\x00\x00\x01\x2d" + extension + b"\x90" * 300
    assert len(msgspec.msgpack.decode(data)) == 301
    assert messagepack_holds_more(data, 300)
    assert not messagepack_holds_more(data, 302)  # one with a needlessly long header counts, too
    keys = b"".join(b"\x92\x01\xcd%b\x00" % number.to_bytes(2, "big") for number in range(100))
    assert holds_large_map_of_lists(b"\x92" + extension + b"\xde\x00\x64" + keys)


@given(
    data=st.binary(max_size=200) | st.text(alphabet='[]{}",\\a1:', max_size=60).map(str.encode), most=st.integers(0, 9)
)
def test_any_bytes_can_be_looked_into(data: bytes, most: int) -> None:
    json_holds_more(data, most)
    messagepack_holds_more(data, most)
    holds_large_map_of_lists(b"\xde\x00\x40" + data)


# Six bits far apart, of which any may be the lowest: the same digits modulo 2**61 - 1, but for a shift.
_ROTATED = [math.ldexp(sum(1 << (10 * bit - 10 * lowest) % 61 for bit in range(6)), 10 * lowest) for lowest in range(6)]

COLLIDING: dict[str, Callable[[int], Any]] = {
    "integers": lambda index: P * (2**70 + index),
    "negative integers": lambda index: -P * (2**70 + index),
    "tuples of small integers": _binary,
    "tuples in tuples": lambda index: (0, (_binary(index), "x")),
    "frozensets": lambda index: frozenset({("a", _binary(index))}),
    "structs": lambda index: Point(_binary(index), 1),
    "dataclasses": lambda index: Parcel(P * (2**70 + index)),
    "floats": lambda index: math.ldexp(_ROTATED[index % 6], 61 * (index // 6)),
}


@both
@pytest.mark.parametrize("name", COLLIDING)
def test_values_that_share_a_hash_are_refused_in_every_container_that_hashes(codec: Codec, name: str) -> None:
    colliding = [COLLIDING[name](index) for index in range(MAX_SAME_HASH + 1)]
    assert len(set(map(hash, colliding))) == 1
    for value in (set(colliding), frozenset(colliding), dict.fromkeys(colliding, 1), [(0, {"a": set(colliding)})]):
        with pytest.raises(DecodeError, match="share a hash"):
            codec.decode(codec.encode(value))
    few = set(colliding[:MAX_SAME_HASH])
    assert is_same(codec.decode(codec.encode(few)), few)


def test_uuids_that_share_a_hash_are_refused() -> None:
    data = b'{"$set":[' + b",".join(b'{"$uuid":"%032x"}' % (P * (2**50 + index)) for index in range(100)) + b"]}"
    with pytest.raises(DecodeError, match="share a hash"):
        JSON.decode(data)


def test_numbers_that_messagepack_says_by_itself_share_a_hash_with_few_others() -> None:
    floats = [2.0**exponent for exponent in range(-1074, 1024)]
    integers = [sign * P * factor for sign in (1, -1) for factor in range(9)]
    check_hashes([*floats, *integers, *range(1000)])
    hashes = [hash(value) for value in (*floats, *integers)]
    assert max(map(hashes.count, hashes)) <= MAX_SAME_HASH


@pytest.mark.slow
@pytest.mark.parametrize("name", ["integers", "tuples of small integers"])
def test_the_time_for_many_values_that_share_a_hash_is_linear(name: str) -> None:
    def measured_s(count: int) -> float:
        data = b'{"$set":[' + JSON.encode([COLLIDING[name](index) for index in range(count)])[1:-1] + b"]}"
        begun = time.process_time()
        with pytest.raises(DecodeError):
            JSON.decode(data)
        return time.process_time() - begun

    few_s = max(measured_s(4_000), 0.002)
    assert measured_s(160_000) < 400 * few_s  # forty times as many; were it quadratic, sixteen hundred times as long


def test_a_large_map_with_lists_as_keys_is_refused_and_no_harmless_one() -> None:
    def entry(index: int) -> bytes:
        return b"\xdc\x00\x10" + bytes(0xFF if index >> place & 1 else 0xFE for place in range(16)) + b"\x01"

    def document(count: int) -> bytes:
        return b"\x92\x01\xde" + count.to_bytes(2, "big") + b"".join(map(entry, range(count)))

    with pytest.raises(DecodeError, match="lists are the keys of a map"):
        MESSAGEPACK.decode(document(64))
    with pytest.raises(FrameError, match="lists are the keys of a map"):
        decode_frame(b"\x93\x02\x01" + document(64))
    assert len(MESSAGEPACK.decode(document(10))[1]) == 10
    value = {"a": [[index] for index in range(100)], "b": {str(index): [index] for index in range(100)}}
    assert not holds_large_map_of_lists(MESSAGEPACK.encode(value))
    assert MESSAGEPACK.decode(MESSAGEPACK.encode(value)) == value


def test_a_frame_with_too_many_containers_keeps_its_number_and_its_value_is_unreadable() -> None:
    many = [[] for _ in range(300)]  # type: list[list[Any]]
    for frame, name in (
        (CallFrame(7, "local", "s", "m", many, None, "id", None), "args"),
        (Reply(7, many), "value"),
        (Item(7, many), "value"),
    ):
        assert decode_frame(encode_frame(frame), 400) == frame
        decoded = decode_frame(encode_frame(frame), 200)
        assert type(decoded) is type(frame)
        assert getattr(decoded, "msg_id", None) == 7 or getattr(decoded, "in_reply_to", None) == 7
        with pytest.raises(DecodeError, match="more than 200"):
            MESSAGEPACK.restore(getattr(decoded, name))


@pytest.mark.parametrize("transport", ["http", "link", "memory", "self"])
@pytest.mark.parametrize("count", [500, 40_000])
async def test_the_bound_holds_for_calls_and_replies_over_each_transport_and_other_calls_go_on(
    transport: str, count: int
) -> None:
    config = NodeConfig(max_message_containers=400, transport="http" if transport == "http" else "link")
    fabric = MemoryFabric() if transport == "memory" else None
    with trio.fail_after(DEADLINE_S):
        async with open_node(config, fabric=fabric) as one, open_node(config, fabric=fabric) as two:
            other = one if transport == "self" else two
            release = trio.Event()

            async def wait() -> str:
                await release.wait()
                return "done"

            await other.local.routes.put(
                {"wait": wait, "size": len, "many": lambda number: [[] for _ in range(number)]}, "s"
            )

            async def ask(method: str, *args: Any) -> Any:
                return await one.local.comm.send(list(args), Remote(node=other.address, service="s", method=method))

            async def refused(method: str, argument: Any, kind: type[TrionetError]) -> None:
                with pytest.raises(kind, match=r"more than 400 .*max_message_containers|can't be read|as a trionet"):
                    await ask(method, argument)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(_check_equal, ask, "wait", "done")
                await trio.testing.wait_all_tasks_blocked(0.01)
                await refused("size", [[] for _ in range(count)], MalformedRequest)
                await refused("many", count, IndefiniteError)
                assert await ask("size", [[] for _ in range(300)]) == 300
                assert len(await ask("many", 300)) == 300
                release.set()


async def _check_equal(ask: Any, method: str, expected: Any) -> None:
    assert await ask(method) == expected


def test_the_bound_holds_for_a_line_on_standard_input() -> None:
    line = b'{"src":"c1","dest":"n1","body":{"type":"echo","x":' + _json_array(b"[]", MAX_CONTAINERS) + b"}}"
    with pytest.raises(BadLine, match="1,000,000"):
        decode_line(line)


async def test_a_rumor_with_too_many_containers_fails_and_harms_nobody() -> None:
    with trio.fail_after(DEADLINE_S):
        config = NodeConfig(join=[], max_message_containers=400)
        async with open_node(config) as node:
            got: list[int] = []
            heard = trio.Event()

            def note(items: list[Any]) -> None:
                got.append(len(items))
                heard.set()

            await node.local.routes.put({"note": note}, "s")
            await _tell(node, [[] for _ in range(500)])
            await _tell(node, [[] for _ in range(100)])
            await heard.wait()
            assert got == [100]
            assert node.local.gossip.failed == 1


async def _tell(node: Node, items: list[Any]) -> None:
    await node.all.gossip.send([items], Remote(service="s", method="note"))
