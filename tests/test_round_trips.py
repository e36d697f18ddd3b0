"""The statistics of ``trionet ping``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.cli.round_trips import RoundTrips


def of(*times_s: float | None) -> RoundTrips:
    trips = RoundTrips()
    for time_s in times_s:
        trips.add(time_s)
    return trips


def test_nothing_sent_has_no_loss_and_nothing_received_no_times() -> None:
    assert of().summary().loss == 0.0
    lost = of(None, None).summary()
    assert (lost.sent, lost.received, lost.loss, lost.min_ms, lost.median_ms) == (2, 0, 1.0, None, None)


def test_the_statistics_of_some_round_trips() -> None:
    found = of(0.004, None, 0.001, 0.002, 0.003).summary()
    assert (found.sent, found.received, found.loss) == (5, 4, 0.2)
    assert (found.min_ms, found.mean_ms, found.median_ms, found.max_ms) == (1.0, 2.5, 2.0, 4.0)
    assert found.jitter_ms == pytest.approx(5 / 3, abs=0.001)


@given(st.lists(st.floats(0, 10), min_size=1))
def test_the_statistics_are_in_order(times_s: list[float]) -> None:
    found = of(*times_s).summary()
    values = [found.min_ms, found.median_ms, found.p99_ms, found.max_ms]
    assert None not in values
    assert values == sorted(values)  # type: ignore[type-var]  # none is None
