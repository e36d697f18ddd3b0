"""Handlers that make calls: whatever waits for whatever, and however small the limits are, all calls end."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import pytest
import trio

from tests.waiting import DEADLINE_S, wait_until
from trionet import (
    Node,
    NodeAddress,
    NodeConfig,
    Remote,
    RemoteError,
    TemporarilyUnavailable,
    TrionetError,
    open_node,
)
from trionet.message import PACKET
from trionet.nesting import DEEPEST, PACKETS, current_depth
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    Transport = Literal["link", "http"]

TRANSPORTS: dict[str, tuple[Transport, Transport]] = {
    "link": ("link", "link"),
    "memory": ("link", "link"),
    "http": ("http", "http"),
    "link and http": ("link", "http"),
}
"""By what the calls of every other node go out."""

KINDS = list(TRANSPORTS)
REFUSED = re.compile("nested 8 deep or deeper.*max_calls_per_peer")


class Web:
    """The service of nodes that call each other as their callers say.

    Attributes:
        node: the one that it is on.
        nodes: all.
        background: runs tasks as long as the nodes.
    """

    def __init__(self, node: Node, nodes: list[Node], background: trio.Nursery) -> None:
        self.node = node
        self.nodes = nodes
        self.background = background

    async def ask(self, to: int, method: str, *args: Any) -> Any:
        """Have a node do something, this one perhaps."""
        return await self.node.local.comm.send(list(args), self.remote(to, method))

    def remote(self, to: int, method: str) -> Remote:
        return Remote(node=self.nodes[to].address, service="web", method=method)

    async def follow(self, path: list[int], ballast: bytes = b"") -> int:
        """Call the first of a path, which calls the next; return how many were called."""
        if not path:
            return 0
        called: int = await self.ask(path[0], "follow", path[1:], ballast)
        return called + 1

    async def depths(self, path: list[int]) -> list[int]:
        """Return the depth of the calls that each on a path makes, beginning here."""
        return [current_depth(), *(await self.ask(path[0], "depths", path[1:]) if path else [])]

    async def gossip(self) -> None:
        await self.node.group("webs").gossip.send([], Remote(service="rumors", method="note"))

    async def grow(self, path: list[int]) -> None:
        """Have the last of a path spawn a node for the group."""
        if path:
            await self.ask(path[0], "grow", path[1:])
        else:
            await self.node.group("webs").status.spawn(NodeConfig(launcher="in_process"))

    async def spread(self, tree: list[Any]) -> int:
        """Do a tree's branches at once or one after the other; return how many calls that were."""
        is_at_once, branches = tree
        counts: list[int] = []

        async def do(to: int, how: str, below: list[Any]) -> None:
            if how == "stream":
                async with self.node.local.comm.stream([below], self.remote(to, "trickle")) as items:
                    counts.append(sum([item async for item in items]))
            elif how == "held":
                async with self.node.local.comm.stream([], self.remote(to, "linger")) as items:
                    assert await anext(items) == 1
                    counts.append(await self.ask(to, "spread", below) + 1)
            elif how == "started":
                counts.append(await self.ask(to, "start", below))
            elif how == "everywhere":
                replies = await self.node.group("webs").comm.send([below], Remote(service="web", method="spread"))
                replies.raise_errors()
                counts.append(sum(replies.values.values()))
            else:
                counts.append(await self.ask(to, "spread", below))

        try:
            async with trio.open_nursery() as nursery:
                for branch in branches:
                    if is_at_once:
                        nursery.start_soon(do, *branch)
                    else:
                        await do(*branch)
        except ExceptionGroup as group:
            raise first_leaf(group) from group  # whose text tells at every node on the way
        return sum(counts) + 1

    async def trickle(self, tree: list[Any]) -> AsyncIterator[int]:
        """Do a tree while somebody reads."""
        yield 1
        yield await self.spread(tree) - 1

    async def linger(self) -> AsyncIterator[int]:
        """Hold the place of a stream until its reader leaves."""
        yield 1
        await trio.sleep_forever()

    async def start(self, tree: list[Any]) -> int:
        """Have a task in the node's own nursery do a tree, and return when it has."""
        ended = trio.Event()
        outcome: Any = None

        async def work() -> None:
            nonlocal outcome
            outcome = await outcome_of(self, "spread", tree)
            ended.set()

        self.background.start_soon(work)
        await ended.wait()
        if isinstance(outcome, Exception):
            raise outcome
        count: int = outcome
        return count


@asynccontextmanager
async def open_web(kind: str, count: int, limit: int, **settings: Any) -> AsyncGenerator[list[Web]]:
    """Run nodes that take `limit` calls of each other at each depth."""
    fabric, transports = MemoryFabric() if kind == "memory" else None, TRANSPORTS[kind]
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for index in range(count):
            config = NodeConfig(max_calls_per_peer=limit, transport=transports[index % 2], **settings)
            nodes.append(await stack.enter_async_context(open_node(config, fabric=fabric)))
        background = await stack.enter_async_context(trio.open_nursery())
        webs = [Web(node, nodes, background) for node in nodes]
        for web in webs:
            await web.node.local.groups.put("webs", [node.address for node in nodes])
            methods = ("follow", "depths", "grow", "spread", "trickle", "linger", "start")
            await web.node.local.routes.put({name: getattr(web, name) for name in methods}, "web")
        with trio.fail_after(DEADLINE_S):
            yield webs
        background.cancel_scope.cancel()


