"""The keys of simulated nodes rotate under loss, partitions, crashes and restarts: no member is stranded."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.simulation.rotating import rotated, rotated_amid_calls
from trionet.simulation import first_difference

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_rotation_through_faults_strands_no_member(tmp_path: Path) -> None:
    done = Counter[str]()
    for seed in range(5):
        done += rotated(seed, 3 + seed % 3, tmp_path / "keys")[1]
    assert all(done[what] for what in ("install", "use", "retire")), done


@pytest.mark.parametrize("seed", [75])
def test_a_rotation_that_once_failed_passes(seed: int, tmp_path: Path) -> None:
    """Seed 75: a host crashes and starts again, and the first call goes over a link to its former life."""
    rotated(seed, 3 + seed % 4, tmp_path / "keys")


def test_a_rotation_gives_the_same_trace_twice(tmp_path: Path) -> None:
    one, other = (rotated(7, 4, tmp_path / "keys")[0] for _ in range(2))
    assert first_difference(one, other) is None


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(0, 1000, 50))
def test_rotation_through_faults_strands_no_member_in_1000_seeds(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 50):
        rotated(seed, 3 + seed % 4, tmp_path / "keys")


def test_no_call_is_lost_in_a_rotation(tmp_path: Path) -> None:
    assert sum((rotated_amid_calls(seed, 3 + seed % 3, tmp_path / "keys") for seed in range(3)), Counter())["calls"]


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(0, 1000, 50))
def test_no_call_is_lost_in_1000_rotations(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 50):
        rotated_amid_calls(seed, 3 + seed % 4, tmp_path / "keys")
