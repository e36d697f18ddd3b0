"""The invariants hold with many seeds, in all scenarios: the project's search over itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trionet.simulation import SCENARIOS, Crash, Isolate, Leave, Partition, Trial, run_trial

if TYPE_CHECKING:
    from trionet.simulation import Fault

_NAMES = sorted(SCENARIOS)

FOUND = [1655]
"""Seeds that failed once. 1655: of five nodes two started again, apart from the others, and found each other first;
when the others tried the one that they held dead, it did not object, because it had not heard of them. Now those two
ask the seeds that they had in vain again."""


def trial_of(seed: int) -> Trial:
    """A trial of moderate size: half of them with faults of all kinds, the others with each scenario in turn."""
    scenario = "anything" if seed % 2 else _NAMES[seed // 2 % len(_NAMES)]
    network = ("lan", "lan", "wan", "perfect", "bad")[seed // 3 % 5]
    return Trial(seed=seed, nodes=3 + seed % 3, duration_s=12.0, scenario=scenario, network=network)


def run_seeds(first: int, last: int) -> None:
    for seed in range(first, last):
        violations = run_trial(trial_of(seed)).violations
        assert not violations, f"seed {seed}: {violations[0]}"


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.soak) for first in (20, 40, 60, 80))])
def test_nothing_is_violated_with_twenty_seeds(first: int) -> None:
    run_seeds(first, first + 20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", FOUND)
def test_nothing_is_violated_with_a_seed_that_once_failed(seed: int) -> None:
    run_seeds(seed, seed + 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [19007, 1, 2])
def test_an_isolated_node_rejoins_although_its_first_seed_is_dead(seed: int) -> None:
    faults: list[Fault] = [
        Crash(at_s=0.1, duration_s=5.5, node=0, is_silent=True),
        Leave(at_s=3.8, duration_s=2.5, node=2),
        Isolate(at_s=6.0, duration_s=4.0, node=1),
        Crash(at_s=8.0, node=0),
    ]
    assert not run_trial(Trial(seed=seed, nodes=3, duration_s=11.0, network="bad", faults=faults)).violations


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nodes_that_restarted_behind_a_partition_rejoin_the_others(seed: int) -> None:
    faults: list[Fault] = [
        Leave(at_s=2.0, duration_s=2.0, node=1),
        Leave(at_s=2.0, duration_s=2.2, node=2),
        Partition(at_s=3.5, duration_s=6.0, sides=[[1, 2], [0, 3, 4]]),
    ]
    assert not run_trial(Trial(seed=seed, duration_s=12.0, faults=faults)).violations


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(100, 10_100, 200))
def test_nothing_is_violated_with_two_hundred_more_seeds(first: int) -> None:
    run_seeds(first, first + 200)