async def outcome_of(web: Web, method: str, *args: Any) -> Any:
    """Return what a method gives, or its error."""
    try:
        return await getattr(web, method)(*args)
    except TrionetError as exc:
        return exc


def first_leaf(group: ExceptionGroup[Any]) -> Exception:
    """Return an error that a group has, however deeply."""
    first: Exception = group.exceptions[0]
    return first_leaf(first) if isinstance(first, ExceptionGroup) else first


def is_refusal(outcome: Any) -> bool:
    """Whether an outcome is the refusal that names the setting, wherever in the nesting that arose."""
    return isinstance(outcome, TemporarilyUnavailable | RemoteError) and REFUSED.search(str(outcome)) is not None


async def outcomes_of(calls: list[tuple[Web, str, list[Any]]]) -> list[Any]:
    """Make all calls at once; return their outcomes in that order."""
    outcomes: list[Any] = [None] * len(calls)

    async def make(place: int, web: Web, method: str, args: list[Any]) -> None:
        outcomes[place] = await outcome_of(web, method, *args)

    async with trio.open_nursery() as nursery:
        for place, call in enumerate(calls):
            nursery.start_soon(make, place, *call)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "limit", "count"),
    [("link", 1024, 1100), ("memory", 1024, 1100), ("http", 4, 20), ("link and http", 4, 20)],
)
async def test_more_calls_than_the_limit_whose_handlers_call_back_twice_all_end(
    kind: str, limit: int, count: int
) -> None:
    async with open_web(kind, 2, limit) as (a, _):
        assert await outcomes_of([(a, "follow", [[1, 0, 1]])] * count) == [3] * count


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_ring_in_which_each_calls_the_next_ends_at_every_depth(kind: str) -> None:
    async with open_web(kind, 3, 2) as webs:
        for length in range(1, 13):
            paths = [[(start + step) % 3 for step in range(1, length + 1)] for start in range(3)]
            outcomes = await outcomes_of([(webs[start], "follow", [paths[start]]) for start in [0, 1, 2] * 4])
            if length <= DEEPEST:
                assert outcomes == [length] * 12
            else:
                assert all(outcome == length or is_refusal(outcome) for outcome in outcomes), outcomes
        assert await outcome_of(webs[0], "follow", [1, 2, 0]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_chain_over_twenty_nodes_needs_one_place_at_each(kind: str) -> None:
    async with open_web(kind, 20, 1) as webs:
        assert await outcome_of(webs[0], "follow", list(range(1, 20))) == 19


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_that_nest_without_end_end_with_a_refusal_that_names_the_setting(kind: str) -> None:
    async with open_web(kind, 2, 2) as (a, _):
        assert is_refusal(await outcome_of(a, "follow", [1, 0] * 100))


@pytest.mark.parametrize("kind", ["link", "link and http"])
async def test_nested_calls_with_long_arguments_do_not_wait_for_each_others_windows(kind: str) -> None:
    async with open_web(kind, 2, 1024, max_message_bytes=256 * 1024) as (a, _):
        ballast = bytes(150_000)
        assert await outcomes_of([(a, "follow", [[1, 0, 1, 0], ballast])] * 12) == [4] * 12


async def test_long_calls_beyond_the_deepest_window_are_refused_and_name_the_setting() -> None:
    async with open_web("link", 2, 1024, max_message_bytes=256 * 1024) as (a, _):
        outcome = await outcome_of(a, "follow", [1, 0] * 20, bytes(200_000))
        assert isinstance(outcome, RemoteError)
        assert "TemporarilyUnavailable" in outcome.text
        assert "max_message_bytes" in outcome.text
        assert await outcome_of(a, "follow", [1, 0], bytes(200_000)) == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_in_the_block_of_a_stream_do_not_wait_for_the_place_that_it_holds(kind: str) -> None:
    async with open_web(kind, 2, 1) as (a, b):
        depths = a.remote(1, "depths")
        async with a.node.local.comm.stream([], a.remote(1, "linger")) as items:
            assert await anext(items) == 1
            assert await a.node.local.comm.send([[]], depths) == [2]
        assert await a.node.local.comm.send([[]], depths) == [1]
        linger = Remote(service="web", method="linger")
        async with a.node.group("webs").comm.stream([], linger, items=True) as pairs:
            assert {(await anext(pairs))[0] for _ in range(2)} == {a.node.sid, b.node.sid}
            assert await a.node.local.comm.send([[]], depths) == [2]
        assert await a.node.local.comm.send([[]], depths) == [1]


# ---- graphs at random

HOWS = ["call", "call", "stream", "held", "started", "everywhere"]
"""How a branch is done: by a call; as a stream; by a call in the block of a stream; by a task; on all nodes."""


def tree_of(random: Random, nodes: int, height: int, *, leaf: bool = False) -> list[Any]:
    """Return a tree for `Web.spread`."""
    branches = []
    if not leaf and height > 0:
        for _ in range(random.choice([1, 1, 2, 3]) if height > 2 else 1):
            how = random.choice(HOWS)
            below = tree_of(random, nodes, height - random.choice([1, 1, 2]), leaf=how == "everywhere")
            branches.append([random.randrange(nodes), how, below])
    return [random.random() < 0.5, branches]


def calls_in(tree: list[Any], nodes: int) -> int:
    """Return what `Web.spread` returns of it."""
    calls = 1
    for _, how, below in tree[1]:
        calls += nodes if how == "everywhere" else calls_in(below, nodes) + (how == "held")
    return calls


def depth_of(tree: list[Any]) -> int:
    """Return a bound of how many calls hold places for the sake of one at once."""
    return max((depth_of(below) + (2 if how == "held" else 1) for _, how, below in tree[1]), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 6))])
