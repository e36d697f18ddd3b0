"""Group-wide calls on links that are open: without a task for each member, and with the same promises."""

import dataclasses
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.transports.link.ends import HandPeer, listen
from trionet import (
    CallTimeout,
    ConnectionLost,
    Group,
    MessageTooLarge,
    Node,
    NodeAddress,
    NodeConfig,
    Remote,
    RemoteError,
    Replies,
    UnexpectedAnswer,
    register_type,
    rpc,
)
from trionet.protocols.link.frames import CallFrame, Reply
from trionet.templates.gathering import Gathering

StartNode = Callable[..., Awaitable[Node]]

WAIT = Remote(service="delay", method="wait")
ECHO = Remote(service="delay", method="echo")
LEFT = Remote(service="delay", method="left_s")


class Delay:
    """Answers after some seconds; notes what became of its calls."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.cancelled = 0
        self.ended = 0

    @rpc
    async def wait(self) -> float:
        """Return the seconds, after these."""
        try:
            await trio.sleep(self.seconds)
        except trio.Cancelled:
            self.cancelled += 1
            with trio.CancelScope(shield=True):
                await trio.sleep(0.001)
            raise
        finally:
            self.ended += 1
        return self.seconds

    @rpc
    def echo(self, value: Any = None) -> Any:
        """Return `value`; but "ValueError" raises one."""
        if value == "ValueError":
            raise ValueError(value)
        return value

    @rpc
    async def left_s(self) -> float:
        """Return the time that is left."""
        return trio.current_effective_deadline() - trio.current_time()

    @rpc
    def number(self) -> int:
        """Return a text, if it answers after no time."""
        return int(self.seconds) or "no number"  # type: ignore[return-value]


class Spawned(trio.abc.Instrument):
    """Counts the tasks that begin."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Count it."""
        self.names.append(task.name)


async def open_group(
    start: StartNode, *delays_s: float, config: NodeConfig | None = None
) -> tuple[Node, Group, list[Node], list[Delay]]:
    """Start a node for each delay, and a caller that is no member, and has a link with each; return them."""
    caller = await start(config)
    nodes = [await start() for _ in delays_s]
    delays = [Delay(seconds) for seconds in delays_s]
    for node, delay in zip(nodes, delays, strict=True):
        await node.local.routes.put(delay, "delay")
    await caller.local.groups.put("fleet", [node.address for node in nodes])
    group = caller.group("fleet")
    assert len((await group.comm.send([1], ECHO)).values) == len(nodes)
    return caller, group, nodes, delays


async def test_a_call_of_a_plain_function_starts_no_task_at_either_end(start_node: StartNode) -> None:
    _, group, nodes, _ = await open_group(start_node, 1, 2, 3)
    spawned = Spawned()
    trio.lowlevel.add_instrument(spawned)
    replies = await group.comm.send(["five"], ECHO)
    trio.lowlevel.remove_instrument(spawned)
    assert replies == Replies({node.sid: "five" for node in nodes}, {})
    assert spawned.names == []


async def test_handlers_have_the_time_that_the_caller_has_left(start_node: StartNode) -> None:
    _, group, nodes, _ = await open_group(start_node, 1, 2, 3)
    with trio.fail_after(40) as scope:
        before_s = scope.deadline - trio.current_time()
        replies = await group.comm.send([], LEFT)
        after_s = scope.deadline - trio.current_time()
    assert replies.values.keys() == {node.sid for node in nodes}
    for left_s in replies.values.values():
        assert after_s <= left_s <= before_s


async def test_a_member_without_a_link_does_not_delay_the_others(start_node: StartNode) -> None:
    caller, group, nodes, _ = await open_group(start_node, 1, 2)
    more = await start_node()
    await more.local.routes.put(Delay(3), "delay")
    await caller.local.groups.put("fleet", [node.address for node in (*nodes, more)])
    replies = await group.comm.send(["five"], ECHO)
    assert replies == Replies({node.sid: "five" for node in (*nodes, more)}, {})


