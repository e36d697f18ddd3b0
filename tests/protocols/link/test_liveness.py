"""What a peer is charged for: the answers that it owes, and no time in which it owed none or this node stood still."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols.link.liveness import AT_ONCE, TICK_S, Liveness, Progress

SILENCE_S, IDLE_S = 30.0, 75.0
IN_USE = Progress(sent_bytes=0, is_idle=False, is_amid_frame=False)
IDLE = Progress(sent_bytes=0, is_idle=True, is_amid_frame=False)
AMID = Progress(sent_bytes=0, is_idle=True, is_amid_frame=True)


def fresh(now: float = 0.0) -> Liveness:
    return Liveness(now, IDLE_S, SILENCE_S)


@given(idle_s=st.integers(0, 10**6), taken_s=st.integers(0, 29))
def test_the_time_before_a_ping_is_not_charged_to_its_answer(idle_s: int, taken_s: int) -> None:
    liveness = fresh()
    liveness.pinged(idle_s, 0)
    assert liveness.fault(idle_s + taken_s, IN_USE) is None
    assert liveness.fault(idle_s + SILENCE_S + 0.01, IN_USE) == "there was no sign of life for 30 s"


def test_who_owes_nothing_may_be_silent_for_ever() -> None:
    liveness = fresh()
    assert liveness.fault(1e9, IN_USE) is None
    liveness.pinged(1e9, 0)
    liveness.ponged()
    assert liveness.fault(2e9, IN_USE) is None


def test_whatever_comes_is_a_sign_of_life_but_does_not_take_the_place_of_the_answer_for_ever() -> None:
    liveness = fresh()
    liveness.pinged(0, 0)
    for now in range(10, 66, 10):
        liveness.heard_at = now
        assert liveness.fault(now + 9, IN_USE) is None
    assert liveness.fault(75, IN_USE) == "it answered no ping for 75 s"


def test_a_ping_that_waits_behind_what_the_peer_still_reads_is_no_ping_yet() -> None:
    liveness = fresh()
    liveness.pinged(0, end_bytes=1_000)
    for now in range(1, 900, 10):
        assert liveness.fault(now, Progress(now, is_idle=False, is_amid_frame=False)) is None
    stuck = Progress(891, is_idle=False, is_amid_frame=False)
    assert liveness.fault(891 + SILENCE_S - 1, stuck) is None
    assert liveness.fault(891 + SILENCE_S, stuck) is not None


def test_the_rest_of_a_frame_is_owed_from_its_first_part_on() -> None:
    liveness = fresh()
    for now in range(1_000, 1_075, 10):  # its bytes come one by one, after a long time of nothing
        liveness.heard_at = now
        assert liveness.fault(now, AMID) is None
    assert liveness.fault(1_075, AMID) == "it took longer than 75 s to send a frame"


def test_of_many_frames_each_has_its_own_time() -> None:
    liveness = fresh()
    for now in range(1_000):
        liveness.heard_at = liveness.framed_at = now
        assert liveness.fault(now + 0.5, AMID) is None


def test_the_answer_to_a_bye_is_owed_once_no_call_is_in_progress() -> None:
    liveness = fresh()
    liveness.said_bye(100)
    liveness.used_at = 200
    assert liveness.fault(200, IN_USE) is None
    assert liveness.fault(229, IDLE) is None
    assert liveness.fault(230, IDLE) == "it did not part within 30 s"


@pytest.mark.parametrize(
    ("looks", "lags"),
    [
        ([1, 2, 3], [0, 0, 0]),
        ([1.3, 2.9, 4.5], [0, 0, 0]),
        ([1, 42, 43], [0, 40, 0]),
        ([41, 82], [40, 40]),
    ],
    ids=["in time", "a little late", "a stall", "two stalls"],
)
def test_a_stall_is_a_look_that_comes_a_whole_interval_too_late(looks: list[float], lags: list[float]) -> None:
    liveness, found = fresh(), []
    for now in looks:
        heard_at = liveness.heard_at
        judged_at = liveness.judged_at(now)
        found.append(liveness.heard_at - heard_at)
        assert judged_at == (now - TICK_S if found[-1] else now)
        liveness.looked(now, is_resting=False)
    assert found == lags


@given(st.lists(st.sampled_from([1.0, 1.0, 1.0, 1.2, 3.0, 40.0, 1e5]), min_size=1, max_size=200))
def test_only_the_time_in_which_this_node_runs_counts(steps: list[float]) -> None:
    """Whatever stalls there are: no verdict before 30 s of running, none of a moment after a stall, and one in time."""
    liveness, now, ran_s = fresh(), 0.0, 0.0
    liveness.pinged(0.0, 0)
    for step in steps:
        now += step
        lag_s = step - TICK_S if step > 2 * TICK_S else 0.0
        judged_at = liveness.judged_at(now)
        assert judged_at == (now - TICK_S if lag_s else now)
        fault = liveness.fault(judged_at, IN_USE)
        liveness.looked(now, is_resting=False)
        ran_before_s, ran_s = ran_s, ran_s + step - lag_s
        if fault is not None:
            assert (ran_before_s if lag_s else ran_s) >= SILENCE_S - 0.001
            return
        assert ran_s < SILENCE_S + 1.1


# ---- when to look next


def test_an_active_link_is_looked_at_once_a_second() -> None:
    liveness = fresh(100)
    assert liveness.deadline == 101
    liveness.looked(101.3, is_resting=False)
    assert liveness.deadline == 102.3


def test_a_link_at_rest_is_looked_at_when_it_has_been_idle_for_its_time() -> None:
    liveness = fresh(100)
    liveness.looked(101, is_resting=True)
    assert liveness.deadline == 100 + IDLE_S
    assert not liveness.is_unused(100 + IDLE_S - 0.01)
    assert liveness.is_unused(100 + IDLE_S)


def test_a_link_of_no_use_at_rest_is_still_looked_at_once_a_second_at_most() -> None:
    liveness = fresh(0)
    liveness.looked(500, is_resting=True)
    assert liveness.deadline == 501


def test_a_link_that_becomes_active_is_looked_at_at_once_or_when_it_is_said() -> None:
    liveness = fresh(0)
    liveness.looked(1, is_resting=True)
    liveness.rouse(7)
    assert (liveness.deadline, liveness.is_resting) == (7, False)
    liveness.rouse(9)
    assert liveness.deadline == 7
    liveness.rouse()
    assert liveness.deadline == AT_ONCE


def test_the_rest_of_a_link_is_no_stall() -> None:
    liveness = fresh(0)
    liveness.looked(1, is_resting=True)
    assert liveness.judged_at(IDLE_S) == IDLE_S
    assert liveness.heard_at == 0


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_no_stall_puts_anything_into_the_future(now: float, late_s: float) -> None:
    liveness = fresh(now)
    liveness.pinged(now, 0)
    liveness.said_bye(now)
    looked_at = liveness.deadline + late_s
    liveness.judged_at(looked_at)
    assert max(liveness.heard_at, liveness.framed_at, liveness.used_at) <= looked_at
