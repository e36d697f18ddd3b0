"""Periodic tasks of one node, in virtual time."""

from __future__ import annotations

import logging
import math
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trionet import MalformedRequest, NodeAddress, PeriodicTask, TaskFailed, TemporarilyUnavailable
from trionet.codec import JSON, MESSAGEPACK
from trionet.router import Router
from trionet.services.periodic import PeriodicTasks, owner_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from trionet import Event

OWN = NodeAddress("127.0.0.1", 8080)


class Runs:
    """Notes when it is run, and takes some time."""

    def __init__(self, *lasting: float) -> None:
        self.at: list[float] = []
        self.running = self.most_running = self.cancelled = 0
        self._lasting = list(lasting)
        self._begun = trio.current_time()

    async def __call__(self) -> None:
        self.at.append(round(trio.current_time() - self._begun, 6))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await trio.sleep(self._lasting.pop(0) if self._lasting else 0)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def tasks(nursery: trio.Nursery, events: list[Event]) -> PeriodicTasks:
    return PeriodicTasks(nursery, Random(5), events.append, Router())


def _start(tasks: PeriodicTasks, run: Callable[[], Any], interval_s: float = 1.0, jitter_s: float = 0.0) -> str:
    return tasks.start(OWN, "workers", interval_s, jitter_s, "work", run)


async def test_the_first_run_is_after_one_interval_and_the_others_follow(
    autojump_clock: MockClock, tasks: PeriodicTasks
) -> None:
    runs = Runs()
    _start(tasks, runs, 2.5)
    await trio.sleep(11)
    assert runs.at == [2.5, 5.0, 7.5, 10.0]


async def test_runs_do_not_drift_however_long_they_take(autojump_clock: MockClock, tasks: PeriodicTasks) -> None:
    runs = Runs(*[0.7, 0.01, 0.33] * 40)
    _start(tasks, runs)
    await trio.sleep(100.5)
    assert runs.at == [float(number) for number in range(1, 101)]


async def test_a_long_run_is_not_overlapped_and_what_it_misses_is_left_out(
    autojump_clock: MockClock, tasks: PeriodicTasks
) -> None:
    runs = Runs(2.5, 0, 0.5)
    _start(tasks, runs)
    await trio.sleep(6.5)
    assert runs.at == [1.0, 4.0, 5.0, 6.0]
    assert runs.most_running == 1


async def test_jitter_puts_each_run_off_by_less_than_it_says_and_does_not_add_up(
    autojump_clock: MockClock, tasks: PeriodicTasks
) -> None:
    runs = Runs()
    _start(tasks, runs, 1.0, 0.5)
    await trio.sleep(100.6)
    off = [at - number for number, at in enumerate(runs.at, 1)]
    assert len(off) == 100
    assert all(0 <= late < 0.5 for late in off)
    assert max(off) - min(off) > 0.4


async def test_a_sync_function_may_be_run(autojump_clock: MockClock, tasks: PeriodicTasks) -> None:
    seen: list[int] = []
    _start(tasks, lambda: seen.append(1))
    await trio.sleep(3.5)
    assert seen == [1, 1, 1]