async def test_the_caller_as_a_member_calls_itself(start_node: StartNode) -> None:
    caller, group, nodes, _ = await open_group(start_node, 1)
    await caller.local.routes.put(Delay(0), "delay")
    await caller.local.groups.add("fleet", caller.address)
    assert (await group.comm.send([5], ECHO)).values == {node.sid: 5 for node in (*nodes, caller)}


async def test_an_error_is_that_of_its_member_and_names_it(start_node: StartNode) -> None:
    _, group, nodes, _ = await open_group(start_node, 1, 2)
    replies = await group.comm.send(["ValueError"], ECHO)
    assert replies.values == {}
    for node in nodes:
        assert isinstance(replies.errors[node.sid], RemoteError)
        assert replies.errors[node.sid].node == str(node.address)


async def test_an_answer_of_another_type_is_an_error_of_its_member(start_node: StartNode) -> None:
    _, group, nodes, _ = await open_group(start_node, 0, 2)
    replies = await group.options(service="delay").call(Delay.number)
    assert replies.values == {nodes[1].sid: 2}
    assert isinstance(replies.errors[nodes[0].sid], UnexpectedAnswer)
    assert replies.errors[nodes[0].sid].node == str(nodes[0].address)


async def test_what_is_too_long_for_this_node_is_sent_to_nobody(start_node: StartNode) -> None:
    _, group, nodes, _ = await open_group(start_node, 1, 2, config=NodeConfig(max_message_bytes=2_000))
    replies = await group.comm.send(["x" * 3_000], ECHO)
    assert [type(replies.errors[node.sid]) for node in nodes] == [MessageTooLarge] * 2


@pytest.mark.parametrize("value", ["x" * 200_000, b"x" * 200_000])
async def test_a_long_value_comes_to_all_members_and_back(start_node: StartNode, value: Any) -> None:
    _, group, nodes, _ = await open_group(start_node, 1, 2)
    assert await group.comm.send([value], ECHO) == Replies({node.sid: value for node in nodes}, {})


@pytest.mark.parametrize(("wait", "expected"), [("first", [1]), (2, [1, 2])])
async def test_with_enough_values_the_other_handlers_have_ended(
    start_memory_node: StartNode, autojump_clock: MockClock, wait: Any, expected: list[int]
) -> None:
    _, group, _, delays = await open_group(start_memory_node, 30, 1, 2)
    began = trio.current_time()
    replies = await group.comm.send([], WAIT, wait=wait)
    assert trio.current_time() - began == pytest.approx(len(expected), abs=0.1)
    assert sorted(replies.values.values()) == expected
    assert not replies.errors
    assert [delay.ended for delay in delays] == [1, 1, 1]
    assert [delay.cancelled for delay in delays] == [1, 0, 2 - len(expected)]


