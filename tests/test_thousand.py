"""The benchmark of very many nodes on one machine: when it begins to measure."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import pytest

from benchmarks.thousand import most_nodes, settle

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.parametrize(
    ("used", "windows"),
    [
        ([4.0, 2.0, 1.0, 1.0], 4),  # it has fallen, and falls no more
        ([9.5, 9.6, 9.5, 4.0, 3.9], 5),  # two processors were full
        ([1.0, 1.1], 2),
        ([9.9] * 20, 12),  # other work fills them: for a minute at most
    ],
)
async def test_it_waits_until_the_processor_time_falls_no_more(
    used: list[float], windows: int, autojump_clock: MockClock
) -> None:
    total = accumulate(used, initial=100.0)
    assert await settle(lambda: next(total), 2) == pytest.approx(5.0 * windows)


def test_as_many_are_started_as_take_half_of_the_processors_and_fit_into_memory() -> None:
    assert most_nodes(0.0009, 2, 24_000) == 1_000
    assert most_nodes(0.0011, 2, 24_000) == 500
    assert most_nodes(0.0001, 2, 9_000) == 500
    assert most_nodes(0.1, 2, 24_000) == 300
    assert most_nodes(0.0001, 2, 1_000) == 0
