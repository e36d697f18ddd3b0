from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols.anti_entropy import (
    answer_buckets,
    answer_summary,
    differing,
    in_span,
    missing_from,
    packed,
    summary,
)
from trionet.protocols.gossip_messages import BUCKETS, IDS_PER_MESSAGE, Buckets, Listing, split
from trionet.protocols.group_members import GroupMembers
from trionet.protocols.push import RandomPush
from trionet.protocols.rumors import Held, RumorGroup

_SETTLE_S = 1.0


def _group(ids: list[bytes], *, came_at: float = 0.0, born_at: float = 0.0) -> RumorGroup:
    group = RumorGroup("g", GroupMembers("n0", (), Random(1)), RandomPush(), retention_s=60.0, most_bytes=1 << 20)
    for rumor_id in ids:
        group.add(Held("g", rumor_id, "n0", b"x", born_at, came_at))
    return group


def _ids(count: int, seed: int = 0) -> list[bytes]:
    random = Random(seed)
    return [random.randbytes(12) for _ in range(count)]


@pytest.mark.parametrize(
    ("target", "vectors", "is_in"),
    [
        (0, [], True),
        (5, [], False),
        (5, [5], True),
        (6, [5, 3], True),
        (7, [5, 3], False),
        (1, [2, 4, 8], False),
        (10, [2, 4, 8], True),
        (9, [3, 5, 15], True),
    ],
)
def test_the_span_is_what_exclusive_or_can_make(target: int, vectors: list[int], is_in: bool) -> None:
    assert in_span(target, vectors) is is_in


@given(st.lists(st.integers(0, 255), max_size=6), st.integers(0, 255))
def test_the_span_is_the_same_as_by_trying_all(vectors: list[int], target: int) -> None:
    reachable = {0}
    for vector in vectors:
        reachable |= {one ^ vector for one in reachable}
    assert in_span(target, vectors) is (target in reachable)


@given(st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(0, 1 << 256), max_size=8))
def test_buckets_survive_the_message(values: dict[int, int]) -> None:
    totals = [values.get(index, 0) for index in range(BUCKETS)]
    assert differing(totals, packed(totals)) == []
    changed = [*totals]
    changed[7] ^= 1
    assert differing(changed, packed(totals)) == [7]


def test_equal_sets_need_no_answer_to_the_summary() -> None:
    ids = _ids(1000)
    one, other = _group(ids), _group(ids[::-1])
    assert answer_summary(other, summary(one, _SETTLE_S, 10.0), _SETTLE_S, 10.0) == []


def test_rumors_on_their_way_are_no_difference() -> None:
    ids = _ids(100)
    one, other = _group(ids[:90]), _group(ids[:90])
    for rumor_id in ids[90:95]:  # came here just now, and there a moment ago
        one.add(Held("g", rumor_id, "n0", b"x", 9.5, 9.9))
    for rumor_id in ids[90:]:
        other.add(Held("g", rumor_id, "n0", b"x", 9.5, 9.6))
    assert answer_summary(other, summary(one, _SETTLE_S, 10.0), _SETTLE_S, 10.0) == []
    assert answer_summary(one, summary(other, _SETTLE_S, 10.0), _SETTLE_S, 10.0) == []


def test_rumors_that_end_at_different_moments_are_no_difference() -> None:
    ids = _ids(100)
    one, other = _group(ids[:90]), _group(ids[:90])
    for rumor_id in ids[90:]:
        one.add(Held("g", rumor_id, "n0", b"x", -50.5, 0.0))
        other.add(Held("g", rumor_id, "n0", b"x", -49.7, 0.0))
    for now in (7.0, 8.0, 8.6, 9.4, 9.6, 10.0, 10.2, 10.4, 11.0):
        one.expire(now)
        other.expire(now)
        assert answer_summary(other, summary(one, _SETTLE_S, now), _SETTLE_S, now) == [], now
        assert answer_summary(one, summary(other, _SETTLE_S, now), _SETTLE_S, now) == [], now


def test_a_settled_difference_is_found_among_many_that_are_not() -> None:
    ids = _ids(150)
    one, other = _group(ids[:50]), _group(ids[:49])
    for rumor_id in ids[50:]:
        other.add(Held("g", rumor_id, "n0", b"x", 9.5, 9.6))
    assert answer_summary(other, summary(one, _SETTLE_S, 10.0), _SETTLE_S, 10.0) != []


@given(st.sets(st.integers(0, 2000), max_size=300), st.sets(st.integers(0, 2000), max_size=300))
def test_each_learns_the_ids_that_it_lacks(mine: set[int], theirs: set[int]) -> None:
    ids = _ids(2001)
    one, other = _group([ids[i] for i in sorted(mine)]), _group([ids[i] for i in sorted(theirs)])
    answers: list[Listing] = []
    asked = one
    for message in answer_summary(other, summary(one, _SETTLE_S, 10.0), _SETTLE_S, 10.0):
        if isinstance(message, Buckets):
            answers += answer_buckets(one, message, _SETTLE_S, 10.0)
            asked = other
        else:
            answers.append(message)
    lister = other if asked is one else one
    told = {rumor_id for answer in answers for rumor_id in split(answer.ids)}
    lacking = {rumor_id for answer in answers for rumor_id in missing_from(asked, answer, _SETTLE_S, 10.0)}
    assert all(len(answer.ids) <= 12 * IDS_PER_MESSAGE for answer in answers)
    assert told - set(asked.held) == set(lister.held) - set(asked.held)
    assert lacking == set(asked.held) - set(lister.held)


def test_more_than_a_message_holds_in_one_bucket_is_listed_in_part() -> None:
    one = _group(_ids(20_000))
    answers = answer_buckets(one, Buckets("g", b""), _SETTLE_S, 10.0)
    assert 1 <= len(answers) <= 16
    assert all(not answer.is_whole and len(answer.ids) == 12 * IDS_PER_MESSAGE for answer in answers)
    assert len(missing_from(one, Listing("g", 1, b"", is_whole=False), _SETTLE_S, 10.0)) == IDS_PER_MESSAGE
