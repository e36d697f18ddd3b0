"""Calls along a tree: what is the same as without one, and what is done about members that fail on the way."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.waiting import wait_until
from trionet import (
    ConnectionLost,
    MalformedRequest,
    MethodNotFound,
    Node,
    NodeConfig,
    NodeUnreachable,
    NotPermitted,
    OrphanedCalls,
    RemoteError,
    ServiceNotFound,
    current_call,
    open_node,
    rpc,
)
from trionet.histograms import SUM, UNTIMED
from trionet.message import RELAYING
from trionet.protocols.relaying import runs_of
from trionet.simulation.rules import partition
from trionet.templates import tree_calls
from trionet.templates.relaying import Relaying
from trionet.templates.tree_calls import from_own
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trionet import Group, NodeAddress

COUNT = 12
ARITY = 3
HELD_FAILED_S = 10.0
"""A member that falls silent is held failed by then, and its link is not yet given up."""


class Guard:
    """A service whose handler refuses."""

    def __init__(self) -> None:
        self.asked = 0

    @rpc
    def enter(self) -> None:
        self.asked += 1
        raise NotPermitted("only with a ticket")


class OutOfTea(Exception):
    """An error of the user's."""


class Shop:
    """A service that notes its calls."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.calls: list[Any] = []
        self.running = 0
        self.gate = trio.Event()

    @rpc
    def sell(self, what: str) -> tuple[str, str]:
        self.calls.append(current_call())
        if what == "tea":
            raise OutOfTea(self._node.sid)
        return self._node.sid, what

    @rpc
    async def wait(self, shield_s: float = 0.0) -> str:
        self.calls.append(current_call())
        self.running += 1
        try:
            await self.gate.wait()
            return self._node.sid
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(shield_s)
            self.running -= 1

    @rpc
    async def watch(self) -> AsyncGenerator[int]:
        yield 1

    @rpc
    def fetch(self, size: int) -> bytes:
        return bytes(size)

    @rpc
    async def ask(self) -> str:
        """Call a method of another node, within a call."""
        inner: str = await self._node.call(self._node.address, Shop.about)
        return inner

    @rpc
    def about(self) -> str:
        return current_call().parent


class Town:
    """A caller, and the shops that it calls."""

    def __init__(self, group: Group, nodes: list[Node], shops: list[Shop], fabric: MemoryFabric) -> None:
        self.group, self.nodes, self.shops, self.fabric = group, nodes, shops, fabric
        self.caller = nodes[0]

    @property
    def tree(self) -> Any:
        return self.group.options(tree=True)

    def heads(self) -> list[Node]:
        """Return the members that the caller asks to call others."""
        others = [node for _, node in from_own(self.group.members(), self.caller.address)]
        return [self.at(others[begin]) for begin, _ in runs_of(len(others), ARITY)]

    def run_of(self, head: Node) -> list[NodeAddress]:
        """Return the addresses of a head and of those that it calls."""
        others = [node for _, node in from_own(self.group.members(), self.caller.address)]
        begin, end = next(run for run in runs_of(len(others), ARITY) if others[run[0]] == head.address)
        return others[begin:end]

    def at(self, address: NodeAddress) -> Node:
        return next(node for node in self.nodes if node.address == address)

    def shop(self, node: Node) -> Shop:
        return self.shops[self.nodes.index(node)]


@pytest.fixture(autouse=True)
def _arity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_calls, "arity_of", lambda _: ARITY)


@asynccontextmanager
async def open_town(count: int = COUNT, config: NodeConfig | None = None) -> AsyncGenerator[Town]:
    fabric = MemoryFabric(seed=1)
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(open_node(config or NodeConfig(), fabric=fabric)) for _ in range(count)
        ]
        shops = [Shop(node) for node in nodes]
        for node, shop in zip(nodes, shops, strict=True):
            await node.local.routes.put(shop)
        await nodes[0].local.groups.put("town", [node.address for node in nodes])
        yield Town(nodes[0].group("town"), nodes, shops, fabric)


@asynccontextmanager
async def open_cluster() -> AsyncGenerator[Town]:
    """Open nodes that know of each other's failures, and have links along the tree."""
    async with open_town() as town:
        for node in town.nodes[1:]:
            await node.join([town.caller.address])
        await wait_until(lambda: all(len(node.members()) == COUNT for node in town.nodes))
        await town.tree.call(Shop.sell, "milk")
        yield town


