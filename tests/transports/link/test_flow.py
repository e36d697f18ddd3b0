from typing import NamedTuple

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked
from trionet.transports.link.flow import ByteWindow, RoundTrip

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Use(NamedTuple):
    """What one task does with a window: when it comes, how much it takes and for how long, when it loses patience."""

    comes_at_s: int
    share: float
    holds_s: int
    patience_s: float


class Record(NamedTuple):
    asked_at_s: float
    got_at_s: float | None
    is_patient: bool


_uses = st.builds(
    Use,
    st.integers(min_value=0, max_value=5),
    st.floats(min_value=0, max_value=1),
    st.integers(min_value=0, max_value=5),
    st.sampled_from([0.5, 1.5, 3.5, float("inf"), float("inf")]),
)


async def _use_all(size: int, uses: list[Use]) -> list[Record]:
    """Let tasks use a window of `size` bytes; return what each got, in the order of their asking."""
    window, held, records = ByteWindow(size), 0, dict[int, Record]()

    async def use(number: int, plan: Use) -> None:
        nonlocal held
        await trio.sleep(plan.comes_at_s)
        count = max(1, round(plan.share * size))
        begun = trio.current_time()
        records[number] = Record(begun, None, plan.patience_s == float("inf"))
        with trio.move_on_after(plan.patience_s) as scope:
            await window.acquire(count)
        if scope.cancelled_caught:
            return
        records[number] = records[number]._replace(got_at_s=trio.current_time())
        held += count
        assert held <= size
        await trio.sleep(plan.holds_s)
        held -= count
        window.release(count)

    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            for number, plan in enumerate(uses):
                nursery.start_soon(use, number, plan)
        await window.acquire(size)  # everything has come back
    return list(records.values())


@patient
@given(size=st.integers(min_value=1, max_value=100), uses=st.lists(_uses, max_size=8))
def test_a_window_is_never_exceeded_and_serves_in_order(size: int, uses: list[Use]) -> None:
    records = trio.run(_use_all, size, uses, clock=MockClock(autojump_threshold=0))
    got_at = [record.got_at_s for record in records if record.got_at_s is not None]
    assert got_at == sorted(got_at)
    assert not any(record.is_patient for record in records if record.got_at_s is None)


async def test_what_is_free_is_given_at_once() -> None:
    window = ByteWindow(10)
    with trio.CancelScope() as scope:
        scope.cancel()  # no checkpoint is met
        await window.acquire(4)
        await window.acquire(6)
    assert not scope.cancelled_caught


async def test_a_large_one_that_waits_is_not_overtaken_by_a_small_one(autojump_clock: MockClock) -> None:
    window, got = ByteWindow(10), list[str]()

    async def take(name: str, count: int) -> None:
        await window.acquire(count)
        got.append(name)

    await window.acquire(7)
    async with trio.open_nursery() as nursery:
        for name, count in (("large", 10), ("small", 1)):
            nursery.start_soon(take, name, count)
            await wait_all_tasks_blocked()
        assert got == []  # three bytes are free
        window.release(7)
        await wait_all_tasks_blocked()
        assert got == ["large"]
        window.release(10)
    assert got == ["large", "small"]


async def test_when_the_one_in_front_gives_up_those_behind_it_go_on(autojump_clock: MockClock) -> None:
    window, got = ByteWindow(10), list[int]()
    large = trio.CancelScope()

    async def take_large() -> None:
        with large:
            await window.acquire(10)

    async def take(count: int) -> None:
        await window.acquire(count)
        got.append(count)

    await window.acquire(5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_large)
        await wait_all_tasks_blocked()
        nursery.start_soon(take, 2)
        nursery.start_soon(take, 3)
        await wait_all_tasks_blocked()
        assert got == []
        large.cancel()
    assert sorted(got) == [2, 3]
    window.release(10)
    with trio.fail_after(1):
        await window.acquire(10)  # nothing was taken for the one that gave up


async def test_the_window_of_a_closed_link_lets_everyone_go(autojump_clock: MockClock) -> None:
    window = ByteWindow(10)
    await window.acquire(10)
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            for count in (10, 1, 5):
                nursery.start_soon(window.acquire, count)
            await wait_all_tasks_blocked()
            window.close()


async def test_a_peer_that_gives_back_too_much_widens_no_window(autojump_clock: MockClock) -> None:
    window = ByteWindow(10)
    await window.acquire(2)
    window.release(1_000_000)
    await window.acquire(10)
    with trio.move_on_after(1) as scope:
        await window.acquire(1)
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("samples_s", "smoothed_s", "grace_s"),
    [
        ([], None, 1.0),
        ([0.0], 0.0, 0.1),
        ([0.001], 0.001, 0.1),
        ([0.04], 0.04, 0.24),  # 4 x (0.04 + 0.02)
        ([0.04, 0.04], 0.04, 0.22),  # the variation shrinks by a quarter: 4 x (0.04 + 0.015)
        ([0.04, 0.08], 0.045, 0.28),  # 4 x (0.045 + 0.025)
        ([0.08, 0.04], 0.075, 0.46),  # 4 x (0.075 + 0.04)
        ([0.5], 0.5, 1.0),
        ([60.0], 60.0, 1.0),
        ([0.1] * 50, 0.1, 0.4),  # a steady round trip has no variation
    ],
)
def test_the_grace_is_four_round_trips_and_their_variation(
    samples_s: list[float], smoothed_s: float | None, grace_s: float
) -> None:
    round_trip = RoundTrip()
    for sample_s in samples_s:
        round_trip.add(sample_s)
    assert round_trip.smoothed_s == (None if smoothed_s is None else pytest.approx(smoothed_s))
    assert round_trip.grace_s() == pytest.approx(grace_s, abs=1e-6)


@patient
@given(samples_s=st.lists(st.floats(min_value=0, max_value=1e9), max_size=20))
def test_the_grace_is_at_least_50_ms_and_at_most_a_second_whatever_was_measured(samples_s: list[float]) -> None:
    round_trip = RoundTrip()
    for sample_s in samples_s:
        round_trip.add(sample_s)
        assert 0.05 <= RoundTrip.GRACE_MIN_S <= round_trip.grace_s() <= RoundTrip.GRACE_MAX_S <= 1.0
        smoothed_s = round_trip.smoothed_s
        assert smoothed_s is not None
        assert min(samples_s) * (1 - 1e-9) <= smoothed_s <= max(samples_s) * (1 + 1e-9)
