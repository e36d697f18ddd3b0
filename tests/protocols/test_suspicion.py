"""The timeout of a suspicion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols.suspicion import (
    expected_confirmations,
    suspicion_maximum_s,
    suspicion_minimum_s,
    suspicion_timeout_s,
)


@pytest.mark.parametrize(
    ("confirmations", "expected", "seconds"),
    [(0, 3, 30.0), (1, 3, 16.0), (2, 3, 7.8105), (3, 3, 2.0), (4, 3, 2.0), (0, 0, 2.0), (0, 1, 30.0), (1, 1, 2.0)],
)
def test_confirmations_shorten_the_time_as_memberlist_does(confirmations: int, expected: int, seconds: float) -> None:
    assert suspicion_timeout_s(confirmations, expected, 2.0, 30.0) == pytest.approx(seconds, abs=1e-3)


@given(st.integers(0, 10), st.integers(0, 5), st.floats(0.1, 10), st.floats(1, 10))
def test_the_time_never_grows_with_confirmations(
    confirmations: int, expected: int, minimum: float, factor: float
) -> None:
    before = suspicion_timeout_s(confirmations, expected, minimum, minimum * factor)
    after = suspicion_timeout_s(confirmations + 1, expected, minimum, minimum * factor)
    assert minimum <= after <= before <= minimum * factor


def test_reversed_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="minimum"):
        suspicion_timeout_s(0, 3, 2.0, 1.0)


@pytest.mark.parametrize(("mult", "gossip_s", "probe_s", "seconds"), [(4, 0.2, 0.5, 2.1), (9, 0.1, 0.2, 2.0)])
def test_the_minimum_follows_from_the_profile(mult: int, gossip_s: float, probe_s: float, seconds: float) -> None:
    assert suspicion_minimum_s(mult, gossip_s, probe_s) == pytest.approx(seconds)


def test_the_maximum_follows_from_the_profile() -> None:
    assert suspicion_maximum_s(4, 0.2, 0.5) == pytest.approx(7.8)


@pytest.mark.parametrize(("members", "expected"), [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3), (10_000, 3)])
def test_as_many_confirmations_are_expected_as_there_are_others(members: int, expected: int) -> None:
    assert expected_confirmations(members) == expected