async def test_each_member_answers_once_as_without_a_tree() -> None:
    async with open_town() as town:
        flat = await town.group.call(Shop.sell, "milk")
        assert await town.tree.call(Shop.sell, "milk") == flat
        assert list(flat.values) == list((await town.tree.call(Shop.sell, "milk")).values)
        assert [len(shop.calls) for shop in town.shops] == [3] * COUNT


async def test_the_caller_calls_only_some_members_itself() -> None:
    async with open_town() as town:
        await town.tree.call(Shop.sell, "milk")
        links = town.fabric.endpoints[town.caller.address].links
        assert links is not None
        assert links.traffic.open == ARITY


async def test_errors_of_handlers_and_of_nodes_are_those_of_a_call_without_a_tree() -> None:
    async with open_town() as town:
        for gone in (town.heads()[1], town.nodes[-1]):
            await gone.local.routes.rem("shop")
        flat, tree = await town.group.call(Shop.sell, "tea"), await town.tree.call(Shop.sell, "tea")
        assert flat.errors.keys() == tree.errors.keys() == town.group.members().keys()
        for sid, error in flat.errors.items():
            other = tree.errors[sid]
            assert (type(other), other.text, other.node) == (type(error), error.text, error.node)
        kinds = {type(error) for error in tree.errors.values()}
        assert kinds == {RemoteError, ServiceNotFound}


async def test_a_handler_that_refuses_its_caller_runs_once() -> None:
    async with open_town() as town:
        guards = [Guard() for _ in town.nodes]
        for node, guard in zip(town.nodes, guards, strict=True):
            await node.local.routes.put(guard)
        replies = await town.tree.call(Guard.enter)
        assert {error.text for error in replies.errors.values()} == {"only with a ticket"}
        assert [guard.asked for guard in guards] == [1] * COUNT


async def test_a_handler_sees_the_call_as_if_its_caller_had_called_it() -> None:
    async with open_town() as town:
        await town.tree.call(Shop.sell, "milk")
        calls = [shop.calls[0] for shop in town.shops]
        assert len({call.id for call in calls}) == 1
        assert {(call.caller, call.service, call.method, call.parent) for call in calls} == {
            (town.caller.address, "shop", "sell", "")
        }


async def test_calls_within_a_handler_are_children_of_its_call() -> None:
    async with open_town() as town:
        asked = (await town.tree.call(Shop.ask)).values
        assert len(asked) == COUNT
        assert len(set(asked.values())) == 1
        assert "" not in asked.values()


async def test_the_tree_of_running_calls_has_the_handlers_and_not_the_way_to_them() -> None:
    async with open_town() as town, trio.open_nursery() as nursery:
        nursery.start_soon(town.tree.call, Shop.wait)
        await wait_until(lambda: all(shop.running for shop in town.shops))
        for node in town.nodes:
            assert [call.name for call in node.calls.dump().calls] == ["shop/wait"]
        nursery.cancel_scope.cancel()


async def test_a_deadline_goes_down_the_tree(autojump_clock: MockClock) -> None:
    async with open_town() as town:
        with trio.move_on_after(5):
            await town.tree.call(Shop.wait)
        assert [shop.calls[0].deadline < 6 for shop in town.shops[1:]] == [True] * (COUNT - 1)
        assert not any(shop.running for shop in town.shops)


async def test_a_partial_result_has_timeouts_of_the_others(autojump_clock: MockClock) -> None:
    async with open_town() as town:
        done = town.heads()[0]
        town.shop(done).gate.set()
        with trio.move_on_after(5):
            replies = await town.tree.options(partial=True).call(Shop.wait)
        assert list(replies.values) == [done.sid]
        assert replies.errors.keys() == town.group.members().keys() - {done.sid}
        assert {error.text for error in replies.errors.values()} == {"no answer before the caller's deadline"}


