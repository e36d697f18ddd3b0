"""Long and short calls, nested ones, streams and cancels at random, amid faults: nothing is left of them at the end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from trionet.nesting import DEEPEST
from trionet.protocols.link.holdings import Holding
from trionet.protocols.link.incoming import IncomingCalls
from trionet.protocols.link.outgoing import OutgoingCalls
from trionet.simulation import INVARIANTS, SCENARIOS, Trial, check_processes, first_difference, run_trial

_INVARIANT = "tests.simulation.links:LinksHoldNothing"


def trial_of(seed: int) -> Trial:
    """A trial of long and short calls, nested ones and streams, cancels, and links that break, amid faults."""
    return Trial(
        seed=seed,
        nodes=3 + seed % 3,
        duration_s=6.0,
        settle_s=90.0,
        network=("lan", "wan", "bad", "perfect")[seed // 2 % 4],
        scenario="anything" if seed % 2 else sorted(SCENARIOS)[seed // 2 % len(SCENARIOS)],
        program="tests.simulation.links:mixture",
        config="tests.simulation.links:CONFIG",
        invariants=[*INVARIANTS, _INVARIANT],
    )


def run_seeds(first: int, last: int) -> None:
    for seed in range(first, last):
        violations = run_trial(trial_of(seed)).violations
        assert not violations, f"seed {seed}: {violations[0]}"


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.soak) for first in (10, 20, 30))])
def test_links_hold_nothing_after_a_mixture_of_calls_and_faults(first: int) -> None:
    run_seeds(first, first + 10)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(40, 5_040, 200))
def test_links_hold_nothing_with_two_hundred_more_seeds(first: int) -> None:
    run_seeds(first, first + 200)


@pytest.mark.slow
def test_a_seed_gives_the_same_mixture_twice() -> None:
    kinds = set[str]()
    for seed in range(6):
        one, other = (run_trial(trial_of(seed)).trace for _ in range(2))
        assert first_difference(one, other) is None
        assert one.hash() == other.hash()
        kinds |= {event.what for event in one.select("send")}
    assert kinds >= {"chunk", "window", "item", "credit", "cancel", "cancelled", "abandon", "bye", "reset"}


@pytest.mark.slow
def test_processes_in_which_strings_hash_differently_give_the_same_mixture() -> None:
    finding = check_processes("tests.simulation.links:mixture_trace", seed=3)
    assert finding.is_deterministic, str(finding)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method", "text"),
    [
        (OutgoingCalls, "answered", "free places"),
        (IncomingCalls, "release", "bytes of window"),
        (IncomingCalls, "_hold_answer", "bytes of answers"),
        (Holding, "close", "bytes of incomplete messages"),
    ],
)
def test_what_a_link_does_not_give_back_is_found(
    kind: type, method: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one fault planted at a time."""
    original = getattr(kind, method)

    def answered(calls: OutgoingCalls, answer: Any) -> Any:
        call = original(calls, answer)
        if call is not None and call.depth < DEEPEST:
            calls.free_places[call.depth] -= 1
        return call

    def hold_answer(calls: IncomingCalls, size: int) -> None:
        if size > 0:
            original(calls, size)

    planted = {"answered": answered, "_hold_answer": hold_answer}
    monkeypatch.setattr(kind, method, planted.get(method, lambda *_: None))
    only: dict[str, Any] = {"settle_s": 5.0, "invariants": [_INVARIANT]}  # so that links are not idle yet
    trials = (msgspec.structs.replace(trial_of(seed), **only) for seed in range(1, 8))
    found = (str(violation) for trial in trials for violation in run_trial(trial).violations)
    assert any("links_hold_nothing" in violation and text in violation for violation in found)
