from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.samples import Probe
from tests.waiting import wait_until
from trionet import (
    CallTimeout,
    EmptyGroup,
    EncodeError,
    Group,
    GroupNotFound,
    MalformedRequest,
    Node,
    NodeUnreachable,
    Remote,
    RemoteError,
    Replies,
    ServiceNotFound,
)

StartNode = Callable[..., Awaitable[Node]]

SID = Remote(service="status", method="get")
DELAY = Remote(service="delay", method="wait")


class Delay:
    """Answers after some seconds; notes what became of its calls."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = 0
        self.cancelled = 0

    async def wait(self) -> float:
        self.asked += 1
        try:
            await trio.sleep(self.seconds)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return self.seconds


async def _group(start: StartNode, *delays_s: float) -> tuple[Group, list[Node], list[Delay]]:
    """Start a node for each delay, and one more that is no member; return that one's group, the members, the delays."""
    caller = await start()
    nodes = [await start() for _ in delays_s]
    delays = [Delay(seconds) for seconds in delays_s]
    for node, delay in zip(nodes, delays, strict=True):
        await node.local.routes.put({"wait": delay.wait}, "delay")
    await caller.local.groups.put("browncs", [node.address for node in nodes])
    return caller.group("browncs"), nodes, delays


async def test_send_gives_the_value_of_every_member_in_sid_order(start_node: StartNode) -> None:
    group, nodes, _ = await _group(start_node, 0, 0, 0)
    replies = await group.comm.send(["sid"], SID)
    assert replies == Replies({node.sid: node.sid for node in nodes}, {})
    assert list(replies.values) == sorted(node.sid for node in nodes)


async def test_the_caller_may_be_a_member(start_node: StartNode) -> None:
    node, other = await start_node(), await start_node()
    await node.local.groups.put("browncs", [node.address, other.address])
    replies = await node.group("browncs").comm.send(["sid"], SID)
    assert replies.values == {node.sid: node.sid, other.sid: other.sid}


async def test_one_call_goes_to_each_member_and_none_to_anyone_else(start_node: StartNode) -> None:
    group, nodes, _ = await _group(start_node, 0, 0, 0)
    bystander = await start_node()
    await group.comm.send(["sid"], SID)
    for node in nodes:
        assert await node.local.status.get("counts") == 1
    assert await bystander.local.status.get("counts") == 0


async def test_members_are_looked_up_at_call_time(start_node: StartNode) -> None:
    group, (first, second), _ = await _group(start_node, 0, 0)
    node = await start_node()
    await group.groups.put("browncs", [first.address])
    assert list((await group.comm.send(["sid"], SID)).values) == [first.sid]
    await group.groups.add("browncs", node.address)
    assert set((await group.comm.send(["sid"], SID)).values) == {first.sid, node.sid}
    assert second.sid not in group.members()


async def test_every_member_has_an_error_of_its_own(start_node: StartNode) -> None:
    group, (fine, without, broken, gone), _ = await _group(start_node, 0, 0, 0, 0)
    await fine.local.routes.put({"fail": lambda message: message}, "probe")
    await broken.local.routes.put(Probe(), "probe")
    await gone.local.status.stop()
    replies = await group.comm.send(["hello"], Remote(service="probe", method="fail"))
    assert replies.values == {fine.sid: "hello"}
    assert {sid: type(error) for sid, error in replies.errors.items()} == {
        without.sid: ServiceNotFound,
        broken.sid: RemoteError,
        gone.sid: NodeUnreachable,
    }
    for node in (without, broken, gone):
        assert replies.errors[node.sid].node == str(node.address)
    with pytest.raises(ExceptionGroup) as caught:
        replies.raise_errors()
    assert len(caught.value.exceptions) == 3


