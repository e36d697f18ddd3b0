"""`collect` alone, in virtual time; the members are functions here."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trionet import CallTimeout, MalformedRequest, NodeAddress, NodeUnreachable, Replies
from trionet.templates.fan_out import collect, count_to_wait_for

Ask = Callable[[NodeAddress], Awaitable[Any]]

MEMBERS = {f"sid{port}": NodeAddress("127.0.0.1", port) for port in range(1, 6)}


class Members:
    """Members that answer with their port after so many seconds as their port number says; and what became of them."""

    def __init__(self, *, failing: dict[int, Exception] | None = None) -> None:
        self.failing = failing or {}
        self.asked: list[int] = []
        self.cancelled: list[int] = []
        self.running = 0

    async def __call__(self, node: NodeAddress) -> int:
        self.asked.append(node.port)
        self.running += 1
        try:
            await trio.sleep(node.port)
            if node.port in self.failing:
                raise self.failing[node.port]
        except trio.Cancelled:
            self.cancelled.append(node.port)
            raise
        finally:
            self.running -= 1
        return node.port


async def _elapsed_s(work: Callable[[], Awaitable[Any]]) -> tuple[Any, float]:
    began = trio.current_time()
    result = await work()
    return result, trio.current_time() - began


async def test_all_members_are_asked_at_once_and_each_once(autojump_clock: MockClock) -> None:
    members = Members()
    replies, elapsed_s = await _elapsed_s(lambda: collect(MEMBERS, members))
    assert replies == Replies({sid: node.port for sid, node in MEMBERS.items()}, {})
    assert elapsed_s == pytest.approx(5)
    assert sorted(members.asked) == [1, 2, 3, 4, 5]
    assert not members.cancelled


async def test_a_member_that_fails_is_an_error_of_its_own_and_disturbs_nobody(autojump_clock: MockClock) -> None:
    lost = NodeUnreachable("gone")
    replies = await collect(MEMBERS, Members(failing={2: lost}))
    assert replies.values == {"sid1": 1, "sid3": 3, "sid4": 4, "sid5": 5}
    assert replies.errors == {"sid2": lost}
    assert replies.errors["sid2"] is lost


async def test_all_members_may_fail(autojump_clock: MockClock) -> None:
    failing: dict[int, Exception] = {port: NodeUnreachable("gone") for port in range(1, 6)}
    replies = await collect(MEMBERS, Members(failing=failing))
    assert replies.values == {}
    assert list(replies.errors) == list(MEMBERS)


async def test_an_exception_that_is_no_members_failure_is_a_bug_and_comes_out(autojump_clock: MockClock) -> None:
    members = Members(failing={2: ZeroDivisionError()})
    with pytest.raises(ZeroDivisionError):
        await collect(MEMBERS, members)
    assert members.running == 0


@pytest.mark.parametrize(("enough", "seconds"), [(1, 1), (2, 2), (5, 5)])
@pytest.mark.parametrize("partial", [False, True])
async def test_with_enough_values_the_other_calls_are_cancelled_and_in_neither_map(
    autojump_clock: MockClock, enough: int, seconds: float, partial: bool
) -> None:
    members = Members()
    replies, elapsed_s = await _elapsed_s(lambda: collect(MEMBERS, members, enough=enough, partial=partial))
    assert replies == Replies({f"sid{port}": port for port in range(1, enough + 1)}, {})
    assert elapsed_s == pytest.approx(seconds)
    assert sorted(members.cancelled) == list(range(enough + 1, 6))


async def test_only_values_count_as_enough(autojump_clock: MockClock) -> None:
    lost = NodeUnreachable("gone")
    replies, elapsed_s = await _elapsed_s(lambda: collect(MEMBERS, Members(failing={1: lost, 2: lost}), enough=2))
    assert replies == Replies({"sid3": 3, "sid4": 4}, {"sid1": lost, "sid2": lost})
    assert elapsed_s == pytest.approx(4)


async def test_when_there_are_never_enough_values_what_there_is_comes_back(autojump_clock: MockClock) -> None:
    lost = NodeUnreachable("gone")
    replies, elapsed_s = await _elapsed_s(lambda: collect(MEMBERS, Members(failing={2: lost}), enough=5))
    assert set(replies.values) | set(replies.errors) == set(MEMBERS)
    assert replies.errors == {"sid2": lost}
    assert elapsed_s == pytest.approx(5)


async def test_values_that_come_at_the_same_moment_are_not_more_than_enough(autojump_clock: MockClock) -> None:
    async def answer(node: NodeAddress) -> int:
        await trio.sleep(1)
        return node.port

    replies = await collect(MEMBERS, answer, enough=2)
    assert len(replies.values) == 2
    assert not replies.errors


async def test_without_partial_the_deadline_is_the_callers(autojump_clock: MockClock) -> None:
    members = Members()
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(2.5):
            await collect(MEMBERS, members)
    assert sorted(members.cancelled) == [3, 4, 5]
    assert members.running == 0


async def test_with_partial_what_came_before_the_deadline_is_returned_at_the_deadline(
    autojump_clock: MockClock,
) -> None:
    members = Members(failing={1: NodeUnreachable("gone")})
    with trio.CancelScope(deadline=trio.current_time() + 2.5) as scope:
        replies, elapsed_s = await _elapsed_s(lambda: collect(MEMBERS, members, partial=True))
    assert not scope.cancelled_caught
    assert elapsed_s == pytest.approx(2.5)
    assert replies.values == {"sid2": 2}
    assert {sid: type(error) for sid, error in replies.errors.items()} == {
        "sid1": NodeUnreachable,
        "sid3": CallTimeout,
        "sid4": CallTimeout,
        "sid5": CallTimeout,
    }
    assert sorted(members.cancelled) == [3, 4, 5]
    assert members.running == 0


async def test_with_partial_and_a_deadline_that_is_far_everyone_is_heard(autojump_clock: MockClock) -> None:
    with trio.fail_after(1000):
        replies, elapsed_s = await _elapsed_s(lambda: collect(MEMBERS, Members(), partial=True))
    assert len(replies.values) == 5
    assert not replies.errors
    assert elapsed_s == pytest.approx(5)


async def test_with_partial_and_no_deadline_everyone_is_heard(autojump_clock: MockClock) -> None:
    replies = await collect(MEMBERS, Members(failing={3: NodeUnreachable("gone")}), partial=True)
    assert len(replies.values) == 4
    assert list(replies.errors) == ["sid3"]


async def test_with_partial_a_deadline_that_has_passed_before_is_the_callers_and_nobody_is_asked(
    autojump_clock: MockClock,
) -> None:
    members = Members()
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(0):
            await collect(MEMBERS, members, partial=True)
    assert not members.asked


async def test_with_partial_and_enough_the_deadline_may_come_first(autojump_clock: MockClock) -> None:
    with trio.CancelScope(deadline=trio.current_time() + 2.5):
        replies = await collect(MEMBERS, Members(), enough=4, partial=True)
    assert replies.values == {"sid1": 1, "sid2": 2}
    assert sorted(replies.errors) == ["sid3", "sid4", "sid5"]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("deadline_s", [float("inf"), 1000.0, 2.5])
async def test_a_caller_that_is_cancelled_is_cancelled(
    autojump_clock: MockClock, partial: bool, deadline_s: float
) -> None:
    members = Members()
    returned = []

    async def ask() -> None:
        returned.append(await collect(MEMBERS, members, partial=partial))

    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + deadline_s
        nursery.start_soon(ask)
        await trio.sleep(1.5)
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught
    assert not returned
    assert sorted(members.cancelled) == [2, 3, 4, 5]
    assert members.running == 0


@pytest.mark.parametrize("partial", [False, True])
async def test_a_caller_that_has_been_cancelled_before_is_cancelled(autojump_clock: MockClock, partial: bool) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await collect(MEMBERS, Members(), partial=partial)
        raise AssertionError("went on")
    assert scope.cancelled_caught


async def test_with_partial_an_outer_cancel_is_obeyed_though_an_inner_deadline_is_set(
    autojump_clock: MockClock,
) -> None:
    members = Members()
    with trio.CancelScope() as outer:
        async with trio.open_nursery() as nursery:

            async def cancel_outer() -> None:
                await trio.sleep(1.5)
                outer.cancel()

            nursery.start_soon(cancel_outer)
            with trio.CancelScope(deadline=trio.current_time() + 2.5) as inner:
                await collect(MEMBERS, members, partial=True)
                raise AssertionError("went on")
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


async def test_with_partial_a_member_that_is_slow_to_be_cancelled_is_waited_for(autojump_clock: MockClock) -> None:
    cleaned_up = []

    async def ask(node: NodeAddress) -> int:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            cleaned_up.append(node.port)
        return node.port

    with trio.CancelScope(deadline=trio.current_time() + 2):
        replies, elapsed_s = await _elapsed_s(lambda: collect(MEMBERS, ask, partial=True))
    assert sorted(cleaned_up) == [1, 2, 3, 4, 5]
    assert elapsed_s == pytest.approx(3)
    assert len(replies.errors) == 5


async def test_with_partial_a_bug_comes_out_too(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError), trio.fail_after(10):
        await collect(MEMBERS, Members(failing={2: ZeroDivisionError()}), partial=True)


@pytest.mark.parametrize(("wait", "expected"), [("all", None), ("first", 1), (1, 1), (3, 3), (5, 5)])
def test_how_many_values_to_wait_for(wait: Any, expected: int | None) -> None:
    assert count_to_wait_for(wait, 5) == expected


@pytest.mark.parametrize("wait", [0, -1, 6, 2.0, True, "second", "", None, "1"])
def test_no_other_number_of_values_can_be_waited_for(wait: Any) -> None:
    with pytest.raises(MalformedRequest, match="wait"):
        count_to_wait_for(wait, 5)
