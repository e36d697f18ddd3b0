"""The tree of running calls of many processes: complete, with the right deadlines, drawn in time; and its commands."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.commands import run
from tests.crowd import Member, open_crowd
from tests.waiting import DEADLINE_S, wait_until
from trionet import CallTree, IndefiniteError, Node, NodeAddress, NodeConfig, Remote, RunningCall, open_node, rpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

FIRST_S = 200.0
STEP_S = 10.0
OWN_S = 100.0
SLACK_S = 5.0
"""How much longer than meant a call may take to arrive on a busy machine."""


class Branch:
    """Grows a tree of calls."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @rpc
    async def grow(self, nodes: list[Any], widths: list[int], own_s: float | None = None) -> None:
        """Make as many calls as the first of `widths`, to these nodes in turn, that do the same with the rest.

        Every other one of them has a deadline of its own.
        """
        if not widths:
            await trio.sleep_forever()
        turn = widths[0] % len(nodes)
        others = nodes[turn:] + nodes[:turn]  # the next ones make the next calls
        async with trio.open_nursery() as nursery:
            for number in range(widths[0]):
                node = nodes[number % len(nodes)]
                nursery.start_soon(self._grow_at, node, others, widths[1:], own_s if number % 2 else None)

    async def _grow_at(self, node: Any, nodes: list[Any], widths: list[int], own_s: float | None) -> None:
        remote = Remote(node=NodeAddress.of(node), service="branch", method="grow")
        with trio.move_on_after(own_s or float("inf")):
            await self._node.local.comm.send([nodes, widths], remote)


async def expose(node: Node) -> None:
    """An `on_start`: offer the service ``branch``."""
    await node.local.routes.put(Branch(node), "branch")


@asynccontextmanager
async def growing(count: int, roots: int, widths: list[int]) -> AsyncGenerator[tuple[Node, list[Member]]]:
    """Run processes of one cluster, in which a tree grows; yield this node of it, the others, and the begin."""
    async with open_node(NodeConfig(join=[])) as entry:
        config = NodeConfig(
            join=[str(entry.address)],
            on_start="tests.test_running_calls_processes:expose",
        )
        opened = open_crowd(count, config)
        members = await trio.to_thread.run_sync(opened.__enter__)
        try:
            await wait_until(lambda: len(entry.members()) == count + 1)
            nodes = [str(member.address) for member in members]
            async with trio.open_nursery() as nursery:
                for number in range(roots):
                    nursery.start_soon(_start, entry, nodes, number, widths)
                yield entry, members
                nursery.cancel_scope.cancel()
        finally:
            await trio.to_thread.run_sync(partial(opened.__exit__, None, None, None))


async def _start(entry: Node, nodes: list[str], number: int, widths: list[int]) -> None:
    remote = Remote(node=NodeAddress.of(nodes[number % len(nodes)]), service="branch", method="grow")
    with suppress(IndefiniteError), trio.move_on_after(FIRST_S + number * STEP_S):  # a part of it is cancelled
        await entry.local.comm.send([nodes[number:] + nodes[:number], widths, OWN_S], remote)


async def complete_tree(entry: Node, count: int) -> CallTree:
    with trio.fail_after(2 * DEADLINE_S):
        while True:
            tree = await entry.calls.tree(within_s=DEADLINE_S)
            if len(tree.calls) >= count and not tree.errors:
                return tree
            await trio.sleep(0.1)


def is_right(call: RunningCall, given_s: float) -> bool:
    """Whether a call has had that much time from its begin to its deadline."""
    return call.left_s is not None and abs(call.age_s + call.left_s - given_s) < SLACK_S


def check(tree: CallTree, nodes: list[NodeAddress], roots: int, widths: list[int]) -> None:
    """Check that a tree is complete, and each deadline right."""
    assert [call.level for call in tree.calls].count(0) == roots
    expected = roots
    for level, width in enumerate(widths, 1):
        expected *= width
        assert [call.level for call in tree.calls].count(level) == expected
    assert len({(call.node, call.id) for call in tree.calls}) == len(tree.calls)
    assert {call.node for call in tree.calls} == set(nodes)
    by_deadline = sorted((call for call in tree.calls if call.level == 0), key=lambda call: call.left_s or 0)
    for number, root in enumerate(by_deadline):
        assert is_right(root, FIRST_S + number * STEP_S)
        below = tree.below(root)
        children = [call for call in below if call.level == 1]
        own = [call for call in children if call.deadline_of == call.id]
        assert len(own) == len(children) // 2
        assert all(is_right(call, OWN_S) for call in own)
        for child in children:
            whose = child.id if child in own else root.id
            assert {call.deadline_of for call in tree.below(child)} == {whose}
            assert all(abs((call.left_s or 0) - (child.left_s or 0)) < SLACK_S for call in tree.below(child))
        assert all(call.waits_for for call in below)


