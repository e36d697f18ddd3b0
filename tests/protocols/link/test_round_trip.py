import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols.link.round_trip import RoundTrip


@pytest.mark.parametrize(
    ("samples_s", "smoothed_s", "grace_s"),
    [
        ([], None, 1.0),
        ([0.0], 0.0, 0.1),
        ([0.001], 0.001, 0.1),
        ([0.04], 0.04, 0.24),  # 4 x (0.04 + 0.02)
        ([0.04, 0.04], 0.04, 0.22),  # the variation shrinks by a quarter: 4 x (0.04 + 0.015)
        ([0.04, 0.08], 0.045, 0.28),  # 4 x (0.045 + 0.025)
        ([0.08, 0.04], 0.075, 0.46),  # 4 x (0.075 + 0.04)
        ([0.5], 0.5, 1.0),
        ([60.0], 60.0, 1.0),
        ([0.1] * 50, 0.1, 0.4),  # a steady round trip has no variation
    ],
)
def test_the_grace_is_four_round_trips_and_their_variation(
    samples_s: list[float], smoothed_s: float | None, grace_s: float
) -> None:
    round_trip = RoundTrip()
    for sample_s in samples_s:
        round_trip.add(sample_s)
    assert round_trip.smoothed_s == (None if smoothed_s is None else pytest.approx(smoothed_s))
    assert round_trip.grace_s() == pytest.approx(grace_s, abs=1e-6)


@given(samples_s=st.lists(st.floats(min_value=0, max_value=1e9), max_size=20))
def test_the_grace_is_at_least_50_ms_and_at_most_a_second_whatever_was_measured(samples_s: list[float]) -> None:
    round_trip = RoundTrip()
    for sample_s in samples_s:
        round_trip.add(sample_s)
        assert 0.05 <= RoundTrip.GRACE_MIN_S <= round_trip.grace_s() <= RoundTrip.GRACE_MAX_S <= 1.0
        smoothed_s = round_trip.smoothed_s
        assert smoothed_s is not None
        assert min(samples_s) * (1 - 1e-9) <= smoothed_s <= max(samples_s) * (1 + 1e-9)
