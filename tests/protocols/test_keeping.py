from __future__ import annotations

from random import Random
from typing import Any

import pytest

from trionet.protocols.effects import Notify, Send
from trionet.protocols.entries import (
    MOST_VALUE_BYTES,
    TOMBSTONE_S,
    EntriesFull,
    Entry,
    EntryChanged,
    EntryConflict,
)
from trionet.protocols.gossip import GossipProtocol
from trionet.protocols.gossip_messages import Answer, Buckets, Ihave, Listing, Query, Rumor, Summary, UnknownGroup, Want
from trionet.protocols.gossip_settings import GossipSettings
from trionet.protocols.hybrid_time import MOST_STAMP, StampsUsedUp, milliseconds
from trionet.protocols.push import Star

_MEMBERS = tuple(f"n{number}" for number in range(10))
_ID = b"0123456789ab"
_HOUR_S = 3600.0


def _core(me: str = "n0", **how: Any) -> GossipProtocol:
    core = GossipProtocol(me, Random(1), GossipSettings(**how))
    core.set_group("g", _MEMBERS, now=0.0)
    return core


def _entry(
    entry_id: bytes = _ID,
    *,
    gid: str = "g",
    key: str = "k",
    stamp: int = 1 << 16,
    replaced: int = 0,
    value: bytes | None = b"v",
) -> Entry:
    return Entry(gid, entry_id, key, stamp, replaced, "n1", value)


def _sent(effects: list[Send | Notify], kind: type) -> list[str]:
    return [effect.to for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)]


def _events(effects: list[Send | Notify], kind: type) -> list[Any]:
    return [effect.event for effect in effects if isinstance(effect, Notify) and isinstance(effect.event, kind)]


def _value(core: GossipProtocol, key: str = "k") -> bytes | None:
    entry = core.entry("g", key)
    return None if entry is None else entry.value


def _run(core: GossipProtocol, until: float) -> list[Send | Notify]:
    effects: list[Send | Notify] = []
    while (due := core.next_deadline()) <= until:
        effects += core.on_timer(due)
    return effects


def test_a_writer_holds_its_entry_and_pushes_it() -> None:
    core = _core()
    put = core.put("g", "k", b"v", 1.0, 5_000)
    assert (put.entry.key, put.entry.value, put.entry.writer, put.entry.replaced) == ("k", b"v", "n0", 0)
    assert milliseconds(put.entry.stamp) == 5_000
    assert core.entry("g", "k") == put.entry
    assert core.entries("g") == [put.entry]
    assert len(_sent(put.effects, Entry)) == 2
    assert _events(put.effects, EntryChanged) == [EntryChanged("g", put.entry, None)]


def test_a_writer_that_is_no_member_holds_its_entry_too() -> None:
    core = _core("guest")
    put = core.put("g", "k", b"v", 1.0, 5_000)
    assert _value(core) == b"v"
    assert len(_sent(put.effects, Entry)) == 2


def test_each_put_names_the_stamp_that_it_replaces_a_removal_and_the_same_value_included() -> None:
    core = _core()
    first = core.put("g", "k", b"v", 1.0, 5_000).entry
    again = core.put("g", "k", b"v", 1.0, 5_000).entry
    gone = core.put("g", "k", None, 1.0, 4_000).entry
    anew = core.put("g", "k", b"w", 1.0, 4_000).entry
    assert [again.replaced, gone.replaced, anew.replaced] == [first.stamp, again.stamp, gone.stamp]
    assert first.stamp < again.stamp < gone.stamp < anew.stamp
    assert len({first.id, again.id, gone.id, anew.id}) == 4


def test_a_writer_exceeds_the_stamps_that_it_has_received() -> None:
    core = _core()
    core.receive("n1", _entry(stamp=9_000 << 16), 1.0)
    put = core.put("g", "other", b"v", 1.0, 5_000)
    assert put.entry.stamp == (9_000 << 16) + 1


def test_a_put_in_an_unknown_group_is_the_callers_mistake() -> None:
    core = _core()
    with pytest.raises(KeyError):
        core.put("nobody", "k", b"v", 1.0, 0)
    with pytest.raises(KeyError):
        core.entry("nobody", "k")
    with pytest.raises(KeyError):
        core.entries("nobody")
    with pytest.raises(KeyError):
        core.merge(_entry(gid="nobody"), 1.0)