async def test_a_group_without_members_is_an_error(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.groups.put("browncs", [])
    with pytest.raises(EmptyGroup, match="'browncs'"):
        await node.group("browncs").comm.send(["sid"], SID)
    with pytest.raises(EmptyGroup, match="'browncs'"):
        async with node.group("browncs").comm.stream(["sid"], SID):
            raise AssertionError("was opened")


async def test_a_deleted_group_is_an_error(start_node: StartNode) -> None:
    group, _, _ = await _group(start_node, 0)
    await group.groups.del_("browncs")
    with pytest.raises(GroupNotFound, match="'browncs'"):
        await group.comm.send(["sid"], SID)
    with pytest.raises(GroupNotFound, match="'browncs'"):
        async with group.comm.stream(["sid"], SID):
            raise AssertionError("was opened")


@pytest.mark.parametrize(
    ("args", "remote", "error"),
    [
        ("sid", SID, MalformedRequest),
        (None, SID, MalformedRequest),
        (["sid"], Remote(service="status"), MalformedRequest),
        (["sid"], Remote(method="get"), MalformedRequest),
        (["sid"], Remote(node="127.0.0.1:1", service="status", method="get"), MalformedRequest),  # type: ignore[arg-type]
        ([object()], SID, EncodeError),
    ],
    ids=["text", "none", "no method", "no service", "a node", "no value"],
)
async def test_the_callers_own_mistake_is_raised_and_nobody_is_called(
    start_node: StartNode, args: Any, remote: Remote, error: type[Exception]
) -> None:
    group, nodes, _ = await _group(start_node, 0, 0)
    with pytest.raises(error):
        await group.comm.send(args, remote)
    with pytest.raises(error):
        async with group.comm.stream(args, remote):
            raise AssertionError("was opened")
    for node in nodes:
        assert await node.local.status.get("counts") == 0


async def test_the_calls_of_one_fan_out_have_one_id(start_node: StartNode) -> None:
    group, nodes, _ = await _group(start_node, 0, 0, 0)
    for node in nodes:
        await node.local.routes.put(Probe(), "probe")
    describe = Remote(service="probe", method="describe_call")
    first, second = [await group.comm.send([], describe) for _ in range(2)]
    ids = [{call["id"] for call in replies.values.values()} for replies in (first, second)]
    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]


