"""Shrinking keeps the failure, and leaves nothing that it doesn't need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trionet.simulation import (
    Crash,
    Degrade,
    Isolate,
    Partition,
    Pause,
    Skew,
    Slow,
    Trial,
    Violation,
    run_trial,
    shrink,
)

if TYPE_CHECKING:
    from trionet.simulation.fault import Fault

MANY = 10_000


def violation(invariant: str = "it") -> Violation:
    return Violation(invariant=invariant, at_s=1.0, text="so it is")


def kinds(trial: Trial) -> set[str]:
    return {type(fault).__name__ for fault in trial.schedule()}


nodes = st.integers(0, 4)
times = st.floats(0, 19)
durations = st.floats(0.1, 20)
faults: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Pause, at_s=times, duration_s=durations, node=nodes),
    st.builds(Isolate, at_s=times, duration_s=durations, node=nodes),
    st.builds(Crash, at_s=times, duration_s=durations, node=nodes, is_silent=st.booleans()),
    st.builds(Slow, at_s=times, duration_s=durations, node=nodes, lag_s=st.floats(0.01, 5)),
    st.builds(Skew, at_s=times, duration_s=durations, node=nodes, rate=st.floats(0.5, 2)),
    st.builds(Degrade, at_s=times, duration_s=durations, loss=st.floats(0, 1)),
    st.builds(Partition, at_s=times, duration_s=durations, sides=st.just([[0, 1], [2, 3, 4]])),
)


@settings(max_examples=60)
@given(st.lists(faults, min_size=1, max_size=12), st.data())
def test_the_result_fails_and_needs_each_of_its_faults(schedule: list[Fault], data: st.DataObject) -> None:
    trial = Trial(faults=schedule)
    needed = set(data.draw(st.lists(st.sampled_from(sorted(kinds(trial))), max_size=3)))
    at_least = data.draw(st.integers(1, len(schedule)))
    least_nodes = data.draw(st.integers(1, 5))

    def run(trial: Trial) -> list[Violation]:
        fails = needed <= kinds(trial) and len(trial.schedule()) >= at_least and trial.nodes >= least_nodes
        return [violation()] if fails else []

    if not run(trial):
        return
    shrunk = shrink(trial, run, most_runs=MANY)
    assert run(shrunk.trial)
    assert shrink(trial, run, most_runs=MANY) == shrunk
    left = shrunk.trial.faults
    assert left is not None
    assert len(left) == max(at_least, len(needed))
    for index in range(len(left)):
        assert not run(msgspec.structs.replace(shrunk.trial, faults=left[:index] + left[index + 1 :]))


def test_faults_nodes_durations_and_strengths_get_smaller() -> None:
    schedule: list[Fault] = [
        Degrade(at_s=1.23456, duration_s=11.0, loss=0.3, duplicates=0.2, reordered=0.3, nodes=[1, 4]),
        Pause(at_s=3.3, duration_s=9.0, node=4),
        Crash(at_s=5.0, duration_s=2.0, node=2, is_silent=True),
    ]

    def run(trial: Trial) -> list[Violation]:
        lost = [fault for fault in trial.faults or [] if isinstance(fault, Degrade) and fault.loss >= 0.1]
        paused = [fault for fault in trial.faults or [] if isinstance(fault, Pause) and (fault.duration_s or 0) >= 2]
        return [violation()] if lost and paused and trial.nodes >= 2 else []

    shrunk = shrink(Trial(nodes=5, faults=schedule), run).trial
    assert shrunk.nodes == 2
    assert shrunk.duration_s < 1
    assert shrunk.faults is not None
    degrade, pause = shrunk.faults
    assert isinstance(degrade, Degrade)
    assert isinstance(pause, Pause)
    assert degrade.loss == pytest.approx(0.15)
    assert (degrade.duplicates, degrade.reordered) == (0.0, 0.0)
    assert degrade.at_s == 1.0
    assert 2 <= (pause.duration_s or 0) < 4
    assert pause.node < 2
    assert degrade.nodes is not None
    assert all(node < 2 for node in degrade.nodes)


def test_only_the_violation_in_question_counts() -> None:
    def run(trial: Trial) -> list[Violation]:
        return [violation("it")] if trial.nodes == 5 else [violation("another")]

    shrunk = shrink(Trial(nodes=5, faults=[]), run)
    assert shrunk.trial.nodes == 5
    assert shrunk.violation == violation("it")
    assert shrink(Trial(nodes=5, faults=[]), run, invariant="it") == shrunk
    with pytest.raises(ValueError, match="does not fail"):
        shrink(Trial(nodes=5), run, invariant="another")


def test_a_failure_at_another_place_is_another_failure() -> None:
    faults: list[Fault] = [Isolate(at_s=0.2, duration_s=0.5, node=0), Pause(at_s=0.3, duration_s=0.1, node=1)]
    trial = Trial(nodes=2, duration_s=1.0, faults=faults, program="tests.simulation.programs:fail_in_two_ways")
    shrunk = shrink(trial, lambda trial: run_trial(trial).violations, most_runs=40)
    assert shrunk.violation.text.startswith("AssertionError: something was dropped, at the end of ")
    assert shrunk.violation.signature.startswith("AssertionError programs.py:")
    assert [type(fault) for fault in shrunk.trial.faults or []] == [Isolate]


def test_failures_are_alike_with_other_numbers_but_not_at_another_place() -> None:
    one = Violation(invariant="program", at_s=1.0, text="3 are left", signature="ValueError shop.py:7")
    assert one.is_like(msgspec.structs.replace(one, at_s=2.0, text="4 are left", nodes=["n1"]))
    for changes in ({"invariant": "node"}, {"signature": "ValueError shop.py:8"}, {"signature": ""}):
        assert not one.is_like(msgspec.structs.replace(one, **changes))


@pytest.mark.parametrize("most_runs", [1, 2, 7])
def test_no_more_runs_are_made_than_allowed(most_runs: int) -> None:
    runs = 0

    def run(trial: Trial) -> list[Violation]:
        nonlocal runs
        runs += 1
        return [violation()]

    told: list[int] = []
    shrunk = shrink(Trial(seed=3), run, most_runs=most_runs, on_progress=lambda count, _: told.append(count))
    assert shrunk.runs == runs == most_runs
    assert told == list(range(2, most_runs + 1))
    assert shrunk.trial.faults is not None
