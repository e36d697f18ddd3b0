"""Work for a group: `Group.map` on nodes in one process, in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.clusters import open_cluster
from tests.waiting import wait_until
from trionet import (
    ConnectionLost,
    EncodeError,
    Group,
    GroupNotFound,
    MalformedRequest,
    MethodNotFound,
    Node,
    NodeAddress,
    OrphanedCalls,
    Remote,
    RemoteError,
    ServiceNotFound,
    TemporarilyUnavailable,
    UnexpectedAnswer,
    rpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from trio.testing import MockClock

    from trionet import Results

    StartNode = Callable[..., Awaitable[Node]]

WORK = Remote(service="worker", method="work")


class Worker:
    """Works for as many seconds as an item says; notes what became of it.

    Attributes:
        begun, ended, cancelled: the items.
        most: how many it had at once, at most.
    """

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []
        self.cancelled: list[Any] = []
        self.most = 0

    async def work(self, seconds: float, *, factor: float = 1.0) -> float:
        self.begun.append(seconds)
        self.most = max(self.most, len(self.begun) - len(self.ended) - len(self.cancelled))
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            self.cancelled.append(seconds)
            raise
        self.ended.append(seconds)
        return seconds * factor

    async def fail(self, item: Any) -> None:
        self.begun.append(item)
        raise ValueError(item)


async def employ(node: Node) -> Worker:
    worker = Worker()
    await node.local.routes.put({"work": worker.work, "fail": worker.fail}, "worker")
    return worker


async def open_group(start: StartNode, count: int) -> tuple[Group, list[Node], list[Worker]]:
    """Start a node and some more, which are its group ``workers``."""
    caller = await start()
    nodes = [await start() for _ in range(count)]
    workers = [await employ(node) for node in nodes]
    await caller.local.groups.put("workers", [node.address for node in nodes])
    return caller.group("workers"), nodes, workers


async def read_into(read: list[Any], results: Results[Any, Any]) -> None:
    async for done in results:
        read.append(done.item)  # noqa: PERF401  a comprehension would lose them at an exception


# ---------------------------------------------------------------------------------------------------------- the results


async def test_each_item_comes_out_once_with_its_value(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, nodes, workers = await open_group(start_memory_node, 3)
    items = [number / 1000 for number in range(100)]
    async with group.map(WORK, items, kwargs={"factor": 2}, per_member=2) as results:
        done = [each async for each in results]
    assert sorted(each.item for each in done) == items
    assert {each.item: each.result() for each in done} == {item: 2 * item for item in items}
    assert {each.sid for each in done} == {node.sid for node in nodes}
    assert all(each.attempts == 1 and each.error is None and items[each.index] == each.item for each in done)
    assert [worker.most for worker in workers] == [2, 2, 2]


async def test_results_come_as_they_come_and_ordered_ones_in_the_order_of_the_items(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, _ = await open_group(start_memory_node, 2)
    items = [3, 1, 1, 1, 0, 2]
    async with group.map(WORK, items) as results:
        assert [done.index async for done in results][-1] in (0, 5)
    async with group.map(WORK, items, ordered=True) as results:
        assert [(done.index, done.item) async for done in results] == list(enumerate(items))


async def test_those_who_are_free_get_the_items(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, nodes, workers = await open_group(start_memory_node, 2)
    async with group.map(WORK, [100, *[1] * 50]) as results:
        assert Counter([done.sid async for done in results]) == Counter(
            {nodes[0].sid: 1 if workers[0].begun == [100] else 50, nodes[1].sid: 1 if workers[1].begun == [100] else 50}
        )


async def test_an_unread_result_holds_its_place(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, _, workers = await open_group(start_memory_node, 2)
    taken = []

    def endless() -> Generator[float]:
        for number in range(10**9):
            taken.append(number)
            yield 0.01

    async with group.map(WORK, endless(), per_member=3) as results:
        await trio.sleep(10)
        assert len(taken) == sum(len(worker.ended) for worker in workers) == 6
        await results.receive()
        await trio.sleep(10)
        assert len(taken) == 7


async def test_the_exception_of_a_handler_is_an_outcome(start_memory_node: StartNode) -> None:
    group, _, workers = await open_group(start_memory_node, 2)
    remote = Remote(service="worker", method="fail")
    async with group.map(remote, [1]) as results:
        (done,) = [each async for each in results]
    assert isinstance(done.error, RemoteError)
    assert done.error is done.outcome
    assert (done.error.type_name, done.attempts) == ("ValueError", 1)
    with pytest.raises(RemoteError, match="ValueError: 1"):
        done.result()
    async with group.map(remote, [2], idempotent=True, retries=2) as results:
        (done,) = [each async for each in results]
    assert done.attempts == 3
    assert sorted(Counter(item for worker in workers for item in worker.begun).items()) == [(1, 1), (2, 3)]


async def test_a_value_that_is_an_error_is_a_value(start_memory_node: StartNode) -> None:
    group, nodes, _ = await open_group(start_memory_node, 1)
    await nodes[0].local.routes.put({"give": GroupNotFound}, "giver")
    async with group.map(Remote(service="giver", method="give"), ["x"]) as results:
        done = await results.receive()
    assert done.error is None
    assert done.result() == done.outcome == GroupNotFound("x")


async def test_an_item_that_cannot_travel_is_its_own_error_and_no_one_elses(start_memory_node: StartNode) -> None:
    group, _, _ = await open_group(start_memory_node, 2)
    items: list[Any] = [0, object(), 0]
    async with group.map(WORK, items, ordered=True) as results:
        done = [each async for each in results]
    assert [type(each.error) for each in done] == [type(None), EncodeError, type(None)]
    assert (done[1].sid, done[1].attempts) == (None, 0)


async def test_a_call_that_a_member_refuses_goes_to_another(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, nodes, workers = await open_group(start_memory_node, 3)
    await nodes[0].local.routes.rem("worker")
    async with group.map(WORK, [0.5] * 20, per_member=2) as results:
        done = [each async for each in results]
    assert all(each.error is None for each in done)
    assert workers[0].begun == []
    assert max(each.attempts for each in done) == 2
    async with group.map(Remote(service="worker", method="nope"), [1], retries=1) as results:
        (last,) = [each async for each in results]
    assert isinstance(last.error, MethodNotFound)
    assert last.attempts == 2


# ------------------------------------------------------------------------------------------------ a method by its class


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int = 0


class Typed:
    """A service whose methods are named by its class."""

    def __init__(self) -> None:
        self.begun: list[Any] = []

    @rpc
    async def move(self, point: Point, *, by: int = 1) -> Point:
        self.begun.append(point)
        return Point(point.x + by, point.y)

    @rpc(idempotent=True)
    def fail(self, item: int) -> int:
        self.begun.append(item)
        raise ValueError(item)

    @rpc
    def lie(self, item: int) -> int:
        return str(item)  # type: ignore[return-value]

    @rpc
    async def watch(self, item: int) -> AsyncIterator[int]:
        yield item


async def open_typed(start: StartNode, name: str | None = None) -> tuple[Group, list[Typed]]:
    group, nodes, _ = await open_group(start, 2)
    services = [Typed() for _ in nodes]
    for node, service in zip(nodes, services, strict=True):
        await node.local.routes.put(service, *([] if name is None else [name]))
    return group, services


async def test_a_method_by_its_class_takes_and_gives_its_types(start_memory_node: StartNode) -> None:
    group, _ = await open_typed(start_memory_node)
    points = [Point(number) for number in range(20)]
    async with group.map(Typed.move, points, kwargs={"by": 2}, ordered=True) as results:
        assert [done.result() async for done in results] == [Point(number + 2) for number in range(20)]


async def test_the_service_has_the_name_of_the_options(start_memory_node: StartNode) -> None:
    group, _ = await open_typed(start_memory_node, "other")
    async with group.options(service="other").map(Typed.move, [Point(1)]) as results:
        assert (await results.receive()).result() == Point(2)
    async with group.map(Typed.move, [Point(1)], retries=0) as results:
        assert isinstance((await results.receive()).error, ServiceNotFound)


async def test_the_mark_says_whether_a_method_is_idempotent(start_memory_node: StartNode) -> None:
    group, services = await open_typed(start_memory_node)
    async with group.map(Typed.fail, [1], retries=2) as results:
        assert (await results.receive()).attempts == 3
    async with group.map(Typed.fail, [1], retries=2, idempotent=False) as results:
        assert (await results.receive()).attempts == 1
    assert sum(len(service.begun) for service in services) == 4


async def test_an_item_of_the_wrong_type_is_sent_to_nobody(start_memory_node: StartNode) -> None:
    group, services = await open_typed(start_memory_node)
    items: list[Any] = [Point(1), "two", Point(3)]
    async with group.map(Typed.move, items, ordered=True) as results:
        done = [each async for each in results]
    assert [type(each.error) for each in done] == [type(None), MalformedRequest, type(None)]
    assert "move(point: Point" in str(done[1].error)
    assert (done[1].sid, done[1].attempts) == (None, 0)
    assert sum(len(service.begun) for service in services) == 2


async def test_an_answer_of_another_type_is_an_error_and_nothing_runs_again(start_memory_node: StartNode) -> None:
    group, _ = await open_typed(start_memory_node)
    async with group.map(Typed.lie, [1]) as results:
        done = await results.receive()
    assert isinstance(done.error, UnexpectedAnswer)
    assert done.attempts == 1


async def test_a_stream_and_an_unmarked_method_are_refused(start_memory_node: StartNode) -> None:
    group, _ = await open_typed(start_memory_node)
    with pytest.raises(MalformedRequest, match="is a stream"):
        group.map(Typed.watch, [1])
    with pytest.raises(MalformedRequest, match=r"mark it with @trionet.rpc"):
        group.map(Worker.work, [1])
    with pytest.raises(MalformedRequest, match=r"pass Typed\.fail"):
        group.map(Typed().fail, [1])  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------- the iterable


async def test_the_iterable_may_be_async(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, _, _ = await open_group(start_memory_node, 2)
    ended = []

    async def slowly() -> AsyncGenerator[int]:
        try:
            for number in range(5):
                await trio.sleep(1)
                yield number
        finally:
            ended.append(True)

    async with group.map(WORK, slowly()) as results:
        assert sorted([done.item async for done in results]) == [0, 1, 2, 3, 4]
    async with group.map(WORK, slowly()) as results:
        await results.receive()
    assert ended == [True, True]


async def test_a_generator_is_closed_and_another_iterator_is_not(start_memory_node: StartNode) -> None:
    group, _, _ = await open_group(start_memory_node, 1)
    ended = []

    def endless() -> Generator[int]:
        try:
            while True:
                yield 0
        finally:
            ended.append(True)

    items = endless()
    async with group.map(WORK, items) as results:
        await results.receive()
    assert ended == [True]
    rest = iter([0, 0, 0, 7])
    async with group.map(WORK, rest) as results:
        await results.receive()
    assert 7 in rest
    send, receive = trio.open_memory_channel[int](5)
    send.send_nowait(0)
    async with group.map(WORK, receive) as results:
        await results.receive()
    send.send_nowait(1)
    assert receive.receive_nowait() == 1


async def test_what_the_iterable_raises_comes_after_the_results_before(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, workers = await open_group(start_memory_node, 2)
    read: list[int] = []

    def broken() -> Generator[int]:
        yield 1
        yield 2
        raise OSError("no more files")

    async with group.map(WORK, broken(), per_member=2) as results:
        with pytest.raises(OSError, match="no more files"):
            await read_into(read, results)
        with pytest.raises(trio.EndOfChannel):
            await results.receive()
    assert sorted(read) == sorted(item for worker in workers for item in worker.ended) == [1, 2]


async def test_what_the_iterable_raises_is_not_lost_when_nobody_reads(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, _ = await open_group(start_memory_node, 1)
    with pytest.raises(ZeroDivisionError):
        async with group.map(WORK, (1 // number for number in (1, 0)), per_member=2):
            await trio.sleep(5)
    with pytest.raises(KeyError, match="of the block"):  # noqa: PT012  how the block ends is the subject
        async with group.map(WORK, (1 // number for number in (1, 0)), per_member=2):
            await trio.sleep(5)
            raise KeyError("of the block")


async def test_the_items_of_an_iterable_are_taken_with_other_tasks_in_between(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, _ = await open_group(start_memory_node, 1)
    turns, seen = 0, []

    def watching() -> Generator[int]:
        while True:
            seen.append(turns)
            yield 1

    async with group.map(WORK, watching(), per_member=5):
        while len(seen) < 5:  # the clock stands still meanwhile, so that no result makes room for another item
            turns += 1
            await trio.lowlevel.checkpoint()
    # Trio runs the tasks of a turn in any order: two takes may see the same turn, three can't.
    assert all(before < after for before, after in zip(seen, seen[2:], strict=False))


async def test_an_empty_iterable_gives_no_results(start_memory_node: StartNode) -> None:
    group, _, _ = await open_group(start_memory_node, 1)
    items: list[int] = []
    async with group.map(WORK, items) as results:
        assert [done async for done in results] == []


# ------------------------------------------------------------------------------------------------------------ the block


async def test_leaving_the_block_cancels_all_and_waits_until_they_have_ended(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, workers = await open_group(start_memory_node, 2)
    async with group.map(WORK, [0.1, *[1000] * 9], per_member=3) as results:
        async for done in results:
            assert done.item == 0.1
            break
    assert sum(len(worker.cancelled) for worker in workers) == 5
    with pytest.raises(trio.ClosedResourceError):
        await results.receive()


async def test_closing_the_channel_cancels_all_but_the_block(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, workers = await open_group(start_memory_node, 2)
    async with group.map(WORK, [1000] * 9) as results:
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_closed, results)
            await trio.testing.wait_all_tasks_blocked()
            await results.aclose()
        await trio.sleep(1)
        assert sum(len(worker.cancelled) for worker in workers) == 2
        with pytest.raises(trio.ClosedResourceError):
            results.receive_nowait()


async def _expect_closed(results: Any) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await results.receive()


async def test_an_exception_of_the_block_cancels_all_and_is_not_wrapped(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, workers = await open_group(start_memory_node, 2)
    with pytest.raises(LookupError, match="mine"):  # noqa: PT012  how the block ends is the subject
        async with group.map(WORK, [1000] * 9) as results:
            with trio.move_on_after(1):
                await results.receive()
            raise LookupError("mine")
    assert sum(len(worker.cancelled) for worker in workers) == 2


async def test_a_closed_channel_sends_nothing_more(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, nodes, workers = await open_group(start_memory_node, 1)
    await nodes[0].local.routes.rem("worker")
    async with group.map(WORK, [1, 2], retries=50) as results:
        await trio.sleep(1)
        await results.aclose()
        await nodes[0].local.routes.put({"work": workers[0].work}, "worker")
        await trio.sleep(10)
        assert workers[0].begun == []


async def test_the_calls_have_the_context_of_the_block_whoever_reads(start_node: StartNode) -> None:
    node = await start_node()
    variable = ContextVar("variable", default="nothing")

    async def note(_: int) -> str:
        found = variable.get()
        variable.set("a handler")
        await trio.lowlevel.checkpoint()
        return found

    async def read(results: Results[int, str], read: list[str]) -> None:
        variable.set("the reader")
        async for done in results:
            read.append(done.result())  # noqa: PERF401  a comprehension would lose them at an exception

    await node.local.routes.put({"note": note}, "noter")
    variable.set("the block")
    found: list[str] = []
    remote = Remote(service="noter", method="note")
    async with node.all.map(remote, range(20)) as results, trio.open_nursery() as nursery:
        nursery.start_soon(read, results, found)
    assert found == ["the block"] * 20


async def test_a_cancelled_receive_takes_nothing(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, _, _ = await open_group(start_memory_node, 1)
    async with group.map(WORK, [0]) as results:
        await trio.sleep(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await results.receive()
        assert scope.cancelled_caught
        assert results.receive_nowait().item == 0


@pytest.mark.parametrize("seconds", [0, 0.0015, 0.5, 1.0, 1.7, 2.6])
async def test_a_deadline_around_it_ends_it_wherever_it_is(
    start_memory_node: StartNode, autojump_clock: MockClock, seconds: float
) -> None:
    group, _, workers = await open_group(start_memory_node, 2)

    async def slowly() -> AsyncGenerator[float]:
        while True:
            await trio.sleep(0.25)
            yield 0.75

    with trio.move_on_after(seconds) as scope:
        async with group.map(WORK, slowly(), per_member=2) as results:
            async for _ in results:
                await trio.sleep(0.4)
    assert scope.cancelled_caught
    await wait_until(lambda: all(len(worker.begun) == len(worker.ended) + len(worker.cancelled) for worker in workers))


@pytest.mark.parametrize("by_deadline", [False, True])
async def test_orphans_are_raised_at_the_end_of_the_block_on_request(
    start_memory_node: StartNode, autojump_clock: MockClock, by_deadline: bool
) -> None:
    group, nodes, _ = await open_group(start_memory_node, 2)
    begun = []

    async def ignore(item: int) -> None:
        begun.append(item)
        with trio.CancelScope(shield=True):
            await trio.sleep(600)

    for node in nodes:
        await node.local.routes.put({"ignore": ignore}, "stubborn")
    remote = Remote(service="stubborn", method="ignore")

    async def leave_early() -> None:
        with trio.move_on_after(1 if by_deadline else 100):
            async with group.options(orphans="raise").map(remote, range(9), idempotent=True) as results:
                with trio.move_on_after(2):
                    await results.receive()

    with pytest.raises(OrphanedCalls) as raised:
        await leave_early()
    assert set(raised.value.calls) == {str(node.address) for node in nodes}
    assert begun == [0, 1]
    with trio.move_on_after(100):  # else they are in the log alone
        async with group.map(remote, range(9)):
            await trio.sleep(1)
    assert len(begun) == 4


class CancelAfter(trio.abc.Instrument):
    """Cancels a scope after a number of steps of all tasks."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope = scope
        self._left = steps

    def after_task_step(self, _: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


async def test_a_cancellation_at_any_step_ends_every_call(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, workers = await open_group(start_memory_node, 2)
    caught = 0
    for steps in range(1, 100):
        ended: list[bool] = []

        async def slowly(ended: list[bool]) -> AsyncGenerator[float]:
            try:
                for _ in range(6):
                    yield 0.01
                    await trio.sleep(0.005)
            finally:
                ended.append(True)

        with trio.CancelScope() as scope:
            instrument = CancelAfter(scope, steps)
            trio.lowlevel.add_instrument(instrument)
            async with group.map(WORK, slowly(ended), per_member=2, ordered=steps % 2 == 0) as results:
                assert len([done.result() async for done in results]) == 6
        trio.lowlevel.remove_instrument(instrument)
        caught += scope.cancelled_caught
        assert len(ended) <= 1
        assert all(len(worker.begun) == len(worker.ended) + len(worker.cancelled) for worker in workers)
    assert 30 < caught < 99  # the last ones came to their end


async def test_a_cancelled_reader_loses_no_result(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, _, _ = await open_group(start_memory_node, 2)
    read: list[int] = []
    async with group.map(WORK, [0.3] * 40, per_member=2) as results:
        while len(read) < 40:
            with trio.move_on_after(0.1):
                read.append((await results.receive()).index)
        with pytest.raises(trio.EndOfChannel):
            await results.receive()
    assert sorted(read) == list(range(40))


async def test_several_readers_share_the_results(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, _, _ = await open_group(start_memory_node, 2)
    read: list[int] = []

    async def read_some(results: Any) -> None:
        async for done in results:
            await trio.sleep(0.01)
            read.append(done.index)

    async with group.map(WORK, [0.01] * 30, per_member=4) as results, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read_some, results)
    assert sorted(read) == list(range(30))


# ------------------------------------------------------------------------------------------------------------ the group


async def test_new_members_get_items_and_removed_ones_end_theirs(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, nodes, workers = await open_group(start_memory_node, 2)
    groups = group._context.local.groups  # noqa: SLF001  of its own node
    async with group.map(WORK, [1] * 12) as results:
        await trio.sleep(0.5)
        await groups.rem("workers", nodes[0].sid)
        late = await start_memory_node()
        worker = await employ(late)
        await groups.add("workers", late.address)
        done = [each async for each in results]
    assert all(each.error is None and each.attempts == 1 for each in done)
    assert len(workers[0].ended) == 1
    assert len(worker.ended) >= 5


async def test_a_group_without_members_waits_for_some(
    start_memory_node: StartNode, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    group, nodes, _ = await open_group(start_memory_node, 1)
    groups = group._context.local.groups  # noqa: SLF001  of its own node
    await groups.rem("workers", nodes[0].sid)
    async with group.map(WORK, [1, 2]) as results:
        with trio.move_on_after(60) as scope:
            await results.receive()
        assert scope.cancelled_caught
        assert "the items of a map wait: the group 'workers' has no members" in caplog.text
        await groups.add("workers", nodes[0].address)
        assert len([done async for done in results]) == 2


async def test_the_end_of_a_group_ends_the_map(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, _, workers = await open_group(start_memory_node, 2)
    groups = group._context.local.groups  # noqa: SLF001  of its own node
    read: list[int] = []
    async with group.map(WORK, [1] * 100, per_member=2) as results:
        while len(read) < 8:
            read.append((await results.receive()).item)
        await groups.del_("workers")
        with pytest.raises(GroupNotFound, match="has been deleted"):
            await read_into(read, results)
    assert len(read) == sum(len(worker.ended) for worker in workers) > 8
    with pytest.raises(GroupNotFound, match="has been deleted"):
        async with group.map(WORK, [1]):
            pass


async def test_the_end_of_a_group_ends_an_async_iterable(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, _ = await open_group(start_memory_node, 1)
    groups = group._context.local.groups  # noqa: SLF001  of its own node
    ended = []

    async def slowly() -> AsyncGenerator[float]:
        try:
            while True:
                yield 0.1
                await trio.sleep(2)
        finally:
            ended.append(trio.current_time())

    async with group.map(WORK, slowly()) as results:
        await results.receive()
        await groups.del_("workers")
        with pytest.raises(GroupNotFound):
            await results.receive()
        await trio.sleep(10)
        assert trio.current_time() - ended[0] > 9


@pytest.mark.parametrize("is_silent", [False, True])
@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_death_moves_an_idempotent_item_and_the_rest_comes_out_with_connection_lost(
    autojump_clock: MockClock, idempotent: bool, is_silent: bool
) -> None:
    async with open_cluster() as cluster:
        caller, *nodes = await cluster.start_many(4, profile="local")
        workers = [await employ(node) for node in nodes]
        await caller.local.groups.put("workers", [node.address for node in nodes])
        began_at = trio.current_time()
        async with group_of(caller).map(WORK, [20] * 12, per_member=2, idempotent=idempotent) as results:
            await trio.sleep(1)
            if is_silent:
                cluster.network.down.add(nodes[0].address)
            else:
                cluster.kill(nodes[0])
            with trio.fail_after(300):
                done = [await results.receive()]
                assert trio.current_time() - began_at < 20 or idempotent  # as soon as the member has failed
                done += [each async for each in results]
                assert trio.current_time() - began_at < 85
        errors = [each for each in done if each.error is not None]
        assert sorted(each.index for each in done) == list(range(12))
        if idempotent:
            assert errors == []
            assert sorted(each.attempts for each in done) == [1] * 10 + [2] * 2
        else:
            assert [(type(each.error), each.sid, each.attempts) for each in errors] == [
                (ConnectionLost, nodes[0].sid, 1)
            ] * 2
            assert sum(len(worker.begun) for worker in workers) == 12


def group_of(node: Node) -> Group:
    return node.group("workers")


async def test_a_node_that_stops_ends_its_maps(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, _, _ = await open_group(start_memory_node, 2)
    status = group._context.local.status  # noqa: SLF001  of its own node
    async with group.map(WORK, [1] * 100) as results:
        await results.receive()
        await status.stop()
        with trio.fail_after(30), pytest.raises(TemporarilyUnavailable, match="this node has stopped"):
            async for _ in results:
                pass
    with pytest.raises(TemporarilyUnavailable, match="this node has stopped"):
        async with group.map(WORK, [1] * 100) as results:
            await read_into([], results)


# ----------------------------------------------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"per_member": 0}, "per_member is a number from 1"),
        ({"per_member": True}, "per_member is a number from 1"),
        ({"per_member": 1.5}, "per_member is a number from 1"),
        ({"retries": -1}, "retries is a number from 0"),
        ({"retries": None}, "retries is a number from 0"),
        ({"ordered": "yes"}, "ordered is True or False"),
        ({"idempotent": 1}, "idempotent is True or False"),
        ({"kwargs": [1]}, "keyword arguments"),
        ({"items": 5}, "the items of map are an iterable, or an async one, not 5"),
        ({"items": open_group}, "call it first"),
        ({"method": Remote(service="worker", method="work", node=NodeAddress("127.0.0.1", 1))}, "names no node"),
        ({"method": "worker.work"}, "is no method of a class"),
    ],
)
async def test_a_wrong_argument_is_an_error_at_once(
    start_memory_node: StartNode, arguments: dict[str, Any], text: str
) -> None:
    group, _, _ = await open_group(start_memory_node, 1)
    with pytest.raises(MalformedRequest, match=text):
        group.map(**{"method": WORK, "items": [1], **arguments})


async def test_a_coroutine_in_place_of_items_is_to_be_awaited(start_memory_node: StartNode) -> None:
    group, _, _ = await open_group(start_memory_node, 1)

    async def find() -> list[int]:
        return [1]

    with pytest.raises(MalformedRequest, match="await it first"):
        group.map(WORK, find())  # type: ignore[call-overload]
