"""Calls along a tree under faults: complete maps, nothing twice, and nothing that runs on."""

from __future__ import annotations

import pytest

from .trees import check_trial


@pytest.mark.parametrize("seed", range(10))
def test_a_call_along_a_tree_is_complete_and_runs_nothing_twice_amid_faults(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_trial(seed, monkeypatch)


@pytest.mark.parametrize("seed", range(1000, 1010))
def test_nothing_runs_after_a_call_along_a_tree_has_been_cancelled(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_trial(seed, monkeypatch, with_faults=False)
