"""What a group keeps reaches the nodes that come late, and outlasts churn: services, settings and groups by rule."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.samples import Counter
from trionet import KeyDoesNotExist, MemberJoined, Node, NodeConfig, Remote, ServiceNotFound, TrionetError
from trionet.simulation import SCENARIOS, Partition, Simulation, open_cluster, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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


async def _change(node: Node, random: Random) -> None:
    """Change what the cluster keeps, with any call of a group-wide service; give up after a while."""
    name, role = random.choice("ab"), random.choice(("worker", "web"))
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: node.all.routes.put(COUNTER, name, keep=True),
        lambda: node.all.routes.rem(name),
        lambda: node.all.groups.put(f"group-{name}", where={"role": role}),
        lambda: node.all.groups.del_(f"group-{name}"),
        lambda: node.set_tags({"role": role}),
    ]
    with suppress(TrionetError), trio.move_on_after(random.uniform(0.0, 5.0)):
        await random.choice(changes)()


async def _kept(node: Node) -> dict[str, Any]:
    """Return what the cluster keeps, as far as this node knows, and what this node has of it."""
    entries = node.local.replicated.items("all", "")
    found: dict[str, Any] = dict.fromkeys(entries, "is kept")
    for name in "ab":
        with suppress(ServiceNotFound):
            found[f"serves {name}"] = type(await node.local.routes.get(name))
    gids = [gid for gid in node.local.groups.gids() if gid.startswith("group-")]
    return found | {f"has {gid}": sorted(node.group(gid).members()) for gid in gids}


async def _is_agreed(sim: Simulation) -> bool:
    found = [await _kept(node) for node in sim.up if not node.is_stopping and node.local.membership.is_active]
    has = {key.removeprefix("serves ").removeprefix("has ") for key in found[0] if " " in key} if found else set()
    kept = {key.removeprefix("route/").removeprefix("group/") for key in found[0] if " " not in key} if found else set()
    return len(found) == len(sim.nodes) and all(one == found[0] for one in found) and has == kept


async def _change_apart(seed: int) -> None:
    """Change what a cluster keeps from all its nodes, on both sides of a partition, and with crashes."""
    random = Random(f"{seed} program")
    async with open_cluster(4, seed=seed, network=NETWORKS[seed % 3], config=_config, is_traced=False) as sim:
        order, cut = random.sample(range(4), 4), random.randint(1, 3)
        sim.play([Partition(at_s=5.0, duration_s=8.0, sides=[order[:cut], order[cut:]])])
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                await trio.sleep(random.uniform(0.0, 1.0))
                running = [index for index in range(4) if sim.is_up(index) and not sim.nodes[index].is_stopping]
                if random.random() < 0.05 and len(running) > 2:
                    sim.crash(running[0])
                    sim.restart_soon(running[0])
                nursery.start_soon(_change, sim.nodes[random.choice(running[1:])], random)
        with trio.fail_after(2 * AGREED_S):
            while not await _is_agreed(sim):  # noqa: ASYNC110  there is no event for it
                await trio.sleep(0.1)


@pytest.mark.parametrize("seed", range(2))
def test_nodes_that_change_apart_what_they_keep_agree_and_have_what_is_kept(seed: int) -> None:
    run(_change_apart, seed, seed=seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_nodes_that_change_apart_what_they_keep_agree_with_a_hundred_seeds(first: int) -> None:
    for seed in range(first, first + 100):
        run(_change_apart, seed, seed=seed)


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
def test_after_churn_all_nodes_have_all_that_the_cluster_keeps_within_ten_seconds() -> None:
    run(_churn, 0, 10, 60.0, seed=0)


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
