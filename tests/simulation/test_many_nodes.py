"""Many whole nodes in one simulation: all know all, hear a rumor, answer calls, and notice a failure."""

from __future__ import annotations

import pytest

from benchmarks.simulated_nodes import nodes_figures


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, pytest.param(1_000, marks=pytest.mark.soak)])
def test_so_many_nodes_know_hear_answer_and_notice(count: int) -> None:
    found = nodes_figures(count)
    assert {step.what: step.reached for step in found.steps} == {step.what: step.of for step in found.steps}
    assert [step.of for step in found.steps] == [*[count] * 7, count - 1]
    assert found.false_failures == 0
