"""Handlers that make calls: whatever waits for whatever, and however small the limits are, all calls end."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.waiting import DEADLINE_S
from trionet import Node, NodeConfig, Remote, RemoteError, TemporarilyUnavailable, TrionetError, open_node
from trionet.nesting import DEEPEST
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

KINDS = ["link", "memory", "http", "link and http"]
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

    async def spread(self, tree: list[Any]) -> int:
        """Do a tree's branches at once or one after the other; return how many calls that were."""
        is_at_once, branches = tree
        counts: list[int] = []

        async def do(to: int, how: str, below: list[Any]) -> None:
            if how == "stream":
                async with self.node.local.comm.stream([below], self.remote(to, "trickle")) as items:
                    counts.append(sum([item async for item in items]))
            elif how == "held":
                async with self.node.local.comm.stream([[False, []]], self.remote(to, "trickle")) as items:
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
    fabric = MemoryFabric() if kind == "memory" else None
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for index in range(count):
            transports = ["link"] if kind == "memory" else kind.split(" and ")
            config = NodeConfig(max_calls_per_peer=limit, transport=transports[index % len(transports)], **settings)
            nodes.append(await stack.enter_async_context(open_node(config, fabric=fabric)))
        background = await stack.enter_async_context(trio.open_nursery())
        webs = [Web(node, nodes, background) for node in nodes]
        for web in webs:
            await web.node.local.groups.put("webs", [node.address for node in nodes])
            methods = ("follow", "spread", "trickle", "start")
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
@pytest.mark.parametrize("seed", range(6))
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
