from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols.hybrid_time import MOST_STAMP, HybridClock, StampsUsedUp, milliseconds

_MS = st.integers(0, 1 << 45)


def test_a_stamp_has_the_physical_time_while_that_advances() -> None:
    clock = HybridClock()
    first = clock.next_stamp(1_000, 0.0)
    assert milliseconds(first) == 1_000
    assert milliseconds(clock.next_stamp(1_001, 0.001)) == 1_001


def test_stamps_of_one_millisecond_are_counted() -> None:
    clock = HybridClock()
    stamps = [clock.next_stamp(5, 0.0) for _ in range(70_000)]
    assert stamps == list(range(stamps[0], stamps[0] + 70_000))
    assert milliseconds(stamps[-1]) == 6  # the counter overflows into the milliseconds


@given(st.lists(st.tuples(st.booleans(), _MS), max_size=50))
def test_each_stamp_exceeds_all_that_were_seen(steps: list[tuple[bool, int]]) -> None:
    clock, seen = HybridClock(), 0
    for is_own, ms in steps:
        if is_own:
            stamp = clock.next_stamp(ms, 0.0)
            assert stamp > seen
            assert milliseconds(stamp) >= ms
        else:
            stamp = ms << 16
            clock.observe(stamp, 0.0)
        seen = max(seen, stamp)
        assert clock.latest == seen


@given(st.lists(st.tuples(_MS, st.floats(0, 1e6)), max_size=30))
def test_the_time_never_goes_back_even_where_physical_clocks_do(steps: list[tuple[int, float]]) -> None:
    clock, now, before = HybridClock(), 0.0, 0.0
    for ms, pause_s in steps:
        now += pause_s
        clock.set_wall(ms, now)
        assert clock.ms(now) >= max(before, ms) * (1 - 1e-9)
        before = clock.ms(now)


def test_the_time_goes_on_between_two_readings() -> None:
    clock = HybridClock()
    clock.set_wall(1_000, 10.0)
    assert clock.ms(12.5) == 3_500.0


def test_the_highest_stamp_cannot_be_exceeded() -> None:
    clock = HybridClock()
    clock.observe(MOST_STAMP - 1, 0.0)
    assert clock.next_stamp(0, 0.0) == MOST_STAMP
    with pytest.raises(StampsUsedUp):
        clock.next_stamp(0, 0.0)
    assert clock.latest == MOST_STAMP


@pytest.mark.parametrize("wall_ms", [-1, -(1 << 70), 0])
def test_a_time_before_1970_counts_as_1970(wall_ms: int) -> None:
    assert HybridClock().next_stamp(wall_ms, 0.0) == 1


def test_a_physical_time_beyond_the_highest_stamp_is_refused() -> None:
    with pytest.raises(StampsUsedUp):
        HybridClock().next_stamp(1 << 60, 0.0)
