"""`assert_no_orphans` holds where each call has ended with its caller's interest, and else names those that haven't."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.testing.stubborn import CONFIG, give_up_on, work_on
from tests.waiting import DEADLINE_S, wait_until
from trionet import Remote
from trionet.simulation import Crash, Partition
from trionet.testing import assert_no_orphans

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trionet.testing import ClusterFactory, NodeFactory


async def test_a_cluster_whose_calls_are_answered_has_no_orphans(trionet_cluster: ClusterFactory) -> None:
    sim = await trionet_cluster(config=CONFIG)
    await work_on(sim.nodes[1], sim.nodes[0], 0.2)
    assert_no_orphans(sim)
    assert_no_orphans(sim.nodes)
    assert_no_orphans(sim.nodes[0])


@pytest.mark.parametrize("is_traced", [True, False])
async def test_an_orphan_in_a_simulation_is_named(trionet_cluster: ClusterFactory, is_traced: bool) -> None:
    sim = await trionet_cluster(config=CONFIG, is_traced=is_traced)
    n0, n2 = ("n0", "n2") if is_traced else (str(sim.address(0)), str(sim.address(2)))
    await give_up_on(sim.nodes[2], sim.nodes[0], 60)
    with pytest.raises(AssertionError) as caught:
        assert_no_orphans(sim)
    assert str(caught.value).splitlines() == [
        "calls have outlived their callers:",
        f"  local/stubborn/work on {n2}: {n0} has cancelled it without a confirmation",
        f"  local/stubborn/work on {n2}: it runs, called by {n0}",
    ]


async def test_an_orphan_counts_also_when_it_has_ended(trionet_cluster: ClusterFactory) -> None:
    sim = await trionet_cluster(config=CONFIG)
    await give_up_on(sim.nodes[1], sim.nodes[0], 30)
    await trio.sleep(60)
    assert [node.statistics().calls_running for node in sim.nodes] == [0, 0, 0]
    with pytest.raises(AssertionError, match="local/stubborn/work on n1: n0 has cancelled it without"):
        assert_no_orphans(sim)
    with pytest.raises(AssertionError, match=f"work on {sim.address(1)}: {sim.address(0)} has cancelled it without"):
        assert_no_orphans(sim.nodes[0])
    assert_no_orphans(sim.nodes[1:])


async def test_an_orphan_of_a_restarted_node_counts(trionet_cluster: ClusterFactory) -> None:
    sim = await trionet_cluster(config=CONFIG, faults=[Crash(at_s=20, duration_s=5, node=0)])
    await give_up_on(sim.nodes[1], sim.nodes[0], 3)
    await trio.sleep(60)
    assert_no_orphans(sim.nodes)
    with pytest.raises(AssertionError, match="n0 has cancelled it"):
        assert_no_orphans(sim)


async def test_lost_packets_of_the_protocols_do_not_count(trionet_cluster: ClusterFactory) -> None:
    sim = await trionet_cluster(4, faults=[Partition(at_s=0, duration_s=60, sides=[[0, 1], [2, 3]])])
    await trio.sleep(90)
    assert sim.trace is not None
    assert any("membership/packet" in event.what for event in sim.trace.select("cancel"))
    assert sum(node.statistics().calls_orphaned for node in sim.nodes) == 0
    assert_no_orphans(sim)
    assert_no_orphans(sim.nodes)


async def test_a_handler_that_runs_in_a_simulation_is_named(
    trionet_cluster: ClusterFactory, nursery: trio.Nursery
) -> None:
    sim = await trionet_cluster(config=CONFIG)
    nursery.start_soon(work_on, sim.nodes[1], sim.nodes[2], 5)
    await trio.sleep(1)
    with pytest.raises(AssertionError, match="local/stubborn/work on n1: it runs, called by n2"):
        assert_no_orphans(sim)
    await trio.sleep(5)
    assert_no_orphans(sim)


@pytest.mark.slow
async def test_orphans_of_real_nodes_are_named(trionet_nodes: NodeFactory) -> None:
    caller, callee = await trionet_nodes(2, config=CONFIG)
    assert_no_orphans([caller, callee])
    with trio.fail_after(DEADLINE_S):
        await give_up_on(callee, caller, 2)
    with pytest.raises(AssertionError) as caught:
        assert_no_orphans([caller, callee])
    assert str(caught.value).splitlines() == [
        "calls have outlived their callers:",
        f"  local/stubborn/work on {callee.address}: {caller.address} has cancelled it without a confirmation",
        f"  local/stubborn/work on {callee.address}: it runs, called by {caller.address}",
    ]
    await wait_until(lambda: not callee.running_calls())
    assert_no_orphans(callee)


async def test_a_stream_that_is_open_runs_until_it_is_closed(trionet_nodes: NodeFactory) -> None:
    async def count() -> AsyncIterator[int]:
        for number in range(1000):
            yield number

    caller, callee = await trionet_nodes(2)
    await callee.local.routes.put({"count": count}, "numbers")
    with trio.fail_after(DEADLINE_S):
        remote = Remote(node=callee.address, service="numbers", method="count")
        async with caller.local.comm.stream([], remote) as numbers:
            assert await anext(numbers) == 0
            with pytest.raises(AssertionError, match="local/numbers/count on"):
                assert_no_orphans(callee)
    assert_no_orphans([caller, callee])