async def test_calls_of_random_graphs_all_end_with_one_place_at_each_depth(kind: str, seed: int) -> None:
    random, count = Random(seed), 3
    trees = [tree_of(random, count, random.choice([2, 3, 4, 9])) for _ in range(6)]
    async with open_web(kind, count, 1) as webs:
        outcomes = await outcomes_of([(webs[place % count], "spread", [tree]) for place, tree in enumerate(trees)])
        for tree, outcome in zip(trees, outcomes, strict=True):
            if isinstance(outcome, int):
                assert outcome == calls_in(tree, count)
            else:
                assert depth_of(tree) > DEEPEST, (seed, tree, outcome)
                assert is_refusal(outcome), (seed, tree, outcome)
        assert await outcome_of(webs[0], "follow", [1, 2]) == 2


# ---- what carries the depth, and what holds no place


@pytest.mark.parametrize("kind", KINDS)
async def test_each_handlers_calls_are_one_deeper_than_its_own_call(kind: str) -> None:
    async with open_web(kind, 2, 4) as (a, _):
        assert await a.depths([1, 0] * 5) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_to_itself_holds_no_place_and_nests_nothing_deeper(kind: str) -> None:
    async with open_web(kind, 2, 1) as (a, _):
        assert await a.depths([0] * 20) == [0] * 21
        assert await a.depths([0, 1, 1, 1, 0]) == [0, 0, 1, 1, 1, 2]


async def test_a_rumors_handler_begins_anew() -> None:
    depths: list[int] = []
    async with open_web("link", 2, 1) as webs:
        for web in webs:
            await web.node.local.routes.put({"note": lambda: depths.append(current_depth())}, "rumors")
            await web.node.local.routes.put({"gossip": web.gossip}, "gossiper")
        remote = Remote(node=webs[1].node.address, service="gossiper", method="gossip")
        await webs[0].node.local.comm.send([], remote)
        await wait_until(lambda: len(depths) == 2)
    assert depths == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
async def test_packets_of_the_protocols_need_no_place_where_every_one_is_taken(kind: str) -> None:
    async with open_web(kind, 2, 1) as (a, b):
        held, release = 0, trio.Event()

        async def hold() -> None:
            nonlocal held
            held += 1
            await release.wait()

        await b.node.local.routes.put({"hold": hold}, "holder")
        remote, comm = Remote(service="holder", method="hold"), a.node.local.comm
        async with trio.open_nursery() as nursery:
            for depth in range(DEEPEST + 1):
                nursery.start_soon(comm.call, b.node.address, comm.prepare([], {}, remote, depth=depth))
            await wait_until(lambda: held == DEEPEST + 1)
            for size in 0, 100_000:
                packet = comm.prepare([bytes(size)], {}, PACKET, depth=PACKETS)
                assert await comm.call(b.node.address, packet) is None
            release.set()


async def test_nodes_that_are_spawned_at_once_at_different_depths_are_all_introduced() -> None:
    """One at a time tells the group of its node, and the others wait for their turn while they hold places."""
    async with open_web("memory", 2, 1) as (a, b):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(a.ask, 1, "grow", [0])
                nursery.start_soon(a.grow, [])
        for web in a, b:
            assert len(web.node.local.groups.members("webs")) == 2 + 8


async def call_the_parent(node: Node) -> None:
    """Be the `on_start` of a node that is spawned."""
    parent = NodeAddress.of(node.config.tags["parent"])
    await node.local.comm.send([], Remote(node=parent, service="parent", method="note"))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["in_process", "forkserver", "subprocess"])
async def test_what_a_spawned_node_calls_while_it_boots_is_as_deep_as_its_spawners_calls(launcher: str) -> None:
    depths: list[int] = []
    async with open_web("link", 2, 1) as (a, b):
        config = NodeConfig(
            launcher=launcher,
            tags={"parent": str(a.node.address)},
            on_start="tests.test_nested_calls:call_the_parent",
        )
        await a.node.local.routes.put({"note": lambda: depths.append(current_depth())}, "parent")
        await b.node.local.comm.send([config], Remote(node=a.node.address, service="status", method="spawn"))
        await a.node.local.status.spawn(config)
    assert depths == [2, 1]
