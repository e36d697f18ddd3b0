from __future__ import annotations

from random import Random

import pytest

from trionet.protocols.group_members import GroupMembers
from trionet.protocols.pulls import Pulls, patience_s
from trionet.protocols.push import LAST_HOP, Direct, RandomPush, Star, clamped, default_subset, most_hops
from trionet.protocols.spread import estimate


@pytest.mark.parametrize(
    ("members", "subset"),
    [(0, 1), (1, 1), (2, 2), (10, 2), (31, 2), (32, 3), (100, 3), (1000, 3), (1001, 4), (10_000, 4), (100_000, 5)],
)
def test_the_default_subset_is_logarithmic(members: int, subset: int) -> None:
    assert default_subset(members) == subset


@pytest.mark.parametrize(
    ("subset", "others", "found"), [(3, 10, 3), (0, 10, 1), (-5, 10, 1), (50, 10, 10), (3, 0, 1), (2, 1, 1)]
)
def test_a_subset_is_clamped_to_what_there_is(subset: int, others: int, found: int) -> None:
    assert clamped(subset, others) == found


@pytest.mark.parametrize(
    ("members", "subset", "hops"), [(2, 1, 6), (10, 2, 11), (1000, 3, 17), (10_000, 4, 18), (10**9, 1, 64)]
)
def test_the_rounds_are_bounded(members: int, subset: int, hops: int) -> None:
    assert most_hops(members, subset) == hops < LAST_HOP


@pytest.mark.parametrize(
    ("tries", "waits"), [(1, 1), (6, 1), (7, 2), (8, 2), (9, 4), (10, 4), (11, 8), (13, 16), (14, 16)]
)
def test_pull_timeouts_double_after_six_tries(tries: int, waits: int) -> None:
    assert patience_s(tries, 0.1) == pytest.approx(0.1 * waits)


@pytest.mark.parametrize(
    ("members", "confirmed", "yes", "no", "found"),
    [(10, 10, 0, 0, 10), (10, 4, 0, 0, 4), (1000, 128, 128, 0, 1000), (1000, 64, 64, 64, 500), (1000, 0, 0, 128, 0)],
)
def test_the_spread_is_estimated_from_a_sample(members: int, confirmed: int, yes: int, no: int, found: float) -> None:
    assert estimate(members, confirmed, yes, no) == found


def _members(size: int, me: str = "n0") -> GroupMembers:
    return GroupMembers(me, tuple(f"n{number}" for number in range(size)), Random(1))


def test_members_are_picked_afresh_each_time_without_the_source() -> None:
    members, push = _members(100), RandomPush(3)
    push.adjust(members)
    steps = [push.step(members, "n7", 1, 0.0) for _ in range(50)]
    assert len({tuple(step.targets) for step in steps}) > 40
    assert all(len(set(step.targets)) == 3 and not {"n0", "n7"} & set(step.targets) for step in steps)
    assert {step.hops for step in steps} == {2}


def test_with_two_members_a_rumor_goes_back_to_its_source() -> None:
    members, push = _members(2), RandomPush()
    push.adjust(members)
    assert push.step(members, "n1", 1, 0.0).targets == ["n1"]


def test_a_subset_may_be_a_function_of_the_members() -> None:
    asked: list[list[str]] = []

    def half(members: list[str]) -> int:
        asked.append(members)
        return len(members) // 2

    members, push = _members(10), RandomPush(half)
    push.adjust(members)
    assert asked == [list(members.names)]
    assert len(push.step(members, None, 0, 0.0).targets) == 5


def test_after_the_last_hop_a_rumor_is_not_forwarded() -> None:
    members, push = _members(10), RandomPush(2)
    push.adjust(members)
    assert push.step(members, "n1", 10, 0.0).targets
    assert not push.step(members, "n1", 11, 0.0).targets
    assert not push.step(members, "n1", 255, 0.0).targets


def test_direct_goes_to_all_others_once() -> None:
    members, push = _members(5), Direct()
    push.adjust(members)
    assert sorted(push.step(members, None, 0, 0.0).targets) == ["n1", "n2", "n3", "n4"]
    assert push.step(members, "n1", LAST_HOP, 0.0).targets == ()


def _star() -> Star:
    return Star(up_wait_s=0.3, down_wait_s=0.7, failover_s=2.0)


def test_a_star_goes_up_and_down() -> None:
    leaf, hub, push = _members(5, "n3"), _members(5, "n0"), _star()
    up = push.step(leaf, None, 0, 0.0)
    assert list(up.targets) == ["n0"]
    down = _star().step(hub, "n3", up.hops, 0.0)
    assert sorted(down.targets) == ["n1", "n2", "n4"]
    assert down.announced_to == ("n3",)
    assert not push.step(leaf, "n0", down.hops, 0.0).targets
    assert sorted(_star().step(hub, None, 0, 0.0).targets) == ["n1", "n2", "n3", "n4"]


def test_a_silent_hub_is_replaced_until_it_sends_again() -> None:
    leaf, push = _members(5, "n3"), _star()
    push.sent(["n0"], 0.0)
    push.sent(["n0"], 1.5)
    assert push.hub(leaf, 2.0) == "n0"
    assert push.hub(leaf, 2.1) == "n1"
    push.received("n2", 2.1)
    assert push.hub(leaf, 2.2) == "n2"
    push.received("n0", 3.0)
    assert push.hub(leaf, 3.0) == "n0"


def test_as_many_neighbours_as_asked_for_are_returned() -> None:
    for push in (RandomPush(), Direct(), _star()):
        for count in (0, 1, 2, 9):
            found = push.neighbours(_members(5, "n3"), count, 0.0)
            assert len(set(found)) == len(found) == min(count, 4)


def test_a_rumor_is_pulled_from_one_holder_at_a_time_and_after_two_failures_from_two() -> None:
    pulls = Pulls(timeout_s=0.25, most=10)
    for source in ("n1", "n2", "n3"):
        pulls.announced("g", b"a", source, due=1.0)
    asked = [(now, to) for now in (0.75, 1.0, 1.1, 1.25, 1.5, 1.75) for to, _ in pulls.due(now)]
    assert asked == [(1.0, "n1"), (1.25, "n2"), (1.5, "n3"), (1.5, "n1"), (1.75, "n1"), (1.75, "n2")]
    assert pulls.received(b"a")
    assert not pulls.received(b"a")
    assert len(pulls) == 0


def test_a_pull_without_answers_is_given_up() -> None:
    pulls = Pulls(timeout_s=0.1, most=10)
    pulls.announced("g", b"a", "n1", due=0.0)
    now, tries = 0.0, 0
    while pulls.next_due < 1e9:
        now = pulls.next_due
        tries += len(pulls.due(now))
    assert tries == 14
    assert now < 10.0
    assert len(pulls) == 0


def test_an_unreachable_holder_is_replaced_by_the_next() -> None:
    pulls = Pulls(timeout_s=1.0, most=10)
    pulls.announced("g", b"a", "n1", due=0.0)
    pulls.announced("g", b"a", "n2", due=0.0)
    assert list(pulls.due(0.0)) == [("n1", "g")]
    pulls.unreachable("n1", 0.1)
    assert list(pulls.due(0.1)) == [("n2", "g")]


def test_the_number_of_pulls_is_bounded() -> None:
    pulls = Pulls(timeout_s=1.0, most=10)
    for number in range(100):
        pulls.announced("g", bytes([number]), "n1", due=0.0)
    assert len(pulls) == 10
    pulls.drop_group("g")
    assert len(pulls) == 0