def test_a_refused_put_changes_nothing() -> None:
    core = _core()
    with pytest.raises(EntriesFull):
        core.put("g", "k", bytes(MOST_VALUE_BYTES + 1), 1.0, 5_000)
    core.receive("n1", _entry(stamp=MOST_STAMP), 1.0)
    with pytest.raises(StampsUsedUp):
        core.put("g", "k", b"new", 1.0, 5_000)
    assert _value(core) == b"v"
    assert core.counts.put == 0


def test_a_received_entry_is_held_notified_and_pushed_on_once() -> None:
    core = _core()
    effects = core.receive("n1", _entry(), 1.0)
    assert _events(effects, EntryChanged) == [EntryChanged("g", _entry(), None)]
    assert len(_sent(effects, Entry)) == 2
    assert "n1" not in _sent(effects, Entry)
    assert core.receive("n2", _entry(), 1.1) == []
    assert core.counts.duplicates == 1


def test_a_pulled_entry_is_pushed_on() -> None:
    core = _core()
    asked = core.receive("n1", Listing("g", 1, _ID), 1.0)
    assert _sent(asked, Want) == ["n1"]
    assert len(_sent(core.receive("n1", _entry(), 1.1), Entry)) == 2
    assert core.counts.pulled == 1


def test_an_entry_that_came_by_a_call_is_not_pushed_and_is_announced() -> None:
    core = _core()
    effects = core.merge(_entry(), 1.0)
    assert [type(effect) for effect in effects] == [Notify]
    assert core.merge(_entry(), 1.0) == []
    assert len(_sent(_run(core, 1.2), Ihave)) == 3


def test_an_entry_for_an_unknown_group_is_dropped_and_can_come_again() -> None:
    core = _core()
    assert core.receive("n1", _entry(gid="new"), 1.0) == [Notify(UnknownGroup("new"))]
    assert core.counts.unknown_group == 1
    core.set_group("new", _MEMBERS, now=2.0)
    assert _sent(core.receive("n1", Listing("new", 1, _ID), 3.0), Want) == ["n1"]
    assert _events(core.receive("n1", _entry(gid="new"), 3.1), EntryChanged)


def test_an_entry_that_no_correct_node_writes_is_counted_and_not_pulled_again() -> None:
    core = _core()
    assert core.receive("n1", _entry(stamp=5, replaced=5), 1.0) == []
    assert core.merge(_entry(b"x" * 12, stamp=5, replaced=5), 1.0) == []
    assert core.counts.invalid == 2
    assert core.entries("g") == []
    assert _sent(core.receive("n1", Listing("g", 1, _ID), 2.0), Want) == []


def test_of_two_entries_the_greater_holds_in_both_orders_and_the_conflict_is_the_same() -> None:
    one, other = _entry(b"a" * 12, stamp=5 << 16, value=b"1"), _entry(b"b" * 12, stamp=6 << 16, value=b"2")
    for first, second in ((one, other), (other, one)):
        core = _core()
        effects = core.receive("n1", first, 1.0) + core.receive("n2", second, 1.1)
        assert _value(core) == b"2"
        assert _events(effects, EntryConflict) == [EntryConflict("g", "k", other, one)]


def test_a_superseded_entry_is_not_pushed_on_and_no_change() -> None:
    core = _core()
    core.receive("n1", _entry(b"b" * 12, stamp=6 << 16), 1.0)
    effects = core.receive("n2", _entry(b"a" * 12, stamp=5 << 16), 1.1)
    assert _sent(effects, Entry) == []
    assert _events(effects, EntryChanged) == []


def test_a_superseded_entry_that_a_stale_node_lists_is_pulled_once_per_memory_of_ids() -> None:
    core = _core(retention_s=60.0)
    core.receive("n1", _entry(b"b" * 12, stamp=6 << 16), 1.0)
    stale = Listing("g", 1, b"a" * 12)
    assert _sent(core.receive("n2", stale, 2.0), Want) == ["n2"]
    core.receive("n2", _entry(b"a" * 12, stamp=5 << 16), 2.1)
    for step in range(10):
        assert _sent(core.receive("n2", stale, 10.0 * (1 + step)), Want) == []
    _run(core, 130.0)
    assert _sent(core.receive("n2", stale, 130.0), Want) == ["n2"]


def test_a_held_entry_counts_as_seen_for_ever() -> None:
    core = _core(retention_s=1.0, most_seen=3)
    core.receive("n1", _entry(), 1.0)
    for number in range(10):
        core.receive("n1", Rumor("g", bytes([number]) * 12, "n1", 5, 1, b"news"), 2.0)
    _run(core, 1_000.0)
    assert _sent(core.receive("n2", Listing("g", 1, _ID), 1_000.0), Want) == []
    assert core.receive("n2", _entry(), 1_000.0) == []
    assert core.receive("n2", Query("g", _ID), 1_000.0) == [Send("n2", Answer("g", _ID, True))]


