"""Which senders are out of reach."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols.proofs import Proofs
from trionet.protocols.reach import AGAIN_S, FAILURES, Reach


def test_a_sender_is_reported_when_it_is_heard_again_after_two_failures_that_followed_it() -> None:
    reach = Reach()
    for at in (0.0, 1.0):
        assert not reach.heard("a", at)
        reach.failed("a", at)
    assert reach.heard("a", 3.0)
    assert not reach.heard("a", 3.5)
    assert reach.heard("a", 3.0 + AGAIN_S)


def test_attempts_may_overlap() -> None:
    reach = Reach()
    for at in (0.0, 1.0, 3.0):
        assert not reach.heard("a", at)
    for begun_at in (0.0, 1.0):
        reach.failed("a", begun_at)
    assert reach.heard("a", 7.0)


def test_failures_count_once_for_each_time_that_it_was_heard_before() -> None:
    reach = Reach()
    reach.failed("a", 0.0)
    assert not reach.heard("a", 1.0)
    for begun_at in (0.5, 1.0, 1.5, 2.0):  # a crash, or a partition: it is away
        reach.failed("a", begun_at)
    assert not reach.heard("a", 60.0)
    assert not reach.heard("a", 61.0)


def test_a_proof_forgets_the_failures() -> None:
    proofs = Proofs(b"secret")
    for at in (0.0, 1.0):
        proofs.reach.heard("a", at)
        proofs.reach.failed("a", at)
    assert proofs.accept_echo("a", proofs.token("a"), 2.0)
    assert not proofs.reach.heard("a", 3.0)


@given(st.lists(st.tuples(st.sampled_from(["heard", "failed", "forget"]), st.floats(0, 1000)), max_size=40))
def test_no_report_comes_before_two_failures_that_each_followed_another_packet(steps: list[tuple[str, float]]) -> None:
    reach, heard, failed = Reach(), 0, 0
    for what, at in steps:
        if what == "heard":
            is_reported = reach.heard("a", at)
            assert not is_reported or (failed >= FAILURES and heard >= FAILURES)
            heard += 1
        elif what == "failed":
            reach.failed("a", at)
            failed += 1
        else:
            reach.forget("a")
            heard = failed = 0


def test_the_memory_for_senders_is_bounded_and_the_oldest_are_forgotten() -> None:
    reach = Reach()
    for at in (0.0, 1.0):
        for name in ("old", "recent"):
            reach.heard(name, at)
            reach.failed(name, at)
    for number in range(4095):
        reach.heard(f"n{number}", 2.0)
    assert [reach.heard(name, 3.0) for name in ("recent", "old")] == [True, False]
