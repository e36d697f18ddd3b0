"""Calls along a tree under faults: complete maps, nothing twice, and nothing that runs on."""

from __future__ import annotations

from typing import Any

import pytest

from trionet.services.relayed_runs import RelayedRuns
from trionet.templates.tree_calls import TreeCall
from trionet.transports.link.outgoing import LinkClient

from .trees import check_trial


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 6))])
def test_a_call_along_a_tree_is_complete_and_runs_nothing_twice_amid_faults(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_trial(seed, monkeypatch)


@pytest.mark.parametrize("seed", range(1000, 1004))
def test_nothing_runs_after_a_call_along_a_tree_has_been_cancelled(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_trial(seed, monkeypatch, with_faults=False)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(10, 410, 50))
def test_calls_along_a_tree_amid_faults_with_four_hundred_more_seeds(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(first, first + 50):
        check_trial(seed, monkeypatch)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(1010, 1210, 50))
def test_cancelled_calls_along_a_tree_with_two_hundred_more_seeds(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(first, first + 50):
        check_trial(seed, monkeypatch, with_faults=False)


def _found(monkeypatch: pytest.MonkeyPatch, *, with_faults: bool, seeds: range) -> str:
    """Return what the first of some trials says that finds what has been planted."""
    for seed in seeds:
        try:
            check_trial(seed, monkeypatch, with_faults=with_faults)
        except AssertionError as exc:
            return str(exc)
        except BaseExceptionGroup as exc:
            return "; ".join(str(one) for one in exc.exceptions)
    return "nothing"


def test_a_memory_that_forgets_at_once_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = RelayedRuns._end  # noqa: SLF001  what it leaves is what is forgotten

    def end(runs: RelayedRuns, key: object, run: Any, answer: Any, size: int) -> None:
        original(runs, key, run, answer, size)
        runs._ended.clear()  # noqa: SLF001

    monkeypatch.setattr(RelayedRuns, "_end", end)
    assert "have run twice" in _found(monkeypatch, with_faults=True, seeds=range(60))


def test_members_that_are_lost_with_the_one_on_their_way_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = TreeCall.take_failure

    def take_own(call: TreeCall, place: int, error: Any, *, is_asked_here: bool) -> None:
        if is_asked_here:
            original(call, place, error, is_asked_here=True)

    monkeypatch.setattr(TreeCall, "take_failure", take_own)
    assert "a hole" in _found(monkeypatch, with_faults=True, seeds=range(30))


def test_a_cancel_that_does_not_wait_for_the_handlers_below_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = LinkClient.cancel

    async def cancel(client: LinkClient, call: Any, request: Any) -> None:
        if request.method == "answer":
            client._core.cancel(call)  # noqa: SLF001  it is what the plant leaves out that counts
            client._push()  # noqa: SLF001
            return
        await original(client, call, request)

    monkeypatch.setattr(LinkClient, "cancel", cancel)
    assert "run after the end" in _found(monkeypatch, with_faults=False, seeds=range(1000, 1030))