async def test_a_quorum_counts_at_the_caller_and_the_others_are_cancelled(autojump_clock: MockClock) -> None:
    async with open_town() as town:
        for shop in town.shops[3:6]:
            shop.gate.set()
        replies = await town.tree.options(wait=3).call(Shop.wait)
        assert len(replies.values) == 3
        assert not replies.errors
        assert not any(shop.running for shop in town.shops)


async def test_a_cancel_is_confirmed_when_all_handlers_have_ended(autojump_clock: MockClock) -> None:
    async with open_town() as town:
        with trio.move_on_after(1) as scope:
            await town.tree.call(Shop.wait, 0.05)
        assert scope.cancelled_caught
        assert [(len(shop.calls), shop.running) for shop in town.shops] == [(1, 0)] * COUNT


async def test_handlers_that_do_not_end_are_orphans_of_the_caller(autojump_clock: MockClock) -> None:
    async with open_town() as town:
        (rest,) = [node for node in town.nodes[1:2] if node not in town.heads()] or [town.nodes[2]]
        for node in town.nodes:
            if node is not rest:
                town.shop(node).gate.set()
        with pytest.raises(OrphanedCalls) as caught, trio.move_on_after(1):
            await town.tree.options(orphans="raise").call(Shop.wait, 8.0)
        assert caught.value.calls
        await trio.sleep(10)


async def test_a_member_that_is_gone_is_unreachable_wherever_it_is_in_the_tree(autojump_clock: MockClock) -> None:
    async with open_town() as town:
        gone = [town.heads()[1], next(node for node in town.nodes[1:] if node not in town.heads())]
        for node in gone:
            town.fabric.crash(node.address)
        replies = await town.tree.call(Shop.sell, "milk")
        assert replies.errors.keys() == {node.sid for node in gone}
        assert {type(error) for error in replies.errors.values()} == {NodeUnreachable}
        assert {error.node for error in replies.errors.values()} == {str(node.address) for node in gone}
        assert len(replies.values) == COUNT - 2


@pytest.mark.parametrize("methods", [["relay"], ["answer"], ["relay", "answer", "recall"]])
async def test_members_that_know_nothing_of_trees_are_called_as_without_one(methods: list[str]) -> None:
    async with open_town() as town:
        for node in (town.heads()[0], town.nodes[-1]):
            known = node.local.comm.router.methods.by_name["all"]["comm"]
            node.local.comm.router.put("all", "comm", {name: one for name, one in known.items() if name not in methods})
        replies = await town.tree.call(Shop.sell, "milk")
        assert replies == await town.group.call(Shop.sell, "milk")
        assert [len(shop.calls) for shop in town.shops] == [2] * COUNT


async def test_when_a_member_on_the_way_ends_the_answers_of_ended_runs_come_and_nothing_runs_twice() -> None:
    async with open_town() as town:
        head = town.heads()[0]
        for shop in town.shops:
            shop.gate.set()
        town.shop(head).gate = trio.Event()  # the others of its run have answered
        async with trio.open_nursery() as nursery:
            found: list[Any] = []

            async def call() -> None:
                found.append(await town.tree.call(Shop.wait))

            nursery.start_soon(call)
            await wait_until(
                lambda: all(shop.calls and shop.running == (shop is town.shop(head)) for shop in town.shops)
            )
            town.fabric.crash(head.address)
        (replies,) = found
        assert {sid: type(error) for sid, error in replies.errors.items()} == {head.sid: ConnectionLost}
        assert len(replies.values) == COUNT - 1
        assert [len(shop.calls) for shop in town.shops] == [1] * COUNT


