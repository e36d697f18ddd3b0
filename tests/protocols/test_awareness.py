"""The local health of a node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols.awareness import WORST, Awareness, failed_probe_penalty, stall_penalty


@given(st.lists(st.integers(-10, 10)))
def test_the_score_stays_within_its_bounds(penalties: list[int]) -> None:
    awareness = Awareness()
    for penalty in penalties:
        awareness.add(penalty)
        assert 0 <= awareness.score <= WORST


@pytest.mark.parametrize(("asked", "nacks", "penalty"), [(0, 0, 1), (3, 3, 0), (3, 1, 2), (3, 0, 3), (1, 1, 0)])
def test_missing_nacks_lower_the_local_health(asked: int, nacks: int, penalty: int) -> None:
    assert failed_probe_penalty(asked, nacks) == penalty


@pytest.mark.parametrize(("lag_s", "penalty"), [(0.0, 0), (0.2, 1), (0.5, 1), (0.6, 2), (2.0, 4), (20.0, 8)])
def test_a_stall_lowers_the_local_health(lag_s: float, penalty: int) -> None:
    assert stall_penalty(lag_s, 0.5) == penalty
