"""One call along a tree of very many members: each has it once, and none handles more than its share."""

from __future__ import annotations

import math

import pytest

from benchmarks.tree_spread import tree_figures

LONGEST_S = 1.0


@pytest.mark.parametrize("members", [1, 8, 9, 100, 5_000])
def test_each_member_runs_the_call_once_for_two_messages_whatever_their_number(members: int) -> None:
    found = tree_figures(1, members)
    assert found.reached == members
    assert found.messages == 2
    assert found.most_messages <= 2 * max(8, math.isqrt(members - 1) + 1) + 2
    assert found.levels <= 2


@pytest.mark.soak
def test_a_hundred_thousand_members_answer_along_a_tree_within_a_second() -> None:
    for seed in range(5):
        found = tree_figures(seed, 100_000)
        assert found.reached == 100_000
        assert found.messages == 2
        assert found.answered_s < LONGEST_S
