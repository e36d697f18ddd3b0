"""The tree of running calls: of one node and of a cluster, what each waits for, and the cancellation of a subtree."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.clusters import Cluster, open_cluster
from tests.transports.keyed_nodes import http_client
from tests.waiting import DEADLINE_S, wait_until
from trionet import (
    CallCancelled,
    CallTimeout,
    IndefiniteError,
    MalformedRequest,
    Node,
    NodeAddress,
    NodeConfig,
    Remote,
    RemoteError,
    RunningCall,
    TemporarilyUnavailable,
    current_call,
    open_node,
    rpc,
)
from trionet.protocols.call_reports import decode_report
from trionet.simulation import open_cluster as open_simulation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trionet import CallTree


class Desk:
    """Handlers that wait, each in another way."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.release = trio.Event()
        self.unblock = threading.Event()
        self.ended: list[str] = []

    def remote(self, node: object, method: str) -> Remote:
        return Remote(node=NodeAddress.of(node), service="desk", method=method)

    @rpc
    async def hold(self) -> str:
        try:
            await self.release.wait()
        finally:
            self.ended.append(current_call().id)
        return "released"

    @rpc
    async def ask(self, nodes: list[Any], seconds: float | None = None, method: str = "hold", args: Any = ()) -> None:
        """Call a method of several nodes at once, which may ask others."""
        request = self.node.local.comm.prepare(list(args), {}, self.remote(nodes[0], method))
        async with trio.open_nursery() as nursery:
            if seconds is not None:
                nursery.cancel_scope.deadline = trio.current_time() + seconds
            for node in nodes:
                nursery.start_soon(self.node.local.comm.call, NodeAddress.of(node), request)

    @rpc(thread=True)
    def block(self) -> None:
        self.unblock.wait(DEADLINE_S)

    @rpc
    async def use_thread(self) -> None:
        await trio.to_thread.run_sync(self.unblock.wait, DEADLINE_S)

    @rpc
    async def items(self) -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)

    @rpc
    async def insist(self) -> None:
        with trio.CancelScope(shield=True):
            await self.release.wait()
        await trio.lowlevel.checkpoint()

    @rpc
    async def fail_at_the_end(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await self.release.wait()
            finally:
                raise ValueError("the end failed")

    @rpc
    async def have_tasks(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(self.release.wait)


async def open_desk(node: Node) -> Desk:
    desk = Desk(node)
    await node.local.routes.put(desk, "desk")
    return desk


@asynccontextmanager
async def open_nodes(count: int, **settings: Any) -> AsyncGenerator[list[Desk]]:
    """Run nodes of one cluster, each of which sees all."""
    async with trio.open_nursery() as nursery:
        desks: list[Desk] = []

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            seeds = [str(desk.node.address) for desk in desks[:1]]
            async with open_node(NodeConfig(join=seeds, **settings)) as node:
                desks.append(await open_desk(node))
                task_status.started()
                await trio.sleep_forever()

        for _ in range(count):
            await nursery.start(serve)
        await wait_until(lambda: all(len(desk.node.members()) == count for desk in desks))
        try:
            yield desks
        finally:
            for desk in desks:
                desk.release.set()
                desk.unblock.set()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def calling(*calls: Callable[[], Awaitable[Any]]) -> AsyncGenerator[list[BaseException]]:
    """Make calls in the background of a block, which are cancelled with it; yield their errors so far."""
    errors: list[BaseException] = []

    async def call(one: Callable[[], Awaitable[Any]]) -> None:
        try:
            await one()
        except Exception as exc:
            errors.append(exc)

    async with trio.open_nursery() as nursery:
        for one in calls:
            nursery.start_soon(call, one)
        yield errors
        nursery.cancel_scope.cancel()


async def tree_with(node: Node, count: int) -> CallTree:
    """Return the tree of the cluster once it has that many calls."""
    with trio.fail_after(DEADLINE_S):
        while True:
            tree = await node.calls.tree()
            if len(tree.calls) == count:
                return tree
            await trio.sleep(0.01)


def one_of(tree: CallTree, method: str) -> RunningCall:
    (found,) = (call for call in tree.calls if call.method == method)
    return found


# ---- the tree


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_the_tree_of_three_nodes_and_levels_is_the_same_from_each(transport: str) -> None:
    async with open_nodes(3, transport=transport) as (a, b, c):
        everyone = [str(desk.node.address) for desk in (a, b, c)]
        path = [[everyone[1], everyone[2]], 30.0, "ask", [everyone]]
        first = a.remote(everyone[0], "ask")
        async with calling(lambda: c.node.local.comm.send(path, first)):
            trees = [await tree_with(desk.node, 9) for desk in (a, b, c)]
    shapes = [[(call.level, str(call.node), call.id) for call in tree.calls] for tree in trees]
    assert shapes[0] == shapes[1] == shapes[2]
    tree = trees[0]
    assert [call.level for call in tree.calls] == [0, 1, 2, 2, 2, 1, 2, 2, 2]
    root = tree.calls[0]
    assert (str(root.node), root.caller, root.root) == (everyone[0], c.node.address, "made outside")
    assert (root.left_s, root.deadline_of) == (None, "")
    inner = tree.calls[1]
    assert (inner.parent, str(inner.caller)) == (root.id, everyone[0])
    assert [call.deadline_of for call in tree.calls[1:]] == [inner.id] * 8  # whose id is that of its sibling, too
    assert all(20 < (call.left_s or 0) <= 30 for call in tree.calls[1:])
    assert [(one.what, [*map(str, one.nodes)], one.state) for one in root.waits_for] == [
        ("desk/ask", sorted(everyone[1:], key=NodeAddress.of), "sent")
    ]
    leaves = [call for call in tree.calls if call.level == 2]
    assert all("Desk.hold (test_running_calls.py:" in call.waits_for[0].what for call in leaves)
    assert not tree.errors
    assert tree.nodes == 3


async def test_a_dump_has_the_nodes_own_calls_and_names_the_parents_elsewhere() -> None:
    async with open_nodes(2) as (a, b):
        path = [[str(b.node.address)]]
        async with calling(lambda: a.node.local.comm.send(path, a.remote(a.node.address, "ask"))):
            tree = await tree_with(a.node, 2)
            dumps = [desk.node.dump() for desk in (a, b)]
    assert [[call.id for call in dump.calls] for dump in dumps] == [[tree.calls[0].id], [tree.calls[1].id]]
    assert dumps[1].calls[0].root == "parent unknown"
    assert f"within {tree.calls[0].id} at {a.node.address}" in str(dumps[1])
    assert str(dumps[0]).splitlines()[-1] == "1 running call on 1 node"


async def test_what_handlers_wait_for_besides_calls() -> None:
    async with open_nodes(2) as (a, b):
        send = a.node.local.comm.send

        async def read_nothing() -> None:
            async with a.node.local.comm.stream([], a.remote(b.node.address, "items")):
                await trio.sleep_forever()

        waits = [
            lambda method=method: send([], a.remote(b.node.address, method))
            for method in ("block", "use_thread", "have_tasks", "hold")
        ]
        async with calling(read_nothing, *waits):
            await tree_with(a.node, 5)
            await wait_until(lambda: all(call.waits_for for call in b.node.dump().calls))
            dump = b.node.dump()
    found = {call.method: [(one.kind, one.what.partition(" (")[0]) for one in call.waits_for] for call in dump.calls}
    assert found == {
        "block": [("thread", "the handler itself")],
        "use_thread": [("thread", "trio.to_thread_run_sync in Desk.use_thread")],
        "items": [("credit", "")],
        "have_tasks": [("code", "trio.Event.wait"), ("code", "trio.sleep_forever")],
        "hold": [("code", "trio.Event.wait in Desk.hold")],
    }


async def test_a_nodes_call_to_itself_is_a_child_with_its_own_deadline() -> None:
    async with open_nodes(1) as (a,):
        own = [str(a.node.address)]
        first = a.remote(own[0], "ask")
        async with calling(lambda: a.node.local.comm.send([own, 50.0, "ask", [own, 20.0, "ask", [own]]], first)):
            tree = await tree_with(a.node, 4)
    assert [call.level for call in tree.calls] == [0, 1, 2, 3]
    ids = [call.id for call in tree.calls]
    assert [call.deadline_of for call in tree.calls] == ["", ids[1], ids[2], ids[2]]
    assert [round((call.left_s or 0) / 10) for call in tree.calls] == [0, 5, 2, 2]
    assert [len(call.waits_for) for call in tree.calls] == [1] * 4


def states_in(tree: CallTree) -> set[str]:
    return {one.state for call in tree.calls for one in call.waits_for}


async def test_a_call_that_has_no_place_is_queued_and_one_without_a_connection_is_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with open_nodes(2, max_calls_per_peer=1) as (a, b):
            nobody = f"127.0.0.1:{silent.getsockname()[1]}"
            path = [[str(b.node.address), nobody]]
            own = a.remote(a.node.address, "ask")
            async with calling(*[lambda: a.node.local.comm.send(path, own)] * 2):
                await tree_with(b.node, 3)  # although the only place is taken
                await wait_until(lambda: states_in(a.node.dump()) == {"connecting", "queued", "sent"})
                states = [[(one.state, *map(str, one.nodes)) for one in call.waits_for] for call in a.node.dump().calls]
            links = a.node._endpoint.links  # noqa: SLF001
            assert links is not None
            await wait_until(lambda: not links.in_progress())
    there = str(b.node.address)
    assert sorted(states) == [
        [("connecting", nobody), ("queued", there)],
        [("connecting", nobody), ("sent", there)],
    ]


async def test_a_call_that_waits_for_a_sign_of_life_of_its_peer_is_queued(autojump_clock: Any) -> None:
    async with open_cluster() as cluster:
        a, _, c = await start_desks(cluster)
        path = [[str(c.node.address)]]
        own = a.remote(a.node.address, "ask")
        async with calling(lambda: a.node.local.comm.send(path, own)):
            await tree_with(a.node, 2)
        await trio.sleep(60)
        cluster.network.down.add(c.node.address)
        async with calling(lambda: a.node.local.comm.send(path, own)):
            await wait_until(lambda: states_in(a.node.dump()) == {"queued"})


async def test_a_report_needs_no_place() -> None:
    async with open_nodes(2, max_calls_per_peer=1) as (a, b):
        remote = a.remote(b.node.address, "hold")
        async with calling(*[lambda: a.node.local.comm.send([], remote)] * 2):
            await wait_until(lambda: len(b.node.dump().calls) == 1)
            tree = await a.node.calls.tree(within_s=DEADLINE_S)
            found = await a.node.calls.cancel(tree.calls[0].id, within_s=DEADLINE_S)
    assert (len(tree.calls), tree.errors) == (1, {})
    assert (len(found.ended), found.errors) == (1, {})


async def test_a_member_that_does_not_answer_is_an_error_and_delays_no_longer_than_it_may(autojump_clock: Any) -> None:
    async with open_cluster() as cluster:
        a, b, c = await start_desks(cluster)
        path = [[str(b.node.address), str(c.node.address)]]
        async with calling(lambda: a.node.local.comm.send(path, a.remote(a.node.address, "ask"))):
            await tree_with(a.node, 3)
            cluster.network.down.add(c.node.address)
            begun = trio.current_time()
            tree = await a.node.calls.tree(within_s=0.5)
            took_s = trio.current_time() - begun
    assert tree.errors.keys() == {c.node.sid}
    assert isinstance(tree.errors[c.node.sid], CallTimeout)
    assert [call.node for call in tree.calls] == [a.node.address, b.node.address]
    assert [one.nodes for one in tree.calls[0].waits_for] == [tuple(sorted((b.node.address, c.node.address)))]
    assert took_s < 0.6
    assert f"no report of {c.node.sid}: CallTimeout" in str(tree)


async def start_desks(cluster: Cluster) -> list[Desk]:
    return [await open_desk(node) for node in await cluster.start_many(3)]


async def test_cancelled_calls_and_orphans_show_as_such() -> None:
    async with open_nodes(2) as (a, b):
        scope = trio.CancelScope()

        async def insist() -> None:
            with scope:
                await a.node.local.comm.send([], a.remote(b.node.address, "insist"))

        async with calling(insist):
            await tree_with(a.node, 1)
            scope.cancel()
            await wait_until(lambda: b.node.dump().calls[0].state == "cancelled")
            await wait_until(lambda: bool(a.node.orphaned_calls()))
            tree = await a.node.calls.tree()
            b.release.set()
        assert [call.state for call in tree.calls] == ["orphan"]
        await tree_with(a.node, 0)


async def test_a_handler_whose_client_has_gone_shows_as_cancelled() -> None:
    async with open_nodes(1) as (a,):

        async def ask() -> None:
            async with http_client() as client:
                await client.put(f"http://{a.node.address}/local/desk/insist", content="[]", timeout=None)

        async with calling(ask):
            await tree_with(a.node, 1)
        await wait_until(lambda: a.node.dump().calls[0].state == "cancelled")
        a.release.set()


async def test_the_call_that_asks_is_not_in_the_answer() -> None:
    async with open_nodes(2) as (a, b):
        ask = Remote(node=b.node.address, service="inspection", method="calls")
        answer = await a.node.local.comm.send([], ask)
    assert (answer["calls"], answer["errors"], answer["nodes"]) == ([], {}, 2)


async def simulated() -> list[str]:
    """Return the drawings of a simulated cluster."""
    async with open_simulation(3, seed=7, is_traced=False) as sim:
        desks = [await open_desk(node) for node in sim.up]
        a = desks[0]
        everyone = [str(desk.node.address) for desk in desks]
        path = [everyone, 9.0, "ask", [everyone]]
        async with calling(lambda: a.node.local.comm.send(path, a.remote(everyone[1], "ask"))):
            await trio.sleep(1)
            return [str(await a.node.calls.tree()), *(str(desk.node.dump()) for desk in desks)]


def test_a_simulated_cluster_gives_the_same_tree_for_the_same_seed() -> None:
    one, other = (trio.run(simulated, clock=trio.testing.MockClock(autojump_threshold=0)) for _ in range(2))
    assert one == other
    assert "13 running calls on 3 nodes" in one[0]


@pytest.mark.parametrize("within_s", [0, -1, "soon", None, float("nan"), float("inf"), True])
async def test_a_time_that_is_none_is_refused(within_s: Any) -> None:
    async with open_node() as node:
        with pytest.raises(MalformedRequest, match="within_s is a number of seconds"):
            await node.calls.tree(within_s=within_s)


# ---- cancellation


async def test_a_bound_of_a_report_that_is_none_is_refused_and_one_that_is_holds() -> None:
    async with (
        open_nodes(1) as (a,),
        calling(*[lambda: a.node.local.comm.send([], a.remote(a.node.address, "hold"))] * 3),
    ):
        await tree_with(a.node, 3)
        wrong: list[Any] = [-1, 10_001, 1.5, True, "9"]  # what strangers send
        for most in wrong:
            with pytest.raises(MalformedRequest, match="most is a number of calls"):
                a.node.calls.encoded_report(most)
        report = decode_report(a.node.calls.encoded_report(2, with_ends=True))
        assert (len(report.calls), report.omitted) == (2, 1)


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_a_subtree_is_cancelled_from_any_node_and_its_caller_told(transport: str) -> None:
    async with open_nodes(3, transport=transport) as (a, b, c):
        everyone = [str(desk.node.address) for desk in (a, b, c)]
        own = a.remote(everyone[0], "ask")
        async with calling(lambda: a.node.local.comm.send([everyone[1:], None, "ask", [everyone]], own)) as errors:
            tree = await tree_with(a.node, 9)
            (at_b,) = (call for call in tree.calls if call.level == 1 and call.node == b.node.address)
            found = await c.node.calls.cancel(at_b.id)
            await wait_until(lambda: bool(errors))
            await tree_with(c.node, 0)
        assert not [desk for desk in (a, b, c) if desk.node._router.endings]  # noqa: SLF001
    assert {call.level for call in found.ended} == {1, 2}
    assert len(found.ended) == 8  # of both members of the fan-out
    assert not found.running
    assert not found.errors
    (error,) = errors
    assert isinstance(error, RemoteError)  # of the handler of the root, whose nursery failed
    assert "CallCancelled" in error.traceback


async def test_the_caller_of_a_cancelled_call_gets_an_indefinite_error_that_says_by_whom() -> None:
    async with (
        open_nodes(2) as (a, b),
        calling(lambda: a.node.local.comm.send([], a.remote(b.node.address, "hold"))) as errors,
    ):
        tree = await tree_with(a.node, 1)
        found = await b.node.calls.cancel(tree.calls[0].id)
        await wait_until(lambda: bool(errors))
    assert [call.id for call in found.ended] == b.ended
    (error,) = errors
    assert isinstance(error, CallCancelled)
    assert isinstance(error, IndefiniteError)
    assert error.text == f"local/desk/hold was cancelled by node:{b.node.address}"
    assert error.node == str(b.node.address)


@pytest.mark.parametrize(
    ("method", "kind", "outcome"),
    [
        ("hold", CallCancelled, "cancelled"),
        ("have_tasks", CallCancelled, "cancelled"),  # its nursery's group has several cancellations
        ("fail_at_the_end", RemoteError, "error"),  # a failure in a group with a cancellation
    ],
)
@pytest.mark.parametrize("is_own", [True, False])
async def test_a_cancelled_call_ends_as_cancelled_unless_it_fails_meanwhile(
    method: str, kind: type[Exception], outcome: str, *, is_own: bool
) -> None:
    async with open_nodes(2) as (a, b):
        target = a if is_own else b

        async def call() -> None:
            with pytest.raises(kind):
                await a.node.local.comm.send([], a.remote(target.node.address, method))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await wait_until(lambda: bool(target.node.dump().calls))
            (running,) = target.node.dump().calls
            await target.node.calls.cancel(running.id)
        served = [each for each in target.node.figures().calls_served if each.method == method]
        assert [each.outcome for each in served] == [outcome]


async def test_where_nobody_proves_a_name_the_error_says_from_where_it_was_cancelled() -> None:
    async with (
        open_nodes(2) as (a, b),
        calling(lambda: a.node.local.comm.send([], a.remote(a.node.address, "hold"))) as errors,
    ):
        tree = await tree_with(b.node, 1)
        await b.node.calls.cancel(tree.calls[0].id)
        await wait_until(lambda: bool(errors))
    assert isinstance(errors[0], CallCancelled)
    assert errors[0].text == f"local/desk/hold was cancelled by someone at {b.node.address}"


async def test_the_reader_of_a_cancelled_stream_gets_it_too() -> None:
    async with open_nodes(2) as (a, b):

        async def read() -> None:
            async with a.node.local.comm.stream([], a.remote(b.node.address, "items")) as items:
                async for _ in items:
                    await trio.sleep(0.001)

        async with calling(read) as errors:
            tree = await tree_with(a.node, 1)
            await a.node.calls.cancel(tree.calls[0].id)
            await wait_until(lambda: bool(errors))
    assert isinstance(errors[0], CallCancelled)


async def test_a_client_that_is_no_node_can_be_cancelled_by_the_id_that_its_call_was_given() -> None:
    async with open_nodes(1) as (a,):
        answers = []

        async def ask() -> None:
            async with http_client() as client:
                answers.append(await client.put(f"http://{a.node.address}/local/desk/hold", content="[]", timeout=None))

        async with calling(ask):
            tree = await tree_with(a.node, 1)
            assert (tree.calls[0].caller, bool(tree.calls[0].id)) == (None, True)
            await a.node.calls.cancel(tree.calls[0].id)
            await wait_until(lambda: bool(answers))
    assert answers[0].status_code == 500
    assert answers[0].json()["error"]["name"] == "CallCancelled"


async def test_a_handler_that_insists_is_reported_as_still_running(autojump_clock: Any) -> None:
    async with open_cluster() as cluster:
        a, b, _ = await start_desks(cluster)
        async with calling(lambda: a.node.local.comm.send([], a.remote(b.node.address, "insist"))) as errors:
            tree = await tree_with(a.node, 1)
            found = await a.node.calls.cancel(tree.calls[0].id)
            assert [(call.method, call.node) for call in found.running] == [("insist", b.node.address)]
            assert not found.ended
            b.release.set()
            await wait_until(lambda: bool(errors))
            assert not b.node._router.endings  # noqa: SLF001
    assert isinstance(errors[0], CallCancelled)


async def test_more_questions_than_a_peer_answers_are_refused_and_no_link_breaks() -> None:
    async with open_nodes(2, max_calls_per_peer=4) as (a, b):
        remote = a.remote(b.node.address, "insist")
        async with calling(lambda: a.node.local.comm.send([], remote)) as errors:
            (call,) = (await tree_with(a.node, 1)).calls
            found = []

            async def cancel() -> None:
                found.append(await a.node.calls.cancel(call.id, within_s=DEADLINE_S))

            async with trio.open_nursery() as nursery:
                for _ in range(9):
                    nursery.start_soon(cancel)
                await wait_until(lambda: len(b.node._router.endings) > 0)  # noqa: SLF001
                await trio.sleep(0.1)
                b.release.set()
            await wait_until(lambda: bool(errors))
    refusals = [error for one in found for error in one.errors.values()]
    assert {type(error) for error in refusals} == {TemporarilyUnavailable}
    assert len(refusals) < len(found)
    assert isinstance(errors[0], CallCancelled)


async def test_an_unknown_id_ends_nothing() -> None:
    async with (
        open_nodes(2) as (a, b),
        calling(lambda: a.node.local.comm.send([], a.remote(b.node.address, "hold"))),
    ):
        await tree_with(a.node, 1)
        found = await a.node.calls.cancel("nothing")
        assert (found.ended, found.running, found.errors) == ((), (), {})
        assert list(found.lines("noth\x1bing")) == ["no running call has the id noth\\x1bing"]
        await tree_with(a.node, 1)


@pytest.mark.parametrize("call_id", [None, "", 7, b"id"])
async def test_an_id_is_a_text(call_id: Any) -> None:
    async with open_node() as node:
        with pytest.raises(MalformedRequest, match="a call is named by its id"):
            await node.calls.cancel(call_id)


# ---- what is left


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_nothing_of_ended_calls_is_kept(transport: str) -> None:
    async with open_nodes(2, transport=transport) as (a, b):
        path = [[str(b.node.address)] * 3, 0.05]
        for _ in range(3):
            await a.node.local.comm.send(path, a.remote(b.node.address, "ask"))
        for desk in (a, b):
            dump = desk.node.dump()
            assert not dump.calls
            endpoint = desk.node._endpoint  # noqa: SLF001
            assert not [one for one in endpoint.transport.in_progress() if one.request.service == "desk"]
            assert endpoint.links is None or not endpoint.links.in_progress()
