"""Bugs that are planted on purpose are found by a search, and shrunk to next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from trionet.simulation import Trial, run_trial, search, shrink

if TYPE_CHECKING:
    from trionet.simulation import Violation


def violations(trial: Trial) -> list[Violation]:
    return run_trial(trial).violations


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "invariant"),
    [
        pytest.param("RESIGNED", "membership_converges", marks=pytest.mark.soak),
        pytest.param("LENIENT", "membership_converges", marks=pytest.mark.soak),
        pytest.param("FORGETFUL", "gossip_reaches_all", marks=pytest.mark.soak),
        pytest.param("SILENT", "no_handler_outlives_its_caller", marks=pytest.mark.soak),
        ("DEAF", "no_orphan"),
    ],
)
def test_a_planted_bug_is_found_within_a_thousand_seeds_and_shrunk_to_a_few_nodes_and_faults(
    bug: str, invariant: str
) -> None:
    trial = Trial(config=f"tests.simulation.sabotage:{bug}")
    failure = search(trial, range(1000), processes=2)
    assert failure is not None
    assert invariant in {violation.invariant for violation in failure.violations}
    shrunk = shrink(failure.trial, violations, invariant=invariant, most_runs=60)
    assert shrunk.trial.nodes <= 5
    assert len(shrunk.trial.faults or []) <= 3
    assert shrunk.violation.invariant == invariant
    assert violations(shrunk.trial)[0] == shrunk.violation
    assert not violations(msgspec.structs.replace(shrunk.trial, config=None))
