"""The replay window against a model: the set of all counters that were accepted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trionet.security.replay import WINDOW, ReplayWindow

MOST = (1 << 64) - 1
STEPS = st.one_of(
    st.integers(-WINDOW - 200, WINDOW + 200), st.integers(-3, 3), st.integers(0, 1 << 40), st.sampled_from([64, -64])
)


class Model:
    """What RFC 6479 says, with a set."""

    def __init__(self, start: int) -> None:
        self.start = self.greatest = start
        self.seen = set[int]()

    def accept(self, counter: int) -> bool:
        if counter in self.seen or counter <= self.start or counter <= self.greatest - WINDOW:
            return False
        self.seen.add(counter)
        self.greatest = max(self.greatest, counter)
        return True


@given(st.integers(-1, MOST), st.lists(STEPS, max_size=200))
def test_the_window_accepts_what_the_model_accepts(start: int, steps: list[int]) -> None:
    window, model, at = ReplayWindow(start), Model(start), start
    for step in steps:
        at = min(max(at + step, 0), MOST)
        expected = model.accept(at)
        assert window.is_new(at) == expected
        assert window.accept(at) == expected
        assert window.greatest == model.greatest


@given(st.integers(0, 3 * WINDOW), st.lists(st.integers(0, 3 * WINDOW), max_size=100), st.integers(0, 3 * WINDOW))
def test_a_raised_start_is_never_lowered(start: int, counters: list[int], later: int) -> None:
    window, model = ReplayWindow(start), Model(start)
    for counter in counters:
        assert window.accept(counter) == model.accept(counter)
    window.raise_start(later)
    model.start = max(model.start, later)
    for counter in (*counters, later, later + 1, start):
        assert window.accept(counter) == model.accept(counter)


def test_exactly_the_last_8128_counters_are_in_the_window() -> None:
    window = ReplayWindow(-1)
    assert window.accept(100_000)
    assert not window.is_new(100_000 - WINDOW)
    assert all(window.accept(counter) for counter in range(100_000 - WINDOW + 1, 100_000))
    assert not any(window.is_new(counter) for counter in range(100_001))


def test_a_long_jump_forgets_every_earlier_bit() -> None:
    window = ReplayWindow(-1)
    assert all(window.accept(counter) for counter in range(WINDOW))
    assert window.accept(1 << 40)
    assert all(window.accept((1 << 40) - back) for back in range(1, WINDOW))