async def test_first_takes_the_first_value_and_cancels_the_other_handlers(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, nodes, delays = await _group(start_memory_node, 3, 1, 2)
    began = trio.current_time()
    replies = await group.comm.send([], DELAY, wait="first")
    assert trio.current_time() - began == pytest.approx(1)
    assert replies == Replies({nodes[1].sid: 1}, {})
    await trio.testing.wait_all_tasks_blocked()
    assert [delay.cancelled for delay in delays] == [1, 0, 1]


async def test_a_quorum_takes_so_many_values_and_cancels_the_other_handlers(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, nodes, delays = await _group(start_memory_node, 5, 1, 2, 3, 4)
    replies = await group.comm.send([], DELAY, wait=3)
    assert replies == Replies({nodes[1].sid: 1, nodes[2].sid: 2, nodes[3].sid: 3}, {})
    await trio.testing.wait_all_tasks_blocked()
    assert [delay.cancelled for delay in delays] == [1, 0, 0, 0, 1]


async def test_errors_do_not_count_towards_a_quorum(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, nodes, _ = await _group(start_memory_node, 0, 1, 2)
    await nodes[0].local.routes.rem("delay")
    replies = await group.comm.send([], DELAY, wait=2)
    assert replies.values == {nodes[1].sid: 1, nodes[2].sid: 2}
    assert list(replies.errors) == [nodes[0].sid]


@pytest.mark.parametrize("wait", [0, -1, 3, "some", 1.0, True, None])
async def test_no_other_number_can_be_waited_for(start_node: StartNode, wait: Any) -> None:
    group, nodes, _ = await _group(start_node, 0, 0)
    with pytest.raises(MalformedRequest, match="wait"):
        await group.comm.send([], DELAY, wait=wait)
    assert await nodes[0].local.status.get("counts") == 0


async def test_partial_returns_at_the_deadline_with_a_timeout_for_each_that_is_missing(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, nodes, delays = await _group(start_memory_node, 1, 10, 2, 20)
    began = trio.current_time()
    with trio.fail_after(3):
        replies = await group.comm.send([], DELAY, partial=True)
    assert trio.current_time() - began == pytest.approx(3)
    assert replies.values == {nodes[0].sid: 1, nodes[2].sid: 2}
    assert {sid: type(error) for sid, error in replies.errors.items()} == {
        nodes[1].sid: CallTimeout,
        nodes[3].sid: CallTimeout,
    }
    await trio.testing.wait_all_tasks_blocked()
    assert [delay.cancelled for delay in delays] == [0, 1, 0, 1]


@pytest.mark.slow
async def test_partial_returns_at_the_deadline_over_sockets_too(start_node: StartNode) -> None:
    group, nodes, delays = await _group(start_node, 0, 3600, 3600)
    await group.comm.send(["sid"], SID)  # connections are there
    with trio.fail_after(60):
        with trio.move_on_after(0.2) as scope:
            replies = await group.comm.send([], DELAY, partial=True)
        assert not scope.cancelled_caught
        assert set(replies.values) | set(replies.errors) == {node.sid for node in nodes}
        assert {nodes[1].sid, nodes[2].sid} <= set(replies.errors)
        assert all(type(error) is CallTimeout for error in replies.errors.values())
    await wait_until(lambda: all(delay.cancelled == delay.asked for delay in delays[1:]))


async def test_without_partial_the_deadline_cancels_the_caller(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, delays = await _group(start_memory_node, 1, 10)
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(3):
            await group.comm.send([], DELAY)
    await trio.testing.wait_all_tasks_blocked()
    assert [delay.cancelled for delay in delays] == [0, 1]


@pytest.mark.parametrize("partial", [False, True])
async def test_cancelling_a_fan_out_cancels_every_handler(
    start_memory_node: StartNode, autojump_clock: MockClock, partial: bool
) -> None:
    group, _, delays = await _group(start_memory_node, 10, 10, 10)
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                await group.comm.send([], DELAY, partial=partial)
                raise AssertionError("went on")

            nursery.start_soon(ask)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert [delay.cancelled for delay in delays] == [1, 1, 1]


async def test_a_stream_gives_each_answer_as_it_comes(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    group, nodes, _ = await _group(start_memory_node, 3, 1, 2)
    seen = []
    began = trio.current_time()
    async with group.comm.stream([], DELAY) as answers:
        async for sid, outcome in answers:
            seen.append((sid, outcome, round(trio.current_time() - began, 3)))
    assert seen == [(nodes[1].sid, 1, 1), (nodes[2].sid, 2, 2), (nodes[0].sid, 3, 3)]


async def test_a_stream_gives_a_members_error_as_its_outcome(start_node: StartNode) -> None:
    group, (fine, without, gone), _ = await _group(start_node, 0, 0, 0)
    await without.local.routes.rem("delay")
    await gone.local.status.stop()
    async with group.comm.stream([], DELAY) as answers:
        outcomes = {sid: outcome async for sid, outcome in answers}
    assert outcomes.pop(fine.sid) == 0
    assert {sid: type(outcome) for sid, outcome in outcomes.items()} == {
        without.sid: ServiceNotFound,
        gone.sid: NodeUnreachable,
    }


async def test_leaving_a_stream_early_cancels_the_handlers_that_are_still_running(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, delays = await _group(start_memory_node, 1, 10, 10)
    began = trio.current_time()
    async with group.comm.stream([], DELAY) as answers:
        async for _ in answers:
            break
    assert trio.current_time() - began == pytest.approx(1)
    await trio.testing.wait_all_tasks_blocked()
    assert [delay.cancelled for delay in delays] == [0, 1, 1]


async def test_leaving_a_stream_early_cancels_remote_handlers_over_sockets(start_node: StartNode) -> None:
    group, _, delays = await _group(start_node, 0, 3600)
    with trio.fail_after(60):
        async with group.comm.stream([], DELAY) as answers:
            await wait_until(lambda: delays[1].asked == 1)
            async for _, outcome in answers:
                assert outcome == 0
                break
    await wait_until(lambda: delays[1].cancelled == 1)


async def test_an_exception_in_the_block_of_a_stream_comes_out_as_it_is(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    group, _, delays = await _group(start_memory_node, 1, 10)

    async def read() -> None:
        async with group.comm.stream([], DELAY) as answers:
            await anext(answers)
            raise LookupError("enough")

    with pytest.raises(LookupError, match=r"^enough$"):
        await read()
    await trio.testing.wait_all_tasks_blocked()
    assert delays[1].cancelled == 1


async def test_a_service_sees_the_gid_it_was_called_through(start_node: StartNode) -> None:
    group, nodes, _ = await _group(start_node, 0)
    await nodes[0].local.routes.put(Probe(), "probe")
    (call,) = (await group.comm.send([], Remote(service="probe", method="describe_call"))).values.values()
    assert call["gid"] == "local"
