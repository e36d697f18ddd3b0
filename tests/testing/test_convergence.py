"""`wait_converged` ends when each node that runs sees exactly those that run, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.waiting import DEADLINE_S
from trionet.simulation import Crash, Partition
from trionet.testing import wait_converged

if TYPE_CHECKING:
    from trionet.testing import ClusterFactory, NodeFactory


async def test_convergence_waits_until_a_crashed_node_has_failed(trionet_cluster: ClusterFactory) -> None:
    sim = await trionet_cluster(4)
    sim.crash(3)
    assert not sim.is_converged()
    await wait_converged(sim)
    assert [len(node.members()) for node in sim.up] == [3, 3, 3]


async def test_convergence_of_simulated_nodes_can_be_awaited_as_nodes(trionet_cluster: ClusterFactory) -> None:
    sim = await trionet_cluster(4, faults=[Crash(at_s=0, node=1)])
    await trio.sleep(0.1)
    assert sim.nodes[1].is_stopping
    assert len(sim.nodes[0].members()) == 4
    await wait_converged(sim.nodes)
    assert [len(node.members()) for node in sim.up] == [3, 3, 3]


async def test_sides_of_a_partition_do_not_converge_before_it_is_over(trionet_cluster: ClusterFactory) -> None:
    sim = await trionet_cluster(4, faults=[Partition(at_s=0, duration_s=120, sides=[[0, 1], [2, 3]])])
    await trio.sleep(30)
    begun = sim.now
    await wait_converged(sim)
    assert sim.now - begun > 89


@pytest.mark.slow
async def test_convergence_ignores_a_stopped_real_node(trionet_nodes: NodeFactory) -> None:
    nodes = await trionet_nodes(3)
    nodes[1].stop()
    assert nodes[1].is_stopping
    with trio.fail_after(DEADLINE_S):
        await wait_converged(nodes)
    assert [len(node.members()) for node in (nodes[0], nodes[2])] == [2, 2]


async def test_nodes_of_two_clusters_never_converge(trionet_nodes: NodeFactory) -> None:
    one, other = await trionet_nodes(1), await trionet_nodes(1)
    with trio.move_on_after(0.1) as scope:
        await wait_converged([*one, *other])
    assert scope.cancelled_caught


async def test_no_nodes_are_converged() -> None:
    await wait_converged([])
