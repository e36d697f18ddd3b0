from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trionet.protocols.entries import (
    MERGED_SHARE,
    MOST_ENTRIES,
    MOST_MAP_BYTES,
    MOST_VALUE_BYTES,
    EntriesFull,
    Entry,
    EntryConflict,
    EntryMap,
    is_valid,
    supersedes,
)
from trionet.protocols.hybrid_time import MOST_STAMP

if TYPE_CHECKING:
    from trionet.protocols.effects import ProtocolMessage

_numbers = iter(range(1, 1 << 60))


def _entry(
    key: str = "k", stamp: int = 1, *, value: bytes | None = b"v", replaced: int = 0, number: int | None = None
) -> Entry:
    number = next(_numbers) if number is None else number
    return Entry("g", number.to_bytes(12, "big"), key, stamp, replaced, "n0", value)


@st.composite
def _entries(draw: st.DrawFn) -> list[Entry]:
    """Entries of few keys and stamps, so that many compete; each with its own id."""
    count = draw(st.integers(0, 15))
    found = []
    for number in range(count):
        stamp = draw(st.integers(1, 6))
        found.append(
            _entry(
                draw(st.sampled_from("abc")),
                stamp,
                value=draw(st.sampled_from([None, b"x", b"y"])),
                replaced=draw(st.integers(0, stamp - 1)),
                number=number,
            )
        )
    return found


def _merged(entries: list[Entry]) -> EntryMap:
    found = EntryMap()
    for entry in entries:
        found.merge(entry)
    return found


@settings(max_examples=50)
@given(_entries(), st.randoms())
def test_the_same_entries_make_the_same_map_in_any_order_and_however_often(
    entries: list[Entry], random: Random
) -> None:
    shuffled = entries + random.choices(entries, k=5) if entries else []
    random.shuffle(shuffled)
    one, other = _merged(entries), _merged(shuffled)
    assert one.by_key == other.by_key
    assert one.size_bytes == other.size_bytes == sum(entry.size_bytes() for entry in one.by_key.values())


@settings(max_examples=50)
@given(_entries())
def test_the_greatest_entry_of_each_key_holds(entries: list[Entry]) -> None:
    for key, entry in _merged(entries).by_key.items():
        assert not any(supersedes(other, entry) for other in entries if other.key == key)


@settings(max_examples=50)
@given(_entries())
def test_merging_maps_is_associative(entries: list[Entry]) -> None:
    third = len(entries) // 3
    a, b, c = entries[:third], entries[third : 2 * third], entries[2 * third :]
    left = _merged([*_merged(a + b).by_key.values(), *c])
    right = _merged([*a, *_merged(b + c).by_key.values()])
    assert left.by_key == right.by_key


@settings(max_examples=50)
@given(_entries())
def test_of_two_entries_both_orders_find_the_same_conflict(entries: list[Entry]) -> None:
    for one, other in pairwise(entries):
        found = []
        for first, second in ((one, other), (other, one)):
            map_ = _merged([first])
            found.append(map_.merge(second).conflict)
        assert found[0] == found[1]
        if one.key != other.key:
            assert found[0] is None


@pytest.mark.parametrize(
    ("replaced", "value", "is_conflict"),
    [
        (5, b"new", False),  # its writer had seen the other
        (9, b"new", False),  # or a later one
        (4, b"new", True),
        (0, b"new", True),
        (0, None, True),  # a removal
        (0, b"old", False),  # both wrote the same, so nothing is lost
    ],
)
def test_a_conflict_is_a_replacement_of_what_the_writer_had_not_seen(
    replaced: int, value: bytes | None, is_conflict: bool
) -> None:
    old, new = _entry(stamp=5, value=b"old"), _entry(stamp=10, value=value, replaced=replaced)
    conflict = _merged([old]).merge(new).conflict
    assert conflict == (EntryConflict("g", "k", new, old) if is_conflict else None)


def test_a_merge_reports_what_held_before_and_whether_the_entry_holds() -> None:
    map_ = EntryMap()
    first, second, late = _entry(stamp=5), _entry(stamp=6, replaced=5), _entry(stamp=4)
    assert map_.merge(first)[:2] == (True, None)
    assert map_.merge(second)[:2] == (True, first)
    assert map_.merge(late)[:2] == (False, second)
    assert map_.live() == [second]


def test_a_tombstone_hides_a_key_and_counts_as_an_entry() -> None:
    map_ = _merged([_entry("b", 1), _entry("a", 1), _entry("b", 2, value=None, replaced=1)])
    assert [entry.key for entry in map_.live()] == ["a"]
    assert len(map_.by_key) == 2
    assert map_.size_bytes == 3


# --------------------------------------------------------------------------------------------------------------- bounds


def test_a_writer_may_fill_the_map_and_not_more() -> None:
    map_ = EntryMap()
    for number in range(MOST_ENTRIES):
        map_.check_room(f"k{number}", b"v")
        map_.merge(_entry(f"k{number}"))
    with pytest.raises(EntriesFull, match="1,024 entries of at most 1,024; removed ones count for 72 hours"):
        map_.check_room("another", b"v")
    with pytest.raises(EntriesFull):
        map_.check_room("another", None)
    map_.check_room("k5", b"w")
    map_.check_room("k5", None)


