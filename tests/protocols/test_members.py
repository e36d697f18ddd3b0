"""The table of members: bounded, and its digest and rings follow from what is known."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.swim_clusters import alive, stated
from trionet.protocols.digest import hash64
from trionet.protocols.members import Members
from trionet.protocols.packing import Packing
from trionet.protocols.statements import State, Statement, fingerprint, supersedes
from trionet.protocols.swim_settings import SwimOptions

NAMES = [f"m{number}" for number in range(8)]
STATEMENTS = st.builds(Statement, st.sampled_from(NAMES), st.integers(0, 3), st.integers(0, 3), st.integers(1, 2))


def table(*, present: int = 100, gone: int = 100) -> Members:
    return Members(alive("me"), 0.0, Random(1), SwimOptions(members=present, gone=gone))


@given(st.lists(STATEMENTS, max_size=40))
def test_rings_and_digest_follow_from_what_is_known(statements: list[Statement]) -> None:
    members = table(gone=3)
    for statement in statements:
        known = members.get(statement.name)
        if known is None or supersedes(statement, known.statement):
            members.put(statement, 0.0)
    present = [member for member in members if member.is_present and member.name != "me"]
    assert {member.name for member in members.present} == {member.name for member in present}
    assert {member.name for member in members.dead} == {
        member.name for member in members if member.statement.state == State.DEAD
    }
    assert members.doubted == {member.name: member for member in members if member.statement.state != State.ALIVE}
    total = fingerprint(alive("me"))
    for member in present:
        total ^= fingerprint(member.statement)
    assert members.digest.total == total
    mine = hash64(b"me")
    trusted = [member for member in present if member.statement.state == State.ALIVE]
    closest = min(trusted, key=lambda member: (hash64(member.name.encode()) - mine) % 2**64, default=None)
    assert members.trusted_on_circle() is closest


def test_a_member_without_room_is_refused() -> None:
    members = table(present=3)
    assert all(members.put(alive(name), 0.0) for name in NAMES[:2])
    assert members.put(alive(NAMES[2]), 0.0) is None
    assert len(members) == 3


def test_of_those_gone_the_oldest_is_forgotten_first() -> None:
    members = table(gone=2)
    for name in NAMES[:3]:
        members.put(alive(name), 0.0)
        members.put(stated(name, State.DEAD), 1.0)
    assert NAMES[0] not in members
    assert [member.name for member in members] == ["me", *NAMES[1:3]]


@pytest.mark.parametrize("states", [(State.DEAD, State.LEFT), (State.LEFT, State.DEAD)])
def test_so_it_is_whether_it_failed_or_left(states: tuple[State, State]) -> None:
    members = table(gone=2)
    for name, state, now in zip(NAMES, (*states, states[1]), (1.0, 2.0, 3.0), strict=False):
        members.put(alive(name), now)
        members.put(stated(name, state), now)
    assert [member.name for member in members] == ["me", *NAMES[1:3]]


def test_a_view_as_large_as_another_has_the_same_digest_only_with_the_same_members() -> None:
    one, other, third = table(), table(), table()
    for name in NAMES:
        one.put(alive(name), 0.0)
    for name in reversed(NAMES):
        other.put(alive(name), 5.0)
        third.put(alive(name, boot_id=2), 5.0)
    assert one.digest.total == other.digest.total != third.digest.total
    other.put(stated(NAMES[0], State.SUSPECT), 6.0)
    assert one.digest.total == other.digest.total, "a suspect is there"
    other.put(stated(NAMES[0], State.DEAD), 7.0)
    assert len(one.digest.differing(other.digest.buckets)) == 1


def test_statements_are_found_by_bucket() -> None:
    members = table()
    for name in NAMES:
        members.put(stated(name, State.DEAD) if name == "m3" else alive(name), 0.0)
    packing = Packing(members, 4096)
    bucket = fingerprint(alive("m3")) % 64

    def names(*buckets: int) -> list[str]:
        return [statement.name for sync, _ in packing.messages(buckets, ()) for statement in sync.statements]

    assert len(names(*range(64))) == 9
    assert "m3" in names(bucket)
    assert names() == []