async def test_when_the_caller_is_cancelled_all_handlers_have_ended(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    _, group, _, delays = await open_group(start_memory_node, 30, 1, 40)
    with trio.move_on_after(2) as scope:
        await group.comm.send([], WAIT)
    assert scope.cancelled_caught
    assert [delay.ended for delay in delays] == [1, 1, 1]
    assert [delay.cancelled for delay in delays] == [1, 0, 1]


async def test_the_deadline_travels_with_the_call(start_memory_node: StartNode, autojump_clock: MockClock) -> None:
    _, group, nodes, delays = await open_group(start_memory_node, 30, 1)
    with trio.fail_after(2):
        replies = await group.comm.send([], WAIT, partial=True)
    assert replies.values == {nodes[1].sid: 1}
    assert type(replies.errors[nodes[0].sid]) is CallTimeout
    assert [delay.ended for delay in delays] == [1, 1]


async def test_a_caller_whose_time_is_over_sends_nothing(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    _, group, _, delays = await open_group(start_memory_node, 1, 2)
    with trio.move_on_after(0) as scope:
        await group.comm.send([], WAIT)
    assert scope.cancelled_caught
    await wait_all_tasks_blocked()
    assert [delay.ended for delay in delays] == [0, 0]


async def test_a_lost_link_is_an_error_of_its_member_alone(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    _, group, nodes, _ = await open_group(start_memory_node, 30, 3)

    async def lose() -> None:
        await trio.sleep(1)
        await nodes[0].local.status.stop()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose)
        replies = await group.comm.send([], WAIT)
    assert replies.values == {nodes[1].sid: 3}
    assert type(replies.errors[nodes[0].sid]) is ConnectionLost


async def test_its_calls_are_shown_while_they_are_in_progress(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    caller, group, nodes, _ = await open_group(start_memory_node, 3, 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.comm.send, [], WAIT)
        await trio.sleep(1)
        sending = caller.local.comm.transport.in_progress()
        assert {(one.node, one.state) for one in sending} == {(node.address, "sent") for node in nodes}
        assert all(one.task is not None for one in sending)


async def test_no_task_waits_for_an_orphan_of_a_group_wide_call(start_node: StartNode, nursery: trio.Nursery) -> None:
    async def never_confirm(peer: HandPeer) -> None:
        await peer.send(Reply((await peer.receive_a(CallFrame)).msg_id, "warm"))
        await peer.receive_a(CallFrame)
        scope.cancel()
        await peer.wait_closed()

    scope = trio.CancelScope()
    address = await listen(nursery, never_confirm)
    caller = await start_node()
    await caller.local.groups.put("fleet", [address])
    assert (await caller.group("fleet").comm.send([], ECHO)).values
    with scope:
        await caller.group("fleet").comm.send([], ECHO)
    ((_, _, state, task),) = caller.local.comm.transport.in_progress()
    assert (state, task) == ("cancelled", None)


async def test_calls_are_counted_with_their_own_durations(
    start_memory_node: StartNode, autojump_clock: MockClock
) -> None:
    caller, group, _, _ = await open_group(start_memory_node, 1, 8)
    await group.comm.send([], WAIT)
    counted = caller.local.comm.counts.of("delay", "wait").ok
    assert sum(counted[:64]) == 2
    assert counted[64] / 1e9 == pytest.approx(9, abs=0.1)


_asker: ContextVar[str] = ContextVar("asker", default="nobody")


@register_type
@dataclasses.dataclass
class Made:
    """A value that notes who has asked, where it is made."""

    number: int

    def __post_init__(self) -> None:
        """Note who has asked."""
        self.asked_by = _asker.get()


async def test_values_are_made_with_the_context_variables_of_the_caller(start_node: StartNode) -> None:
    _, group, nodes, _ = await open_group(start_node, 1, 2)
    for node in nodes:
        await node.local.routes.put({"make": lambda: Made(5)}, "maker")
    _asker.set("the caller")
    replies = await group.comm.send([], Remote(service="maker", method="make"))
    assert [value.asked_by for value in replies.values.values()] == ["the caller"] * 2


class Desk:
    """A transport for one call, which is answered when the test says so."""

    def __init__(self) -> None:
        self.handle: Callable[[Any], None] | None = None

    def send_at_once(self, node: object, request: object, handle: Callable[[Any], None]) -> Any:
        """Send a call, so to speak."""
        self.handle = handle
        return self

    def value(self) -> str:
        """Return the answer."""
        return "five"

    async def wait(self) -> str:
        """Return the answer."""
        return self.value()


async def test_an_answer_in_the_moment_in_which_a_task_begins_to_wait_is_that_tasks(start_node: StartNode) -> None:
    node, desk = await start_node(), Desk()
    comm = node.local.comm
    comm.send_at_once = desk.send_at_once
    gathering = Gathering(comm, comm.prepare([], {}, ECHO), is_each_awaited=False)
    assert gathering.send("sid", NodeAddress("127.0.0.1", 1))
    ((call, sent),) = gathering.take_unanswered()
    assert desk.handle is not None
    desk.handle(desk)
    assert gathering.take_answers() == []
    assert await call.answer(sent) == "five"
    counted = comm.counts.histogram("delay", "echo")
    assert counted is not None
    assert sum(counted[:64]) == 1
