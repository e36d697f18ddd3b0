"""The items of a map: none is lost, none runs twice that must not, and never too many are under way."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trionet.errors import (
    ConnectionLost,
    IndefiniteError,
    NodeUnreachable,
    RemoteError,
    TemporarilyUnavailable,
    TrionetError,
)
from trionet.protocols.mapping import (
    FIRST_REST_S,
    LONGEST_REST_S,
    Abandon,
    Assign,
    Failure,
    ItemMap,
    MapEffect,
    Rest,
    Take,
)

if TYPE_CHECKING:
    from trionet.replies import Done

ERRORS: dict[Failure, type[TrionetError]] = {
    Failure.REFUSED: NodeUnreachable,
    Failure.NOT_RUN: TemporarilyUnavailable,
    Failure.FAILED: RemoteError,
    Failure.LOST: ConnectionLost,
    Failure.FINAL: TrionetError,
}
MAY_HAVE_RUN = (Failure.FAILED, Failure.LOST)


class Driver:
    """Performs the effects of a map by hand: calls last until the test ends them."""

    def __init__(
        self, *sids: str, per_member: int = 1, retries: int = 3, ordered: bool = False, idempotent: bool = False
    ) -> None:
        self.core = ItemMap(per_member=per_member, retries=retries, is_ordered=ordered, is_idempotent=idempotent)
        self.running: dict[int, Assign] = {}
        self.abandoned: list[int] = []
        self.rests: list[Rest] = []
        self.is_wanted = False
        for sid in sids:
            self.perform(self.core.add_member(sid))

    def perform(self, effects: list[MapEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Assign):
                assert effect.attempt not in self.running
                self.running[effect.attempt] = effect
            elif isinstance(effect, Take):
                assert not self.is_wanted, "asked twice"
                self.is_wanted = True
            elif isinstance(effect, Abandon):
                del self.running[effect.attempt]
                self.abandoned.append(effect.attempt)
            else:
                self.rests.append(effect)

    def put(self, *items: Any) -> None:
        for item in items:
            assert self.is_wanted
            self.is_wanted = False
            self.perform(self.core.put(item))

    def end(self) -> None:
        self.is_wanted = False
        self.perform(self.core.end())

    def at(self, item: Any) -> str:
        """Return the member where an item is in flight."""
        return next(assigned.sid for assigned in self.running.values() if assigned.item == item)

    def _pop(self, item: Any) -> int:
        attempt = next(attempt for attempt, assigned in self.running.items() if assigned.item == item)
        del self.running[attempt]
        return attempt

    def succeed(self, *items: Any) -> None:
        for item in items:
            self.perform(self.core.succeed(self._pop(item), f"value of {item}"))

    def fail(self, item: Any, failure: Failure) -> None:
        self.perform(self.core.fail(self._pop(item), failure, ERRORS[failure](failure.name)))

    def rest_all(self) -> None:
        rests, self.rests = self.rests, []
        for rest in rests:
            self.perform(self.core.rested(rest.number))

    def read(self) -> list[Done[Any, Any]]:
        read = []
        while self.core.readable:
            done, effects = self.core.pop()
            read.append(done)
            self.perform(effects)
        return read


# ------------------------------------------------------------------------------------------------------- as it happens


def test_an_item_goes_to_the_member_with_the_fewest_items_and_of_those_to_the_one_that_waits_longest() -> None:
    driver = Driver("a", "b", per_member=2)
    driver.put(0, 1, 2, 3)
    assert [driver.at(item) for item in range(4)] == ["a", "b", "a", "b"]
    assert not driver.is_wanted
    driver.succeed(3, 1)
    assert not driver.is_wanted  # two are in flight, and two unread: the bound
    assert [done.item for done in driver.read()] == [3, 1]
    driver.put(4, 5)
    assert driver.at(4) == driver.at(5) == "b"


def test_in_order_a_slow_item_stalls_the_others_at_the_bound() -> None:
    driver = Driver("a", "b", per_member=2, ordered=True)
    driver.put(0, 1, 2, 3)
    driver.succeed(1, 2, 3)
    assert driver.core.readable == 0
    assert not driver.is_wanted
    driver.succeed(0)
    assert [done.item for done in driver.read()] == [0, 1, 2, 3]
    assert driver.is_wanted


def test_retries_are_further_attempts_and_go_elsewhere() -> None:
    driver = Driver("a", "b", "c", retries=2)
    driver.put(0)
    for sid in ("a", "b", "c"):
        assert driver.at(0) == sid
        driver.fail(0, Failure.NOT_RUN)
    (done,) = driver.read()
    assert (done.sid, done.attempts, type(done.error)) == ("c", 3, TemporarilyUnavailable)


def test_without_another_member_an_item_returns_to_the_same_one() -> None:
    driver = Driver("a")
    driver.put(0)
    driver.fail(0, Failure.NOT_RUN)
    assert driver.at(0) == "a"


def test_an_item_that_has_failed_everywhere_begins_anew() -> None:
    driver = Driver("a", "b", retries=5)
    driver.put(0)
    driver.fail(0, Failure.NOT_RUN)
    driver.fail(0, Failure.NOT_RUN)
    assert driver.at(0) == "a"
    driver.put(1)
    driver.fail(0, Failure.NOT_RUN)
    assert [assigned.item for assigned in driver.running.values()] == [1]  # at b, which it waits for
    driver.succeed(1)
    assert driver.at(0) == "b"


def test_an_item_waits_for_a_busy_member_rather_than_return_to_where_it_failed() -> None:
    driver = Driver("a", "b", idempotent=True)
    driver.put(0, 1)
    driver.fail(0, Failure.FAILED)
    assert [assigned.item for assigned in driver.running.values()] == [1]
    driver.succeed(1)
    assert driver.at(0) == "b"


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("failure", MAY_HAVE_RUN)
def test_what_may_have_run_is_repeated_only_if_that_does_no_harm(failure: Failure, idempotent: bool) -> None:
    driver = Driver("a", "b", idempotent=idempotent)
    driver.put(0)
    driver.fail(0, failure)
    assert bool(driver.running) == idempotent
    assert [type(done.error) for done in driver.read()] == ([] if idempotent else [ERRORS[failure]])


@pytest.mark.parametrize("last", [Failure.REFUSED, Failure.NOT_RUN])
def test_an_item_that_has_failed_somewhere_does_not_come_out_as_one_that_did_not_run(last: Failure) -> None:
    driver = Driver("a", "b", retries=1, idempotent=True)
    driver.put(0)
    driver.fail(0, Failure.FAILED)
    driver.fail(0, last)
    (done,) = driver.read()
    assert (done.sid, done.attempts, type(done.error)) == ("b", 2, RemoteError)


def test_an_item_that_can_run_nowhere_was_sent_to_nobody() -> None:
    driver = Driver("a", "b", idempotent=True)
    driver.put(0)
    driver.fail(0, Failure.FINAL)
    (done,) = driver.read()
    assert (done.sid, done.attempts, done.is_error) == (None, 0, True)


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_death_moves_what_may_run_again_and_the_rest_comes_out(idempotent: bool) -> None:
    driver = Driver("a", "b", per_member=2, idempotent=idempotent)
    driver.put(0, 1, 2)
    assert [driver.at(item) for item in range(3)] == ["a", "b", "a"]
    driver.perform(driver.core.fail_member("a", lambda: ConnectionLost("dead")))
    assert driver.abandoned == [1, 3]
    assert {done.item: (done.sid, type(done.error)) for done in driver.read()} == (
        {} if idempotent else {0: ("a", ConnectionLost), 2: ("a", ConnectionLost)}
    )
    if idempotent:
        assert driver.at(0) == "b"  # there was one place
        driver.succeed(1, 0)
        assert driver.at(2) == "b"


def test_the_answer_of_a_call_that_was_abandoned_counts_no_more() -> None:
    driver = Driver("a", "b", idempotent=True)
    driver.put(0)
    driver.perform(driver.core.fail_member("a", lambda: ConnectionLost("dead")))
    driver.perform(driver.core.succeed(1, "late"))
    driver.perform(driver.core.fail(1, Failure.LOST, ConnectionLost("late")))
    assert driver.core.readable == 0
    driver.succeed(0)
    assert [done.result() for done in driver.read()] == ["value of 0"]


def test_the_items_of_a_removed_member_end_there_and_count_when_it_returns() -> None:
    driver = Driver("a", "b", per_member=2)
    driver.put(0, 1, 2)
    driver.perform(driver.core.remove_member("a"))
    driver.perform(driver.core.add_member("a"))
    driver.put(3)
    assert driver.at(3) == "b"
    assert Counter(assigned.sid for assigned in driver.running.values()) == {"a": 2, "b": 2}
    driver.succeed(0, 1, 2, 3)
    assert len(driver.read()) == 4


def test_without_members_the_items_wait_for_some() -> None:
    driver = Driver()
    assert driver.core.is_stranded
    assert not driver.is_wanted
    driver.perform(driver.core.add_member("a"))
    driver.perform(driver.core.remove_member("a"))
    driver.put(0)  # it was asked for before
    assert not driver.running
    assert driver.core.is_stranded
    driver.perform(driver.core.add_member("b"))
    assert driver.at(0) == "b"
    assert not driver.core.is_stranded


def test_a_member_that_refuses_rests_ever_longer_and_then_gets_one_item_at_a_time_until_it_answers() -> None:
    driver = Driver("a", per_member=3, retries=20)
    driver.put(0, 1, 2)
    pauses_s = []
    for _ in range(7):
        for assigned in list(driver.running.values()):
            driver.fail(assigned.item, Failure.REFUSED)
        assert not driver.running
        pauses_s += [rest.pause_s for rest in driver.rests]
        driver.rest_all()
        assert [assigned.item for assigned in driver.running.values()] == [0]
    assert pauses_s == [min(FIRST_REST_S * 2**turn, LONGEST_REST_S) for turn in range(7)]
    driver.succeed(0)
    assert [assigned.item for assigned in driver.running.values()] == [1, 2]


def test_while_a_member_rests_the_others_get_its_items() -> None:
    driver = Driver("a", "b", per_member=2)
    driver.put(0, 1, 2)
    driver.fail(0, Failure.REFUSED)
    assert driver.at(0) == "b"
    driver.succeed(0, 1)
    driver.read()
    driver.put(3, 4)
    assert driver.at(3) == driver.at(4) == "b"


def test_the_end_of_the_group_brings_out_what_waits_and_then_what_runs() -> None:
    driver = Driver("a", per_member=2, idempotent=True)
    driver.put(0, 1)
    driver.fail(0, Failure.LOST)
    assert [assigned.item for assigned in driver.running.values()] == [1]
    driver.perform(driver.core.stop(TemporarilyUnavailable("stopped")))
    assert [(done.item, done.attempts, type(done.error)) for done in driver.read()] == [(0, 1, ConnectionLost)]
    assert not driver.core.is_finished
    driver.fail(1, Failure.LOST)
    assert [(done.item, type(done.error)) for done in driver.read()] == [(1, ConnectionLost)]
    assert driver.core.is_finished


def held_by(core: ItemMap) -> int:
    """Return the number of entries in all its containers."""
    return sum(len(held) for held in vars(core).values() if hasattr(held, "__len__"))


@pytest.mark.parametrize("ordered", [False, True])
def test_what_it_holds_does_not_grow_with_the_number_of_items(ordered: bool) -> None:
    driver = Driver("a", "b", per_member=5, retries=1, ordered=ordered)
    random, most = Random(1), 0
    for item in range(5_000):
        while not driver.is_wanted:
            running = sorted(driver.running.values(), key=lambda assigned: assigned.attempt)
            some = random.choice(running[: 1 if ordered else None]).item
            if random.random() < 0.1:
                driver.fail(some, random.choice([Failure.REFUSED, Failure.NOT_RUN, Failure.FAILED]))
            else:
                driver.succeed(some)
            if random.random() < 0.2:
                driver.rest_all()
            if not driver.running:
                driver.rest_all()
            driver.read()
        driver.put(item)
        most = max(most, held_by(driver.core))
    assert most < 150


def test_what_it_holds_does_not_grow_while_items_come_one_by_one() -> None:
    driver = Driver("a", "b", per_member=5)
    for item in range(5_000):
        driver.put(item)
        driver.succeed(item)
        driver.read()
    assert held_by(driver.core) < 150


# --------------------------------------------------------------------------------------------------- whatever happens


class Mapping(RuleBasedStateMachine):
    """A map whose members come, go, die and refuse, and whose calls end in any order."""

    @initialize(
        per_member=st.integers(1, 3),
        retries=st.integers(0, 3),
        ordered=st.booleans(),
        idempotent=st.booleans(),
        members=st.integers(0, 3),
    )
    def begin(self, *, per_member: int, retries: int, ordered: bool, idempotent: bool, members: int) -> None:
        self.per_member, self.retries, self.ordered, self.idempotent = per_member, retries, ordered, idempotent
        self.driver = Driver(per_member=per_member, retries=retries, ordered=ordered, idempotent=idempotent)
        self.core = self.driver.core
        self.members = set[str]()
        self.put: list[int] = []
        self.sent = Counter[int]()
        self.may_have_run = Counter[int]()
        self.failed_at: dict[int, set[str]] = {}
        self.done: list[Done[Any, Any]] = []
        self.has_ended = False
        for _ in range(members):
            self.add_member("abc"[len(self.members)])

    def act(self, effects: list[MapEffect]) -> None:
        before = set(self.driver.running)
        for effect in effects:
            if isinstance(effect, Assign):
                self.check_assigned(effect)
            elif isinstance(effect, Take):
                assert not self.has_ended
                assert self.core.taken - self.core.read < self.per_member * len(self.members)
        self.driver.perform(effects)
        assert before - set(self.driver.running) <= set(self.driver.abandoned)

    def check_assigned(self, assigned: Assign) -> None:
        item = assigned.item
        assert assigned.sid in self.members
        self.sent[item] += 1
        assert self.sent[item] <= 1 + self.retries
        assert self.idempotent or not self.may_have_run[item], "it may have run already"
        failed_at = self.failed_at.setdefault(item, set())
        if assigned.sid in failed_at:
            assert failed_at >= self.members, "there is a member where it has not failed"
            failed_at.clear()

    @rule(sid=st.sampled_from("abcde"))
    def add_member(self, sid: str) -> None:
        if sid not in self.members:
            self.members.add(sid)
            self.act(self.core.add_member(sid))

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def remove_member(self, data: st.DataObject) -> None:
        sid = data.draw(st.sampled_from(sorted(self.members)))
        self.members.remove(sid)
        self.act(self.core.remove_member(sid))

    @rule(sid=st.sampled_from("abcde"))
    def fail_member(self, sid: str) -> None:
        self.members.discard(sid)
        for assigned in self.driver.running.values():
            if assigned.sid == sid:
                self.note(assigned, Failure.LOST)
        self.act(self.core.fail_member(sid, lambda: ConnectionLost("dead")))
        assert not any(assigned.sid == sid for assigned in self.driver.running.values())

    def note(self, assigned: Assign, failure: Failure) -> None:
        self.failed_at[assigned.item].add(assigned.sid)
        if failure in MAY_HAVE_RUN:
            self.may_have_run[assigned.item] += 1

    @precondition(lambda self: self.driver.is_wanted)
    @rule()
    def put_item(self) -> None:
        self.driver.is_wanted = False
        self.put.append(len(self.put))
        self.act(self.core.put(self.put[-1]))

    @precondition(lambda self: not self.has_ended and len(self.put) > 5)
    @rule()
    def end_items(self) -> None:
        self.has_ended, self.driver.is_wanted = True, False
        self.act(self.core.end())

    @precondition(lambda self: self.driver.running)
    @rule(data=st.data(), failure=st.sampled_from([None, None, *Failure]))
    def end_call(self, data: st.DataObject, failure: Failure | None) -> None:
        attempt = data.draw(st.sampled_from(sorted(self.driver.running)))
        assigned = self.driver.running.pop(attempt)
        if failure is None:
            self.may_have_run[assigned.item] += 1
            self.act(self.core.succeed(attempt, f"value of {assigned.item}"))
        else:
            self.note(assigned, failure)
            self.act(self.core.fail(attempt, failure, ERRORS[failure](failure.name)))

    @precondition(lambda self: self.driver.abandoned)
    @rule(data=st.data())
    def answer_late(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(self.driver.abandoned))
        assert self.core.succeed(attempt, "late") == []

    @precondition(lambda self: self.driver.rests)
    @rule(data=st.data())
    def end_rest(self, data: st.DataObject) -> None:
        rest = data.draw(st.sampled_from(self.driver.rests))
        self.driver.rests.remove(rest)
        self.act(self.core.rested(rest.number))

    @precondition(lambda self: self.core.readable)
    @rule()
    def read(self) -> None:
        done, effects = self.core.pop()
        self.done.append(done)
        self.act(effects)

    @invariant()
    def at_a_member_no_more_are_in_flight_than_allowed(self) -> None:
        at = Counter(assigned.sid for assigned in self.driver.running.values())
        assert max(at.values(), default=0) <= self.per_member
        assert self.core.in_flight == len(self.driver.running)

    @invariant()
    def each_item_comes_out_once(self) -> None:
        items = [done.item for done in self.done]
        assert len(set(items)) == len(items)
        if self.ordered:
            assert items == self.put[: len(items)]

    @invariant()
    def it_is_finished_when_all_are_read(self) -> None:
        assert self.core.is_finished == (self.has_ended and len(self.done) == len(self.put))

    @invariant()
    def an_outcome_says_what_happened(self) -> None:
        for done in self.done[-1:]:
            assert done.item == done.index
            assert done.attempts in (self.sent[done.item], self.sent[done.item] - 1)
            if not done.is_error:
                assert done.result() == f"value of {done.item}"
            elif self.may_have_run[done.item]:
                assert isinstance(done.error, IndefiniteError), "it may have run"

    def teardown(self) -> None:
        """Bring it to its end with one member that answers: nothing is lost."""
        if not hasattr(self, "core"):
            return
        for sid in sorted(self.members):
            self.remove_member_now(sid)
        self.add_member("z")
        if not self.has_ended:
            if self.driver.is_wanted:
                self.put_item()
            self.end_items()
        for _ in range(10 * len(self.put) + 10):
            while self.core.readable:
                self.read()
            for attempt, assigned in sorted(self.driver.running.items()):
                del self.driver.running[attempt]
                self.act(self.core.succeed(attempt, f"value of {assigned.item}"))
            for rest in list(self.driver.rests):
                self.driver.rests.remove(rest)
                self.act(self.core.rested(rest.number))
        assert self.core.is_finished
        assert sorted(done.item for done in self.done) == self.put

    def remove_member_now(self, sid: str) -> None:
        self.members.remove(sid)
        self.act(self.core.remove_member(sid))


TestMapping = pytest.mark.slow(Mapping.TestCase)
TestMapping.settings = settings(max_examples=60, stateful_step_count=40)