def test_a_writer_may_not_exceed_the_bytes() -> None:
    map_ = EntryMap()
    for number in range(15):
        map_.merge(_entry(str(number), value=bytes(MOST_VALUE_BYTES)))
    room = MOST_MAP_BYTES - map_.size_bytes
    map_.check_room("k", bytes(room - 1))
    with pytest.raises(EntriesFull, match="exceed 262,144"):
        map_.check_room("k", bytes(room))
    map_.check_room("5", bytes(MOST_VALUE_BYTES))
    map_.check_room("5", b"")


def test_a_full_map_may_shrink_and_be_rewritten_even_when_a_merge_has_overfilled_it() -> None:
    map_ = _merged([_entry(f"k{number}", value=bytes(1000)) for number in range(500)])
    assert map_.size_bytes > MOST_MAP_BYTES
    map_.check_room("k1", bytes(1000))
    map_.check_room("k1", bytes(10))
    map_.check_room("k1", None)
    with pytest.raises(EntriesFull):
        map_.check_room("k1", bytes(1001))


@pytest.mark.parametrize("size", [MOST_VALUE_BYTES + 1, 10 * MOST_VALUE_BYTES])
def test_a_value_is_bounded(size: int) -> None:
    with pytest.raises(EntriesFull, match="a value has at most 16,384 bytes"):
        EntryMap().check_room("k", bytes(size))


@pytest.mark.parametrize("seed", range(5))
def test_partitions_that_filled_up_apart_drop_the_same_entries_in_any_order(seed: int) -> None:
    most = MERGED_SHARE * MOST_ENTRIES
    entries = [_entry(f"k{number:05}", 1 + number % 7) for number in range(most + 300)]
    entries += [_entry(f"k{number:05}", 9) for number in range(0, most + 300, 50)]  # replacements
    Random(seed).shuffle(entries)
    map_, dropped = EntryMap(), 0
    for entry in entries:
        dropped += len(map_.merge(entry).dropped)
    assert sorted(map_.by_key) == [f"k{number:05}" for number in range(most)]
    assert all(map_.by_key[f"k{number:05}"].stamp == 9 for number in range(0, most, 50))
    assert dropped >= 300


@settings(max_examples=30)
@given(st.permutations(range(20)))
def test_the_bytes_of_a_merged_map_are_bounded_and_each_node_drops_the_same(order: list[int]) -> None:
    value = bytes(MOST_VALUE_BYTES)
    entries = [
        _entry(f"{chr(97 + number)}{key:03}", value=value, number=number) for number in range(20) for key in range(4)
    ]
    map_ = EntryMap()
    for number in order:
        for entry in entries[4 * number : 4 * number + 4]:
            map_.merge(entry)
    fits = MERGED_SHARE * MOST_MAP_BYTES // entries[0].size_bytes()
    assert list(map_.by_key) != []
    assert sorted(map_.by_key) == sorted(entry.key for entry in entries)[:fits]


# ----------------------------------------------------------------------------------------------------- from the network


def _received(*fields: Any) -> ProtocolMessage:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(["e", *fields]), type=Entry)


def test_an_entry_travels() -> None:
    entry = _entry("ключ", MOST_STAMP, value=None, replaced=MOST_STAMP - 1)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=Entry) == entry
    assert _received("g", bytes(12), "k", 1, 0, "n0", b"v", "a later field") == _entry(number=0)


@pytest.mark.parametrize(
    "fields",
    [
        ("g", bytes(12), "k", MOST_STAMP + 1, 0, "n0", b"v"),
        ("g", bytes(12), "k", -1, 0, "n0", b"v"),
        ("g", bytes(12), "k", 1.5, 0, "n0", b"v"),
        ("g", bytes(11), "k", 1, 0, "n0", b"v"),
        ("g", bytes(12), "", 1, 0, "n0", b"v"),
        ("g", bytes(12), "k" * 256, 1, 0, "n0", b"v"),
        ("g", bytes(12), "k", 1, -1, "n0", b"v"),
        ("g", bytes(12), "k", 1, 0, "n0", "text"),
        ("g", bytes(12), "k", 1, 0, "n0"),
        ("g" * 256, bytes(12), "k", 1, 0, "n0", b"v"),
    ],
)
def test_a_malformed_entry_is_no_message(fields: tuple[Any, ...]) -> None:
    with pytest.raises(msgspec.ValidationError):
        _received(*fields)


@pytest.mark.parametrize(
    ("entry", "valid"),
    [
        (_entry(), True),
        (_entry(stamp=MOST_STAMP), True),
        (_entry("é" * 127), True),
        (_entry("é" * 128), False),
        (_entry(stamp=5, replaced=5), False),
        (_entry(stamp=0), False),
        (_entry(value=bytes(MOST_VALUE_BYTES)), True),
        (_entry(value=bytes(MOST_VALUE_BYTES + 1)), False),
    ],
)
def test_only_what_a_correct_node_writes_is_valid(entry: Entry, valid: bool) -> None:
    assert is_valid(entry) is valid