async def test_the_rest_of_a_silent_head_is_asked_once_the_cluster_holds_the_head_failed(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster() as town:
        head = town.heads()[0]
        town.fabric.crash(head.address, is_silent=True)
        with trio.fail_after(HELD_FAILED_S):
            first = await town.group.options(tree=True, wait=COUNT - 1).call(Shop.sell, "eggs")
        assert (len(first.values), first.errors) == (COUNT - 1, {})
        assert [len(shop.calls) for shop in town.shops] == [1 if node is head else 2 for node in town.nodes]


async def test_the_answer_of_a_head_held_failed_is_awaited_as_without_a_tree(autojump_clock: MockClock) -> None:
    async with open_cluster() as town:
        head = town.heads()[0]
        town.fabric.crash(head.address, is_silent=True)
        replies = await town.tree.call(Shop.sell, "eggs")
        assert {sid: type(error) for sid, error in replies.errors.items()} == {head.sid: ConnectionLost}
        assert len(replies.values) == COUNT - 1
        assert [len(shop.calls) for shop in town.shops] == [1 if node is head else 2 for node in town.nodes]


async def test_a_head_held_failed_that_comes_back_in_time_gives_its_answer_and_nothing_runs_twice(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster() as town:
        head = town.heads()[0]
        run = [town.shop(town.at(address)) for address in town.run_of(head)]
        for shop in town.shops:
            if shop not in run:
                shop.gate.set()
        others = [node.address for node in town.nodes if node is not head]
        async with trio.open_nursery() as nursery:
            found: list[Any] = []

            async def call() -> None:
                found.append(await town.tree.call(Shop.wait))

            nursery.start_soon(call)
            await wait_until(lambda: all(len(shop.calls) == 2 for shop in town.shops))
            with town.fabric.rule(partition([head.address], others)):
                await trio.sleep(HELD_FAILED_S)
                assert not found
                assert town.caller.local.membership.has_failed(head.address)
                for shop in run[1:]:
                    shop.gate.set()
            await trio.sleep(HELD_FAILED_S)  # now it relays the answers of the others, late
            run[0].gate.set()
        assert (len(found[0].values), found[0].errors) == (COUNT, {})
        assert [len(shop.calls) for shop in town.shops] == [2] * COUNT


async def test_a_run_that_was_cut_off_is_lost_and_one_that_never_began_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_town() as town:
        head, original = town.heads()[0], Relaying.ask
        cut, left = map(town.at, town.run_of(head)[1:])
        monkeypatch.setattr(tree_calls, "_CLOCKS_DIFFER", 0.0)  # the nodes are younger than a way may take

        async def ask_one(relaying: Relaying, places: list[int]) -> None:
            await original(relaying, places[:1] if relaying.comm.own == head.address else places)

        monkeypatch.setattr(Relaying, "ask", ask_one)
        for node, shop in zip(town.nodes, town.shops, strict=True):
            if node not in (head, cut):
                shop.gate.set()
        async with trio.open_nursery() as nursery:
            found: list[Any] = []

            async def call() -> None:
                found.append(await town.tree.call(Shop.wait))

            nursery.start_soon(call)
            await wait_until(lambda: sum(len(shop.calls) for shop in town.shops) == COUNT - 1)
            town.fabric.crash(head.address)
        (replies,) = found
        errors = {sid: type(error) for sid, error in replies.errors.items()}
        assert errors == {head.sid: ConnectionLost, cut.sid: ConnectionLost}
        assert replies.values[left.sid] == left.sid
        assert [len(shop.calls) for shop in town.shops] == [1] * COUNT


async def test_an_answer_that_was_lost_on_the_way_is_recalled(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_town() as town:
        head, original = town.heads()[0], Relaying.ask

        async def ask_silently(relaying: Relaying, places: list[int]) -> None:
            if relaying.comm.own == head.address:
                relaying.taker = _Deaf()
            await original(relaying, places)

        monkeypatch.setattr(Relaying, "ask", ask_silently)
        for node, shop in zip(town.nodes, town.shops, strict=True):
            if node is not head:
                shop.gate.set()
        async with trio.open_nursery() as nursery:
            found: list[Any] = []

            async def call() -> None:
                found.append(await town.tree.call(Shop.wait))

            nursery.start_soon(call)
            await wait_until(lambda: [shop.running for shop in town.shops].count(1) == town.shop(head).running == 1)
            town.fabric.crash(head.address)
        (replies,) = found
        assert list(replies.errors) == [head.sid]
        assert [len(shop.calls) for shop in town.shops] == [1] * COUNT


class _Deaf:
    """Takes no answer."""

    def take(self, *_: Any, **__: Any) -> None: ...

    take_failure = take


async def test_long_arguments_and_answers_go_along_a_tree() -> None:
    async with open_town() as town:
        replies = await town.tree.call(Shop.fetch, 200_000)
        assert set(replies.values.values()) == {bytes(200_000)}
        what = "x" * 200_000
        assert {value[1] for value in (await town.tree.call(Shop.sell, what)).values.values()} == {what}


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_both_transports_carry_calls_along_a_tree(transport: Any) -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(open_node(NodeConfig(transport=transport))) for _ in range(6)]
        for node in nodes:
            await node.local.routes.put(Shop(node))
        await nodes[0].local.groups.put("town", nodes)
        group = nodes[0].group("town")
        assert await group.options(tree=True).call(Shop.fetch, 100_000) == await group.call(Shop.fetch, 100_000)
        replies = await group.options(tree=True).call(Shop.sell, "tea")
        assert {type(error) for error in replies.errors.values()} == {RemoteError}


@pytest.mark.parametrize("end", ["values", "enough", "deadline", "errors"])
async def test_each_member_is_counted_once_as_without_a_tree(end: str, autojump_clock: MockClock) -> None:
    found = []
    for is_tree in (False, True):
        async with open_town() as town:
            town.shops[4].gate.set()
            group = town.tree if is_tree else town.group
            with trio.move_on_after(5):
                if end in ("values", "errors"):
                    await group.call(Shop.sell, "milk" if end == "values" else "tea")
                else:
                    await group.options(wait="first" if end == "enough" else "all").call(Shop.wait)
            counts = town.caller.local.comm.counts
            found.append({
                outcome: sum(histogram[:SUM]) + histogram[UNTIMED]
                for service, _, outcome, histogram in counts
                if service == "shop"
            })  # fmt: skip
    assert found[0] == found[1]
    assert sum(found[0].values()) == COUNT


async def test_comm_send_has_a_tree_too() -> None:
    async with open_town() as town:
        remote = {"service": "shop", "method": "sell"}
        flat = await town.group.comm.send(["milk"], remote)  # type: ignore[arg-type]
        assert await town.group.comm.send(["milk"], remote, tree=True) == flat  # type: ignore[arg-type]
        with pytest.raises(MalformedRequest):
            await town.group.comm.send(["milk"], remote, tree=1)  # type: ignore[arg-type]


async def test_streams_and_maps_refuse_a_tree() -> None:
    async with open_town(2) as town:
        with pytest.raises(MalformedRequest, match="leave out options"):
            async with town.tree.stream(Shop.watch):
                ...
        with pytest.raises(MalformedRequest, match="leave out options"):
            town.tree.map(Shop.sell, ["milk"])
        with pytest.raises(MalformedRequest):
            town.group.options(tree="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
async def test_small_groups_have_trees_too(count: int) -> None:
    async with open_town(count) as town:
        assert len((await town.tree.call(Shop.sell, "milk")).values) == count


async def test_a_method_that_does_not_exist_is_the_error_of_each_member() -> None:
    async with open_town() as town:
        replies = await town.group.comm.send([], {"service": "shop", "method": "no"}, tree=True)  # type: ignore[arg-type]
        assert {type(error) for error in replies.errors.values()} == {MethodNotFound}
        assert len(replies.errors) == COUNT


@pytest.mark.parametrize("method", RELAYING)
@pytest.mark.parametrize(
    "args", [[], [1, 2, 3, 4], [[], [], b"", 1], [["a"] * 11, [], b"", 1], [None, ["x"], b"\x00", 0]]
)
async def test_a_malformed_relayed_call_is_refused(method: str, args: list[Any]) -> None:
    async with open_town(2) as town:
        remote: Any = {"node": town.nodes[1], "gid": "all", "service": "comm", "method": method}
        comm = town.caller.local.comm

        async def call() -> None:
            if method != "relay":
                await comm.send(args[:2], remote)
                return
            async with comm.stream(args, remote) as items:
                async for _ in items:
                    ...

        with pytest.raises(MalformedRequest):
            await call()
