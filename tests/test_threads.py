"""Handlers in worker threads: their values, errors, deadlines, cancellation, places, and the end of their node."""

from __future__ import annotations

import functools
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.waiting import DEADLINE_S, wait_until
from trionet import (
    CallTimeout,
    MalformedRequest,
    NodeConfig,
    OrphanedCall,
    Remote,
    RemoteError,
    TaskFailed,
    TemporarilyUnavailable,
    TrionetError,
    current_call,
    open_node,
    rpc,
    simulation,
)
from trionet.message import Call
from trionet.router import Router
from trionet.services.base import exposed_methods
from trionet.threads import ThreadPools
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet import Node

    StartNode = Callable[..., Awaitable[Node]]


class Mill:
    """Its methods block until they are released."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self.release = threading.Event()

    def _grind(self, what: str) -> int:
        self.started.append(what)
        assert self.release.wait(DEADLINE_S)
        self.ended.append(what)
        return threading.get_ident()

    @rpc(thread=True)
    def grind(self, what: str = "corn") -> int:
        return self._grind(what)

    @rpc(thread=True, abandon_on_cancel=True)
    def press(self, what: str = "oil") -> int:
        return self._grind(what)

    @rpc(thread=True)
    def poll(self) -> None:
        self.started.append("poll")
        while True:
            trio.from_thread.check_cancelled()
            time.sleep(0.001)

    @rpc(thread=True)
    def where(self) -> list[Any]:
        call = current_call()
        name = trio.from_thread.run_sync(lambda: current_call().method)
        return [threading.get_ident(), call.service, call.method, name, call.deadline]

    @rpc(thread=True)
    def fail(self, kind: str) -> None:
        raise {
            "value": ValueError("no corn"),
            "exit": SystemExit(3),
            "stop": StopIteration(5),
            "own": TemporarilyUnavailable("closed"),
        }[kind]

    @rpc(thread=True)
    def gives_awaitable(self) -> Any:
        return _later()


async def _later() -> int:
    await trio.lowlevel.checkpoint()
    return threading.get_ident()


def _ident() -> int:
    return threading.get_ident()


def on(node: Node, method: str) -> Remote:
    return Remote(node=node.address, service="mill", method=method)


async def _mill(node: Node) -> Mill:
    mill = Mill()
    await node.local.routes.put(mill, "mill")
    return mill


@pytest.mark.parametrize("transport", ["link", "http", "self"])
async def test_a_threaded_handler_runs_in_another_thread_with_its_call(start_node: StartNode, transport: str) -> None:
    config = NodeConfig(transport="http" if transport == "http" else "link")
    one = await start_node(config)
    other = one if transport == "self" else await start_node(config)
    await _mill(other)
    with trio.fail_after(DEADLINE_S):
        before = trio.current_time()
        ident, service, method, name, deadline = await one.local.comm.send([], on(other, "where"))
        assert ident != threading.get_ident()
        assert (service, method, name) == ("mill", "where", "where")
        assert before < deadline <= trio.current_time() + DEADLINE_S
        assert await one.local.comm.send([], on(other, "gives_awaitable")) == threading.get_ident()


async def test_a_node_answers_others_while_its_handler_blocks_a_thread(start_node: StartNode) -> None:
    one, other = await start_node(), await start_node()
    mill = await _mill(other)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.local.comm.send, [], on(other, "grind"))
        await wait_until(lambda: bool(mill.started))
        status = Remote(node=other.address, service="status", method="get")
        with trio.fail_after(DEADLINE_S):
            assert await one.local.comm.send(["sid"], status) == other.sid
        assert [call.method for call in other.running_calls()] == ["grind"]
        mill.release.set()


@pytest.mark.parametrize(
    ("kind", "type_name"), [("value", "ValueError"), ("exit", "SystemExit"), ("stop", "StopIteration")]
)
async def test_an_exception_in_a_thread_is_a_remote_error(start_node: StartNode, kind: str, type_name: str) -> None:
    node = await start_node()
    await _mill(node)
    with pytest.raises(RemoteError) as caught:
        await node.local.comm.send([kind], on(node, "fail"))
    assert caught.value.type_name == type_name
    with pytest.raises(TemporarilyUnavailable, match="closed"):
        await node.local.comm.send(["own"], on(node, "fail"))


async def test_arguments_of_a_threaded_handler_are_checked_before_it_starts(start_node: StartNode) -> None:
    node = await start_node()
    mill = await _mill(node)
    with pytest.raises(MalformedRequest, match="'what' of grind"):
        await node.local.comm.send([5], on(node, "grind"))
    assert mill.started == []


async def test_group_wide_calls_rumors_and_http_run_in_threads(start_node: StartNode) -> None:
    one = await start_node(NodeConfig(join=[]))
    mill = await _mill(one)
    with trio.fail_after(DEADLINE_S):
        await one.all.gossip.send(["rumor"], Remote(service="mill", method="grind"))
        await wait_until(lambda: mill.started == ["rumor"])  # and the loop goes on
        mill.release.set()
        replies = await one.all.comm.send([], Remote(service="mill", method="grind"))
        async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
            answer = await client.put(f"http://{one.address}/local/mill/grind", json=[])
        idents = {replies.values[one.sid], answer.json()["value"]}
        assert threading.get_ident() not in idents
        await wait_until(lambda: sorted(mill.ended) == ["corn", "corn", "rumor"])


async def test_a_periodic_task_with_a_mark_runs_in_a_thread(start_node: StartNode) -> None:
    node, idents = await start_node(), list[int]()
    failing = threading.Event()

    @rpc(thread=True)
    def tick() -> None:
        idents.append(threading.get_ident())
        if failing.is_set():
            raise ValueError("no corn")

    events = node.events()
    task = await node.all.gossip.at(0.001, tick)
    await wait_until(lambda: len(idents) >= 2)
    assert threading.get_ident() not in idents
    assert (await node.local.gossip.tasks())[0].what.endswith("tick")
    failing.set()
    with trio.fail_after(DEADLINE_S):
        assert isinstance(await anext(events), TaskFailed)
        assert await node.all.gossip.del_(task)


async def test_a_threaded_handler_that_is_begun_outside_of_its_task_still_runs_in_a_thread() -> None:
    router = Router()
    router.put("local", "mill", exposed_methods({"ident": rpc(name="ident", thread=True)(_ident)}))
    prepared = router.prepare(Call("local", "mill", "ident"))
    value = await prepared.finish(trio.CancelScope(), prepared.begin())  # as a link does that has no room for answers
    assert value != threading.get_ident()


# ---- deadlines and cancellation


async def test_a_cancelled_call_ends_with_its_thread_and_its_caller_reports_an_orphan(start_node: StartNode) -> None:
    one, other = await start_node(), await start_node()
    mill, events = await _mill(other), one.events()
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.local.comm.send, [], on(other, "grind"))
            await wait_until(lambda: bool(mill.started))
            nursery.cancel_scope.cancel()
        event = await anext(events)
        assert isinstance(event, OrphanedCall)
        assert event.method == "grind"
        assert [call.method for call in other.running_calls()] == ["grind"]
        mill.release.set()
        await wait_until(lambda: not other.running_calls())
    assert mill.ended == ["corn"]


@pytest.mark.parametrize("method", ["poll", "press"])
async def test_a_thread_that_polls_or_may_be_abandoned_ends_its_call_at_once(
    start_node: StartNode, method: str
) -> None:
    one, other = await start_node(), await start_node()
    mill = await _mill(other)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(functools.partial(one.local.comm.send, [], on(other, method), orphans="raise"))
            await wait_until(lambda: bool(mill.started))
            nursery.cancel_scope.cancel()
        await wait_until(lambda: not other.running_calls())
    assert one.orphaned_calls() == []
    assert mill.ended == []
    mill.release.set()


@pytest.mark.parametrize(("method", "is_timeout"), [("poll", True), ("press", True), ("grind", False)])
async def test_a_deadline_ends_a_handler_as_its_thread_permits(
    start_node: StartNode, method: str, is_timeout: bool
) -> None:
    node = await start_node()
    mill = await _mill(node)
    client = httpx.AsyncClient(timeout=DEADLINE_S)
    async with client, trio.open_nursery() as nursery:
        answers = list[httpx.Response]()

        async def ask() -> None:
            url, headers = f"http://{node.address}/local/mill/{method}", {"trionet-timeout": "0.05"}
            answers.append(await client.put(url, json=[], headers=headers))

        nursery.start_soon(ask)
        if not is_timeout:
            await wait_until(lambda: bool(mill.started))
            await trio.sleep(0.1)  # the deadline passes
            assert answers == []
            mill.release.set()
    mill.release.set()
    assert (CallTimeout.__name__ in answers[0].text) is is_timeout


async def test_abandoned_threads_keep_their_places(start_node: StartNode) -> None:
    node = await start_node(NodeConfig(max_threads=2))
    mill = await _mill(node)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(node.local.comm.send, [], on(node, "press"))
        await wait_until(lambda: len(mill.started) == 2)
        nursery.cancel_scope.cancel()
    with trio.move_on_after(0.05) as scope:
        await node.local.comm.send([], on(node, "grind"))
    assert scope.cancelled_caught
    assert mill.started == ["oil", "oil"]
    mill.release.set()
    with trio.fail_after(DEADLINE_S):
        await node.local.comm.send([], on(node, "grind"))


# ---- places


async def test_at_most_max_threads_handlers_run_at_once_and_the_rest_wait_in_order(start_node: StartNode) -> None:
    node = await start_node(NodeConfig(max_threads=3))
    mill = await _mill(node)
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(node.local.comm.send, [str(number)], on(node, "grind"))
            await wait_until(lambda count=number + 1: len(node.running_calls()) == count)  # type: ignore[misc]
        await wait_until(lambda: len(mill.started) >= 3)
        assert sorted(mill.started) == ["0", "1", "2"]
        mill.release.set()
    assert len(mill.ended) == 8


class Tennis:
    """A threaded handler that has the other node call back."""

    def __init__(self, node: Node) -> None:
        self.node = node

    @rpc(thread=True)
    def play(self, other: str, times: int) -> int:
        if times == 0:
            return 0
        remote = Remote(node=other, service="tennis", method="play")  # type: ignore[arg-type]  # any form is accepted
        return 1 + int(trio.from_thread.run(self.node.local.comm.send, [str(self.node.address), times - 1], remote))


async def test_nested_threaded_handlers_do_not_wait_for_each_other_in_a_circle(start_node: StartNode) -> None:
    config = NodeConfig(max_threads=1)
    one, other = await start_node(config), await start_node(config)
    for node in (one, other):
        await node.local.routes.put(Tennis(node), "tennis")
    play = Remote(node=other.address, service="tennis", method="play")
    with trio.fail_after(DEADLINE_S):
        assert await one.local.comm.send([str(one.address), 7], play) == 7
        with pytest.raises(RemoteError, match="its max_threads"):
            await one.local.comm.send([str(one.address), 1000], play)


async def test_nor_do_those_of_one_node_that_calls_itself(start_node: StartNode) -> None:
    node = await start_node(NodeConfig(max_threads=1))
    await node.local.routes.put(Tennis(node), "tennis")
    play = Remote(node=node.address, service="tennis", method="play")
    with trio.fail_after(DEADLINE_S):
        assert await node.local.comm.send([str(node.address), 6], play) == 6
        with pytest.raises(TrionetError, match="its max_threads"):
            await node.local.comm.send([str(node.address), 1000], play)


async def test_a_call_at_the_greatest_depth_never_waits_for_a_place() -> None:
    pools, release = ThreadPools(1), threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(functools.partial(pools.run, release.wait, 8, abandon_on_cancel=False))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TemporarilyUnavailable, match="its max_threads"):
            await pools.run(release.wait, 8, abandon_on_cancel=False)
        release.set()


# ---- the end of the node


async def test_the_end_of_a_node_waits_for_a_thread_and_names_its_method(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Timer(0.0, lambda: None)
    async with open_node(NodeConfig(stop_grace_s=0)) as node, trio.open_nursery() as nursery:
        mill = await _mill(node)
        nursery.start_soon(node.local.comm.send, [], on(node, "grind"))
        await wait_until(lambda: bool(mill.started))

        def release_when_named() -> None:
            until = time.monotonic() + DEADLINE_S
            while "its end waits for local/mill/grind" not in caplog.text and time.monotonic() < until:
                time.sleep(0.01)
            mill.release.set()

        release = threading.Timer(0.0, release_when_named)
        release.start()
        node.stop()
    assert "its end waits for local/mill/grind" in caplog.text
    assert "abandon_on_cancel=True" in caplog.text
    assert mill.ended == ["corn"]
    release.join()


@pytest.mark.parametrize("method", ["press", "poll"])
async def test_the_end_of_a_node_is_quiet_and_quick_where_threads_permit(
    caplog: pytest.LogCaptureFixture, method: str
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(stop_grace_s=0)) as node, open_node() as other:
            mill = await _mill(node)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_ignoring_errors, other, on(node, method))
                await wait_until(lambda: bool(mill.started))
                node.stop()
                await trio.sleep_forever()
    assert "its end waits" not in caplog.text
    mill.release.set()


async def _ignoring_errors(node: Node, remote: Remote) -> None:
    with suppress(TrionetError):
        await node.local.comm.send([], remote)


# ---- in simulation


class Order:
    """Appends from threads, of which the first is slow."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.inside = 0

    @rpc(thread=True)
    def append(self, number: int) -> int:
        self.inside += 1
        time.sleep(0.002 * (5 - number))
        assert self.inside == 1
        self.inside -= 1
        self.seen.append(number)
        trio.from_thread.check_cancelled()
        return len(self.seen)


