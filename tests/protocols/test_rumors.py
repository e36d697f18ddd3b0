from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols.digest import Digest
from trionet.protocols.gossip_messages import BUCKETS
from trionet.protocols.group_members import GroupMembers
from trionet.protocols.push import RandomPush
from trionet.protocols.rumors import Held, RumorGroup, SeenIds, hash_of, may_be_forgotten


def _id(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _held(number: int, *, born_at: float = 0.0, now: float = 0.0, payload: bytes = b"x") -> Held:
    return Held("g", _id(number), "n0", payload, born_at, now)


def _group(*, retention_s: float = 60.0, most_bytes: int = 1 << 20) -> RumorGroup:
    members = GroupMembers("n0", tuple(f"n{number}" for number in range(10)), Random(1))
    return RumorGroup("g", members, RandomPush(), retention_s=retention_s, most_bytes=most_bytes)


@pytest.mark.parametrize(
    ("age_s", "since_s", "may_be"),
    [
        (0.0, float("inf"), False),
        (1e9, float("inf"), False),
        (5.0, 10.0, False),
        (9.5, 10.0, True),  # within the margin
        (10.0, 10.0, True),
        (20.0, 10.0, True),
    ],
)
def test_a_rumor_older_than_the_last_forgotten_id_may_be_forgotten(age_s: float, since_s: float, may_be: bool) -> None:
    assert may_be_forgotten(age_s, since_s) is may_be


def test_seen_ids_are_bounded_in_number_and_forgotten_ones_are_recognised_by_age() -> None:
    seen = SeenIds(keep_s=100.0, most=10)
    for number in range(15):
        seen.add(_id(number), float(number))
    assert len(seen.seen_at) == 10
    assert _id(4) not in seen
    assert _id(5) in seen
    assert seen.forgotten_at == 4.0
    assert may_be_forgotten(12.0, 15.0 - seen.forgotten_at)  # born at 3, so it may be one of the first five
    assert not may_be_forgotten(5.0, 15.0 - seen.forgotten_at)


def test_seen_ids_are_bounded_in_age() -> None:
    seen = SeenIds(keep_s=10.0, most=100)
    seen.add(_id(1), 0.0)
    seen.add(_id(2), 5.0)
    seen.forget_old(10.0)
    assert _id(1) not in seen
    assert _id(2) in seen


@pytest.mark.parametrize("now", [0.0, 0.3, 1234.5678, 123_456.789, 3_000_000 + 1 / 3])
def test_a_rumor_gets_older_with_every_holder_even_in_no_time(now: float) -> None:
    age_ms = 0
    for _ in range(100):
        age_ms = _held(1, born_at=now - age_ms / 1000).message(now).age_ms
    assert age_ms == 100


def test_a_rumor_is_held_until_its_time_is_over() -> None:
    group = _group(retention_s=60.0)
    group.add(_held(1, born_at=0.0))
    group.add(_held(2, born_at=-50.0))
    group.expire(9.9)
    assert list(group.held) == [_id(1), _id(2)]
    group.expire(10.0)
    assert list(group.held) == [_id(1)]
    group.expire(60.0)
    assert not group.held
    assert group.digest.total == 0
    assert group.payload_bytes == 0


def test_payloads_are_bounded_and_the_first_that_came_goes_first() -> None:
    group = _group(most_bytes=1000)
    for number in range(5):
        group.add(_held(number, payload=b"x" * 300))
    assert list(group.held) == [_id(2), _id(3), _id(4)]
    assert group.payload_bytes == 900


def test_recent_and_expiring_rumors_are_found() -> None:
    group = _group(retention_s=60.0)
    for number in range(20):
        group.add(_held(number, born_at=-float(number), now=float(number)))
    assert [held.id for held in group.received_since(17.0)] == [_id(19), _id(18)]
    assert sorted(held.id for held in group.expiring_before(42.5)) == [_id(18), _id(19)]


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 100)), max_size=40), st.floats(0, 200))
def test_the_digest_is_always_that_of_the_held_rumors(came: list[tuple[int, float]], end: float) -> None:
    group = _group(retention_s=50.0, most_bytes=20)
    for number, born_at in came:
        if _id(number) not in group.held:
            group.add(_held(number, born_at=born_at))
    group.expire(end)
    expected = Digest(BUCKETS)
    for rumor_id in group.held:
        expected.toggle(hash_of(rumor_id))
    assert group.digest.buckets == expected.buckets


@given(st.integers(1, 12), st.integers(0, 15), st.booleans(), st.integers(0, 1000))
def test_picked_members_are_different_and_others(size: int, count: int, is_member: bool, seed: int) -> None:
    members = GroupMembers("n0" if is_member else "guest", tuple(f"n{number}" for number in range(size)), Random(seed))
    found = members.pick(count, without="n1")
    assert members.is_member is is_member
    assert len(set(found)) == len(found) <= max(count, 1)
    assert members.me not in found
    if "n1" in found:
        assert found == ["n1"]
        assert members.others() == 1
    elif count:
        assert len(found) == min(count, members.others() - ("n1" in members))