@pytest.mark.slow
async def test_the_tree_of_processes_is_complete_from_each_and_its_deadlines_are_right() -> None:
    roots, widths = 2, [2, 2]
    async with growing(3, roots, widths) as (entry, members):
        tree = await complete_tree(entry, 14)
        check(tree, [member.address for member in members], roots, widths)
        shapes = [[(call.level, str(call.node), call.id) for call in tree.calls]]
        for member in members:
            done = await trio.to_thread.run_sync(run, "calls", str(member.address), "--within", "60", "--json")
            assert (done.status, done.err) == (0, "")
            shapes.append([(call["level"], call["node"], call["id"]) for call in done.document["calls"]])
            assert done.document["nodes"] == 4
        assert shapes == [shapes[0]] * 4


@pytest.mark.slow
async def test_the_commands_draw_the_tree_and_cancel_a_part_of_it() -> None:
    async with growing(3, 1, [2, 2]) as (entry, members):
        tree = await complete_tree(entry, 7)
        address = str(members[0].address)
        drawn = await trio.to_thread.run_sync(run, "calls", address, "--within", "60")
        assert (drawn.status, drawn.err) == (0, "")
        lines = drawn.out.splitlines()
        assert [line.split()[-9:] for line in lines[-1:]] == [["7", "running", "calls", "on", "4", "nodes"]]
        assert [line[:2] for line in lines[1:7]] == ["├─", "│ ", "│ ", "└─", "  ", "  "]
        narrow = await trio.to_thread.run_sync(lambda: run("calls", address, "--within", "60", width=60))
        assert narrow.status == 0
        assert max(map(len, narrow.out.splitlines())) <= 60
        child = next(call for call in tree.calls if call.level == 1)
        cancel = partial(run, "cancel", str(members[1].address), child.id, "--within", "60")
        done = await trio.to_thread.run_sync(cancel)
        assert (done.status, done.err) == (0, "")
        assert [line.split(":")[0] for line in done.out.splitlines()] == ["ended"] * 3
        again = await trio.to_thread.run_sync(cancel)
        assert (again.status, again.out, again.err) == (1, f"no running call has the id {child.id}\n", "")


@pytest.mark.soak
async def test_a_thousand_calls_on_twenty_processes_are_all_in_the_tree() -> None:
    roots, widths = 10, [9, 10]
    count = roots + roots * 9 + roots * 90
    async with growing(20, roots, widths) as (entry, members):
        await complete_tree(entry, count)
        took_s, commands_s, used_s = [], [], []
        for _ in range(5):
            at, used = time.perf_counter(), time.process_time()
            tree = await complete_tree(entry, count)
            str(tree)
            took_s.append(time.perf_counter() - at)
            used_s.append(time.process_time() - used)
            check(tree, [member.address for member in members], roots, widths)
            at = time.perf_counter()
            done = await trio.to_thread.run_sync(run, "calls", str(members[7].address), "--within", "60")
            commands_s.append(time.perf_counter() - at)
            assert (done.status, len(done.out.splitlines())) == (0, count + 1)
        for what, seconds in (("tree", took_s), ("its CPU time here", used_s), ("command", commands_s)):
            low, *_, high = sorted(seconds)
            print(f"{count:,} calls on 20 processes, {what}: {low:.3f} s to {high:.3f} s")  # noqa: T201  the figures of the measurement
        (first, *_) = (call for call in tree.calls if call.level == 0)
        found = await entry.calls.cancel(first.id, within_s=DEADLINE_S)
        assert (len(found.ended), found.running, found.errors) == (100, (), {})
        await wait_until(lambda: not entry.dump().calls)