def test_entries_do_not_count_among_the_seen_ids_of_rumors() -> None:
    core = _core(most_seen=3)
    core.receive("n1", Rumor("g", _ID, "n1", 5, 1, b"news"), 1.0)
    for number in range(10):
        core.receive("n1", _entry(bytes([number]) * 12, key=f"k{number}"), 2.0)
    assert core.receive("n2", Rumor("g", _ID, "n1", 5, 1, b"news"), 2.1) == []
    assert core.counts.duplicates == 1


def test_an_entry_outlives_rumors_and_their_bounds() -> None:
    core = _core(most_bytes=100)
    core.receive("n1", _entry(value=bytes(1000)), 1.0)
    for number in range(10):
        core.receive("n1", Rumor("g", bytes([number]) * 12, "n1", 5, 1, bytes(60)), 2.0)
    _run(core, 10 * _HOUR_S)
    assert _value(core) == bytes(1000)


def test_a_wanted_entry_is_sent_and_a_superseded_one_is_not() -> None:
    core = _core()
    core.receive("n1", _entry(b"a" * 12, stamp=5 << 16), 1.0)
    core.receive("n1", _entry(b"b" * 12, stamp=6 << 16, replaced=5 << 16), 2.0)
    answers = core.receive("n3", Want("g", b"a" * 12 + b"b" * 12), 3.0)
    assert answers == [Send("n3", _entry(b"b" * 12, stamp=6 << 16, replaced=5 << 16))]


# ------------------------------------------------------------------------------------------------------- groups


def test_a_deleted_group_that_is_put_anew_gets_its_entries_again() -> None:
    core = _core()
    core.receive("n1", _entry(), 1.0)
    core.drop_group("g")
    core.set_group("g", _MEMBERS, now=2.0)
    assert core.entries("g") == []
    assert _sent(core.receive("n1", Listing("g", 1, _ID), 3.0), Want) == ["n1"]
    core.receive("n1", _entry(), 3.1)
    assert _value(core) == b"v"


def test_entries_stay_when_the_members_change() -> None:
    core = _core()
    core.receive("n1", _entry(), 1.0)
    core.set_group("g", ("n0", "n5"), now=2.0)
    core.change_group("g", ["n6"], ["n5"], now=2.0)
    assert _value(core) == b"v"


@pytest.mark.parametrize("change", ["change_group", "set_group"])
def test_a_group_compares_at_once_when_it_gets_its_first_other_member(change: str) -> None:
    core = GossipProtocol("n0", Random(1), GossipSettings())
    core.set_group("g", ["n0"], now=0.0)
    assert _run(core, 60.0) == []
    if change == "change_group":
        core.change_group("g", ["n1"], [], now=60.0)
    else:
        core.set_group("g", ["n0", "n1"], now=60.0)
    assert core.next_deadline() <= 60.2
    assert _sent(_run(core, 60.2), Summary) == ["n1"]


def test_a_node_that_is_new_says_so_in_its_first_comparisons() -> None:
    core = _core()
    sent = [effect.message for effect in _run(core, 60.0) if isinstance(effect, Send)]
    assert [one.is_new for one in sent if isinstance(one, Summary)][:5] == [True, True, True, False, False]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_new_node_is_told_of_recent_entries_and_others_are_not(is_new: bool) -> None:
    core = _core()
    core.receive("n1", _entry(), 60.0)
    core.receive("n1", Rumor("g", bytes(12), "n1", 5, 1, b"news"), 60.0)
    answers = core.receive("n2", Summary("g", bytes(32), is_new), 60.9)
    listed = [one.message.ids for one in answers if isinstance(one, Send) and isinstance(one.message, Listing)]
    assert listed == ([_ID] if is_new else [])


def test_recent_rumors_alone_are_no_difference_to_a_new_node() -> None:
    core = _core()
    core.receive("n1", Rumor("g", bytes(12), "n1", 5, 1, b"news"), 60.0)
    assert core.receive("n2", Summary("g", bytes(32), is_new=True), 60.9) == []


def test_a_later_member_hastens_no_comparison() -> None:
    core = _core()
    _run(core, 60.0)
    due = core.next_deadline()
    core.change_group("g", ["n11"], [], now=60.0)
    assert core.next_deadline() == due


