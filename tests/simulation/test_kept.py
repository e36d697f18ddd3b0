"""What a group keeps reaches the nodes that come late, and outlasts churn: services, settings and groups by rule."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.samples import Counter
from trionet import KeyDoesNotExist, MemberJoined, Node, NodeConfig, Remote, ServiceNotFound
from trionet.simulation import SCENARIOS, Simulation, open_cluster, run

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTER = "tests.samples:Counter"
LATE_S = 2.0
AGREED_S = 10.0
NETWORKS = ("lan", "perfect", "bad")


def _config(place: int) -> NodeConfig:
    return NodeConfig(tags={"role": "worker" if place % 2 else "web"})


async def _service(node: Node) -> Any:
    with suppress(ServiceNotFound):
        return await node.local.routes.get("tally")
    return None


async def _setting(node: Node) -> Any:
    with suppress(KeyDoesNotExist):
        return await node.all.settings.get("limit")
    return None


def _workers(node: Node) -> set[str] | None:
    """Return the SIDs of its group by rule; None without one."""
    gids = node.local.groups.gids()
    return set(node.group("workers").members()) if "workers" in gids else None


async def _has_all(node: Node) -> bool:
    rule = {member.sid for member in node.members() if member.tags["role"] == "worker"}
    serves = type(await _service(node)) is (Counter if node.sid in rule else type(None))
    return _workers(node) == rule and serves and await _setting(node) == 5


async def _begin(sim: Simulation) -> None:
    """Have the whole cluster keep a group by rule, this group a service, and the cluster a setting."""
    first = sim.nodes[0]
    assert (await first.all.groups.put("workers", where={"role": "worker"})).errors == {}
    await first.group("workers").routes.put(COUNTER, "tally", keep=True)
    await first.all.settings.put("limit", 5)


async def _wait_all(nodes: Callable[[], list[Node]], within_s: float) -> None:
    with trio.fail_after(within_s):
        while not all([await _has_all(node) for node in nodes()]):  # noqa: ASYNC110  there is no event for it
            await trio.sleep(0.1)


async def _join_late(seed: int) -> None:
    async with open_cluster(
        5, seed=seed, network=NETWORKS[seed % len(NETWORKS)], config=_config, is_traced=False
    ) as sim:
        await _begin(sim)
        for index in (1, 2):
            sim.crash(index)
            late = await sim.start()
            again = await sim.restart(index)
            assert late.config.tags["role"] == again.config.tags["role"]
            within_s = LATE_S if sim.seed % len(NETWORKS) < 2 else AGREED_S
            await _wait_all([late, again].copy, within_s)


async def _churn(seed: int, nodes: int, duration_s: float) -> None:
    async with open_cluster(nodes, seed=seed, config=_config, is_traced=False) as sim:
        await _begin(sim)
        sim.play(SCENARIOS["churn"](nodes, duration_s, Random(seed)))
        await trio.sleep(duration_s)
        await sim.wait_converged()
        await _wait_all(lambda: sim.up, AGREED_S)


@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_joins_or_restarts_has_all_that_the_cluster_keeps_within_two_seconds(seed: int) -> None:
    run(_join_late, seed, seed=seed)


def _distant(_: int) -> NodeConfig:
    return NodeConfig(tags={"role": "worker"}, profile="wan")


async def _gossip_to_late(seed: int) -> None:
    async with (
        open_cluster(5, seed=seed, network="bad", config=_distant, is_traced=False) as sim,
        trio.open_nursery() as n,
    ):
        first = sim.nodes[0]
        await first.all.groups.put("workers", where={"role": "worker"})
        await trio.sleep(30.0)
        n.start_soon(sim.start)
        async for event in first.events():
            if isinstance(event, MemberJoined):
                break
        receipt = await first.group("workers").gossip.send(["nid"], Remote(service="status", method="get"))
        assert (await receipt.wait_spread()).known == 6


@pytest.mark.parametrize("seed", [1, 17])
def test_a_member_by_rule_that_has_just_joined_and_lacks_the_group_so_far_is_waited_for(seed: int) -> None:
    run(_gossip_to_late, seed, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_after_churn_all_nodes_have_all_that_the_cluster_keeps_within_ten_seconds(seed: int) -> None:
    run(_churn, seed, 10, 60.0, seed=seed)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_late_nodes_have_all_with_a_hundred_seeds(first: int) -> None:
    for seed in range(first, first + 100):
        run(_join_late, seed, seed=seed)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("first", range(0, 100, 10))
def test_after_ten_minutes_of_churn_of_thirty_nodes_all_have_all_with_ten_seeds(first: int) -> None:
    for seed in range(first, first + 10):
        run(_churn, seed, 30, 600.0, seed=seed)
