"""The same seed gives the same run: in one process, in two, with all faults there are."""

from __future__ import annotations

import gc
import random
import time
from random import Random

import pytest
import trio

from tests.simulation.services import CONFIG, COUNT, scenario_trace
from trionet.simulation import SCENARIOS, Crash, Trace, check, check_processes, first_difference, open_cluster, run


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_seed_gives_the_same_trace_twice_with_all_kinds_of_faults(seed: int) -> None:
    one, other = (run(scenario_trace, seed, seed=seed) for _ in range(2))
    assert first_difference(one, other) is None
    assert one.hash() == other.hash()
    assert {event.kind for event in one} >= {"send", "deliver", "drop", "call", "answer", "state", "fault"}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_thousand_seeds_give_the_same_trace_twice() -> None:
    for seed in range(1000):
        one, other = (run(scenario_trace, seed, seed=seed) for _ in range(2))
        assert first_difference(one, other) is None, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_the_same_faults_happen_in_each_scenario(scenario: str) -> None:
    one, other = (run(scenario_trace, 5, 4, 20.0, scenario, seed=5) for _ in range(2))
    assert one.hash() == other.hash()
    assert one.select("fault")


def test_other_seeds_give_other_traces() -> None:
    hashes = {run(scenario_trace, seed, 3, 2.0, seed=seed).hash() for seed in range(3)}
    assert len(hashes) == 3


@pytest.mark.slow
def test_processes_in_which_strings_hash_differently_give_the_same_trace() -> None:
    finding = check_processes("tests.simulation.services:scenario_trace", "7", "4", "15", seed=7)
    assert finding.is_deterministic, str(finding)


async def by_the_wall_clock() -> Trace:
    async with open_cluster(2, seed=3, config=CONFIG) as sim:
        await trio.sleep(time.perf_counter() % 1)
        await sim.nodes[0].all.comm.send([], COUNT)
    assert sim.trace is not None
    return sim.trace


def test_a_check_shows_the_first_different_event_and_the_call_of_the_wall_clock() -> None:
    finding = check(by_the_wall_clock)
    assert not finding.is_deterministic
    assert finding.first is not None
    assert finding.first.what in ("local/counter/count", "datagram")
    assert [leak.what for leak in finding.leaks] == ["time.perf_counter"]
    assert "test_determinism.py" in str(finding)
    assert time.perf_counter.__module__ == "time"


async def by_module_random() -> Trace:
    async with open_cluster(2, seed=3, config=CONFIG) as sim:
        await trio.sleep(random.random())
    assert sim.trace is not None
    return sim.trace


def test_the_module_random_is_seeded_and_reported() -> None:
    before = random.getstate()
    finding = check(by_module_random, seed=1)
    assert finding.is_deterministic
    assert [leak.what for leak in finding.leaks] == ["random.random"]
    assert str(finding).startswith("both runs are equal")
    assert random.getstate() == before


def test_the_garbage_collector_runs_less_often_only_within_a_run() -> None:
    before = gc.get_threshold()

    async def inside() -> int:
        await trio.lowlevel.checkpoint()
        return gc.get_threshold()[0]

    assert run(inside) > before[0]
    assert gc.get_threshold() == before
    gc.set_threshold(0)
    try:
        assert run(inside) == 0
    finally:
        gc.set_threshold(*before)


def test_a_node_has_its_own_random_numbers_and_they_follow_from_the_seed() -> None:
    async def numbers() -> list[float]:
        async with open_cluster(3, seed=8) as sim:
            return [node.random.random() for node in sim.nodes]
        raise AssertionError

    one, other = (run(numbers) for _ in range(2))
    assert one == other
    assert len(set(one)) == 3


def test_scenarios_end_in_time_and_follow_from_their_random_numbers() -> None:
    for scenario in SCENARIOS.values():
        for n in (1, 2, 10):
            faults = scenario(n, 60.0, Random(1))
            assert faults == scenario(n, 60.0, Random(1))
            assert all(fault.at_s >= 0 and fault.at_s + (fault.duration_s or 0) <= 60.001 for fault in faults)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10])
def test_only_a_minority_crashes_for_good_and_two_nodes_remain(n: int) -> None:
    most = dict.fromkeys(SCENARIOS, 0)
    for seed in range(60):
        for name, scenario in SCENARIOS.items():
            for_good = [fault for fault in scenario(n, 60.0, Random(seed)) if fault.duration_s is None]
            assert all(isinstance(fault, Crash) for fault in for_good)
            most[name] = max(most[name], len(for_good))
    allowed = {1: 0, 2: 0, 3: 1, 4: 1, 10: 4}[n]
    assert {name: count for name, count in most.items() if count} == dict.fromkeys(
        ("anything", "churn") if allowed else (), allowed
    )