def _simulated(seed: int) -> tuple[list[int], list[Any], float]:
    async def main() -> tuple[list[int], list[Any], float]:
        fabric = MemoryFabric(seed=seed)
        async with open_node(fabric=fabric) as one, open_node(fabric=fabric) as other:
            order, places = Order(), list[Any]()
            await other.local.routes.put(order, "order")
            remote = Remote(node=other.address, service="order", method="append")

            async def append(number: int) -> None:
                caller = one if number == 0 else other  # its own calls begin at the same time
                places.append((number, await caller.local.comm.send([number], remote)))

            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(append, number)
            return order.seen, places, trio.current_time()

    result: tuple[list[int], list[Any], float] = simulation.run(main, seed=seed)
    return result


def test_in_virtual_time_threads_run_one_at_a_time_in_an_order_that_follows_from_the_seed() -> None:
    for seed in range(3):
        runs = [_simulated(seed) for _ in range(3)]
        assert runs[0] == runs[1] == runs[2]
        seen, places, took_s = runs[0]
        assert [place for _, place in places] == sorted(place for _, place in places)
        assert dict(places) == {number: index + 1 for index, number in enumerate(seen)}
        assert took_s < 0.02  # the threads have slept for 0.03 s, in real time


def test_the_setting_is_checked() -> None:
    for wrong in (0, -1, 1.5, "many", 2**31):
        with pytest.raises(MalformedRequest, match="max_threads"):
            NodeConfig(max_threads=wrong)  # type: ignore[arg-type]