def test_where_rumors_go_by_a_hub_entries_are_announced() -> None:
    core = GossipProtocol("n0", Random(1), GossipSettings())
    core.set_group("g", _MEMBERS, now=0.0, push=Star(up_wait_s=0.1, down_wait_s=0.1, failover_s=1.0))
    core.receive("n1", _entry(), 1.0)
    assert _value(core) == b"v"
    assert _sent(_run(core, 2.0), Ihave)


# ------------------------------------------------------------------------------------------------------- tombstones


def test_a_tombstone_is_forgotten_after_its_time_by_hybrid_time() -> None:
    core = _core()
    core.set_wall(0, 0.0)
    core.put("g", "k", b"v", 0.0, 0)
    core.put("g", "k", None, 10.0, 10_000)
    assert _value(core) is None
    late = _entry(stamp=1)
    core.receive("n1", late, TOMBSTONE_S)
    assert _value(core) is None
    _run(core, TOMBSTONE_S + 20.0)
    core.receive("n1", _entry(b"z" * 12, stamp=1), TOMBSTONE_S + 20.0)
    assert _value(core) == b"v"  # stale copies aren't known any more


@pytest.mark.parametrize("age_s", [TOMBSTONE_S, 2 * TOMBSTONE_S])
def test_an_old_tombstone_removes_what_it_supersedes_and_is_not_kept(age_s: float) -> None:
    core = _core()
    core.set_wall(int(1000 * age_s) + 5_000, 0.0)
    core.receive("n1", _entry(b"a" * 12, stamp=4_000 << 16), 1.0)
    effects = core.receive("n1", _entry(b"b" * 12, stamp=5_000 << 16, replaced=4_000 << 16, value=None), 2.0)
    assert len(_events(effects, EntryChanged)) == 1
    assert _sent(effects, Entry) == []
    assert core.entries("g") == []
    for entry_id in (b"a" * 12, b"b" * 12):
        assert _sent(core.receive("n2", Listing("g", 1, entry_id), 3.0), Want) == []
    assert _sent(core.receive("n2", Want("g", b"b" * 12), 3.0), Entry) == []


def test_a_node_with_a_slow_clock_takes_the_age_of_a_tombstone_from_later_entries() -> None:
    core = _core()
    core.set_wall(0, 0.0)
    core.receive("n1", _entry(b"a" * 12, key="other", stamp=int(1000 * TOMBSTONE_S + 6_000) << 16), 1.0)
    core.receive("n1", _entry(b"b" * 12, stamp=5_000 << 16, value=None), 2.0)
    assert _sent(core.receive("n2", Want("g", b"b" * 12), 3.0), Entry) == []


def test_many_tombstones_of_one_key_leave_little_behind() -> None:
    core = _core()
    for number in range(3_000):
        core.put("g", "k", None if number % 2 else b"v", 1.0, number)
    group = core._groups["g"]  # noqa: SLF001  its memory is the subject
    assert len(group.held) == 1
    assert len(group._expiries) < 200  # noqa: SLF001


# ------------------------------------------------------------------------------------------------------- spread


def test_the_spread_of_an_entry_is_that_of_a_rumor() -> None:
    core = _core()
    put = core.put("g", "k", b"v", 1.0, 0)
    assert len(_sent(core.tracking.query("g", put.id), Query)) == 9
    for name in _MEMBERS[1:5]:
        core.receive(name, Answer("g", put.id, True), 1.1)
    core.receive("n5", put.entry, 1.1)
    core.receive("n6", Ihave("g", put.id), 1.1)
    spread = core.tracking.spread("g", put.id)
    assert spread is not None
    assert (spread.confirmed, spread.members) == (7, 10)


def test_a_node_that_has_superseded_an_entry_has_seen_it() -> None:
    core = _core()
    core.receive("n1", _entry(b"a" * 12, stamp=5 << 16), 1.0)
    core.receive("n1", _entry(b"b" * 12, stamp=6 << 16), 1.0)
    assert core.receive("n2", Query("g", b"a" * 12), 2.0) == [Send("n2", Answer("g", b"a" * 12, True))]
    assert core.receive("n2", Query("g", b"c" * 12), 2.0) == [Send("n2", Answer("g", b"c" * 12, False))]


def test_many_entries_are_compared_by_buckets() -> None:
    core = _core()
    for number in range(200):
        core.receive("n1", _entry(number.to_bytes(12, "big"), key=f"k{number}"), 1.0)
    assert _sent(core.receive("n2", Summary("g", bytes(32)), 60.0), Buckets) == ["n2"]
    assert len(_sent(core.receive("n2", Buckets("g", b""), 60.0), Listing)) == 3