async def test_a_failing_run_is_reported_and_the_task_goes_on(
    autojump_clock: MockClock, tasks: PeriodicTasks, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise LookupError("no beans")

    task = _start(tasks, fail)
    with caplog.at_level(logging.WARNING):
        await trio.sleep(2.5)
    assert events == [TaskFailed(node=OWN, id=task, gid="workers", error="LookupError: no beans")] * 2
    assert caplog.text.count(f"of the periodic task {task} failed: LookupError: no beans") == 2
    [listed] = tasks.list()
    assert (listed.runs, listed.failures) == (2, 2)


@pytest.mark.parametrize(
    "kind", [ExceptionGroup("two", [ValueError("one"), KeyError("other")]), MalformedRequest("no")]
)
async def test_whatever_a_run_raises_is_reported(
    autojump_clock: MockClock, tasks: PeriodicTasks, events: list[Event], kind: Exception
) -> None:
    def fail() -> None:
        raise kind

    _start(tasks, fail)
    await trio.sleep(1.5)
    assert len(events) == 1
    assert len(tasks.list()) == 1


async def test_cancelling_waits_until_a_run_in_progress_has_ended(
    autojump_clock: MockClock, tasks: PeriodicTasks
) -> None:
    ended: list[float] = []

    async def stay() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            ended.append(trio.current_time())

    task = _start(tasks, stay)
    await trio.sleep(1.5)
    assert tasks.list()[0].is_running
    assert await tasks.cancel(task) is True
    assert ended == [trio.current_time()]
    assert tasks.list() == []
    assert await tasks.cancel(task) is False


async def test_a_run_may_cancel_its_own_task(autojump_clock: MockClock, tasks: PeriodicTasks) -> None:
    runs: list[int] = []

    async def once() -> None:
        runs.append(1)
        await tasks.cancel(task)
        runs.append(2)

    task = _start(tasks, once)
    await trio.sleep(5)
    assert runs == [1]
    assert tasks.list() == []


async def test_the_tasks_of_a_group_end_and_the_others_go_on(autojump_clock: MockClock, tasks: PeriodicTasks) -> None:
    ended, kept = Runs(9), Runs()
    tasks.start(OWN, "ending", 1, 0, "a", ended)
    other = tasks.start(OWN, "staying", 1, 0, "b", kept)
    await trio.sleep(1.5)
    tasks.cancel_group("ending")
    await trio.sleep(2)
    assert (ended.at, ended.cancelled, kept.at) == ([1.0], 1, [1.0, 2.0, 3.0])
    assert [task.id for task in tasks.list()] == [other]


async def test_tasks_are_listed_in_the_order_of_their_making(autojump_clock: MockClock, tasks: PeriodicTasks) -> None:
    first = tasks.start(OWN, "a", 1, 0.25, "one", Runs())
    second = tasks.start(OWN, "b", 2, 0, "two", Runs())
    await trio.sleep(1.3)
    assert tasks.list() == [
        PeriodicTask(id=first, gid="a", interval_s=1, jitter_s=0.25, what="one", runs=1, failures=0, is_running=False),
        PeriodicTask(id=second, gid="b", interval_s=2, jitter_s=0, what="two", runs=0, failures=0, is_running=False),
    ]
    assert [task.id for task in tasks.list("b")] == [second]
    assert tasks.list("c") == []


async def test_ids_are_different_and_name_their_owner(autojump_clock: MockClock, tasks: PeriodicTasks) -> None:
    ids = {_start(tasks, Runs()) for _ in range(1000)}
    assert len(ids) == 1000
    assert {owner_of(task) for task in ids} == {OWN}


@pytest.mark.parametrize("interval_s", [0, -1, 1e-320, 10**400, math.inf, math.nan, "5", None, True, [1]], ids=repr)
async def test_an_interval_is_a_number_of_at_least_a_millisecond(
    autojump_clock: MockClock, tasks: PeriodicTasks, interval_s: Any
) -> None:
    with pytest.raises(MalformedRequest, match="interval_s"):
        _start(tasks, Runs(), interval_s)


@pytest.mark.parametrize("jitter_s", [-1, 10**400, math.inf, math.nan, "5", None], ids=repr)
async def test_a_jitter_is_a_number_that_is_not_negative(
    autojump_clock: MockClock, tasks: PeriodicTasks, jitter_s: Any
) -> None:
    with pytest.raises(MalformedRequest, match="jitter_s"):
        _start(tasks, Runs(), 1.0, jitter_s)


async def test_all_end_with_the_node_and_none_begins_after_it(autojump_clock: MockClock) -> None:
    runs = Runs(100)
    async with trio.open_nursery() as nursery:
        tasks = PeriodicTasks(nursery, Random(5), lambda _: None, Router())
        _start(tasks, runs)
        await trio.sleep(1.5)
        tasks.close()
        nursery.cancel_scope.cancel()
    assert (runs.at, runs.cancelled) == ([1.0], 1)
    assert tasks.list() == []
    with pytest.raises(TemporarilyUnavailable):
        _start(tasks, runs)


@pytest.mark.parametrize(
    ("task_id", "owner"),
    [
        ("00@127.0.0.1:8080", OWN),
        ("00@[::1]:5", NodeAddress("::1", 5)),
        ("a@b@127.0.0.1:8080", OWN),
        ("", None),
        ("00", None),
        ("00@", None),
        ("00@here", None),
        ("00@127.0.0.1:70000", None),
        (None, None),
        (5, None),
        (b"00@127.0.0.1:8080", None),
    ],
)
def test_the_owner_of_a_malformed_id_is_nobody(task_id: object, owner: NodeAddress | None) -> None:
    assert owner_of(task_id) == owner


def test_a_task_as_it_is_listed_is_a_value_that_travels() -> None:
    task = PeriodicTask(
        id="1@a:5", gid="g", interval_s=1.5, jitter_s=0.0, what="w", runs=1, failures=0, is_running=True
    )
    for codec in (JSON, MESSAGEPACK):
        assert codec.decode(codec.encode(task)) == task


async def test_there_is_a_bound_on_the_tasks_of_a_node(
    autojump_clock: MockClock, tasks: PeriodicTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trionet.services.periodic.MOST_TASKS", 3)
    ids = [tasks.start(OWN, "g", 1.0, 0.0, "what", Runs()) for _ in range(3)]
    with pytest.raises(TemporarilyUnavailable, match="at most 3 periodic tasks"):
        tasks.start(OWN, "g", 1.0, 0.0, "what", Runs())
    assert await tasks.cancel(ids[0])
    tasks.start(OWN, "g", 1.0, 0.0, "what", Runs())
