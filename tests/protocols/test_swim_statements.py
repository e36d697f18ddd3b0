"""Statements about a member form a join-semilattice, in any order."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.swim_clusters import alive, stated
from trionet.protocols.statements import (
    MOST_BOOT_ID,
    MOST_INCARNATION,
    MOST_SUSPECTED_BY,
    State,
    Statement,
    fingerprint,
    is_valid,
    merged,
    supersedes,
)

STATEMENTS = st.builds(
    Statement,
    st.just("x"),
    st.integers(0, 2),
    st.integers(0, 3),
    st.integers(1, 2),
    st.dictionaries(st.sampled_from("ab"), st.sampled_from("cd"), max_size=1),
    st.sets(st.sampled_from("mnopqr"), max_size=MOST_SUSPECTED_BY).map(lambda names: tuple(sorted(names))),
)


@given(STATEMENTS, STATEMENTS)
def test_merging_is_commutative(one: Statement, other: Statement) -> None:
    assert merged(one, other) == merged(other, one)


@given(STATEMENTS, STATEMENTS, STATEMENTS)
def test_merging_is_associative(one: Statement, other: Statement, third: Statement) -> None:
    assert merged(merged(one, other), third) == merged(one, merged(other, third))


@given(STATEMENTS)
def test_merging_is_idempotent(one: Statement) -> None:
    assert merged(one, one) == one


@given(st.lists(STATEMENTS, min_size=1, max_size=8), st.randoms())
def test_the_order_and_repetition_of_statements_changes_nothing(statements: list[Statement], random: object) -> None:
    shuffled = [*statements, *statements]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert functools.reduce(merged, shuffled) == functools.reduce(merged, statements)


@given(STATEMENTS, STATEMENTS)
def test_of_two_statements_one_supersedes_the_other_unless_they_say_the_same(one: Statement, other: Statement) -> None:
    is_same = (one.incarnation, one.state, one.boot_id, one.tags) == (
        other.incarnation,
        other.state,
        other.boot_id,
        other.tags,
    )
    assert supersedes(one, other) + supersedes(other, one) == (not is_same)


@given(STATEMENTS, STATEMENTS)
def test_an_incarnation_never_falls(one: Statement, other: Statement) -> None:
    assert merged(one, other).incarnation == max(one.incarnation, other.incarnation)


@given(STATEMENTS)
def test_the_dead_are_not_resurrected_without_a_higher_incarnation(other: Statement) -> None:
    dead = stated("x", State.DEAD, 1)
    after = merged(other, dead)
    assert after.state >= State.DEAD or after.incarnation > dead.incarnation


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (alive("x", 1), alive("x", 0), True),
        (alive("x", 0), alive("x", 0), False),
        (stated("x", State.SUSPECT), alive("x"), True),
        (alive("x"), stated("x", State.SUSPECT), False),
        (alive("x", 1), stated("x", State.DEAD), True),
        (stated("x", State.LEFT), stated("x", State.DEAD), True),
        (alive("x", boot_id=2), alive("x", boot_id=1), True),
        (stated("x", State.SUSPECT, boot_id=1), alive("x", boot_id=2), True),
        (alive("x", a="2"), alive("x", a="1"), True),
    ],
)
def test_which_statement_holds(new: Statement, old: Statement, expected: bool) -> None:
    assert supersedes(new, old) is expected


@pytest.mark.parametrize(
    "statement",
    [
        alive("x", -1),
        alive("x", MOST_INCARNATION + 1),
        alive("x", boot_id=-1),
        alive("x", boot_id=MOST_BOOT_ID + 1),
        alive(""),
        alive("x" * 129),
        alive("x", a="b" * 600),
        Statement("x", 0, 4, 1),
        Statement("x", 0, -1, 1),
        stated("x", State.SUSPECT, suspected_by="abcde"),
        stated("x", State.SUSPECT, suspected_by=["y" * 129]),
    ],
)
def test_statements_that_no_correct_node_makes_are_invalid(statement: Statement) -> None:
    assert not is_valid(statement)


def test_the_bucket_of_a_member_depends_on_its_name_alone() -> None:
    assert len({fingerprint(alive("x", number, boot_id=number)) % 64 for number in range(20)}) == 1
    assert len({fingerprint(alive("x", number)) for number in range(20)}) == 20
