"""Periodic tasks through the group-wide service: started on one member, listed and ended from any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.clusters import COUNT, Cluster, Counter, open_cluster, take
from tests.waiting import wait_until
from trionet import (
    ConnectionLost,
    GroupNotFound,
    MalformedRequest,
    Node,
    NodeAddress,
    NodeConfig,
    NodeUnreachable,
    PeriodicTask,
    Receipt,
    Remote,
    TaskFailed,
    open_node,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio.testing import MockClock


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


async def test_a_function_is_run_on_the_node_that_was_told_to(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    runs: list[float] = []
    begun = trio.current_time()
    task = await nodes[0].all.gossip.at(5.0, lambda: runs.append(round(trio.current_time() - begun, 6)))
    assert task.endswith(f"@{nodes[0].address}")
    await trio.sleep(16)
    assert runs == [5.0, 10.0, 15.0]


async def test_arguments_and_a_remote_are_gossiped_each_time(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    task = await nodes[0].all.gossip.at(5.0, (["tick"], COUNT))
    await trio.sleep(4.9)
    assert cluster.totals(nodes) == [0] * 4
    await trio.sleep(11)
    assert cluster.totals(nodes) == [3] * 4
    assert await nodes[0].all.gossip.del_(task) is True
    await trio.sleep(20)
    assert cluster.totals(nodes) == [3] * 4
    assert all(cluster.counter(node).notes == ["tick"] * 3 for node in nodes)


async def test_a_group_that_is_empty_for_a_while_fails_a_run_and_the_task_goes_on(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    node = await cluster.start()
    await node.local.groups.put("workers", [])
    events = node.events()
    task = await node.group("workers").gossip.at(1.0, ([], COUNT))
    *_, event = await take(events, lambda event: isinstance(event, TaskFailed))
    assert event == TaskFailed(node=node.address, id=task, gid="workers", error="the group 'workers' has no members")
    await node.local.groups.add("workers", node.address)
    await cluster.wait_totals([node], 2)


async def test_any_member_ends_a_task_and_waits_until_the_run_in_progress_has_ended(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    seen: list[str] = []

    async def stay() -> None:
        seen.append("begun")
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            seen.append("ended")

    task = await nodes[0].all.gossip.at(1.0, stay)
    await wait_until(lambda: seen == ["begun"])
    assert await nodes[2].all.gossip.del_(task) is True
    assert seen == ["begun", "ended"]
    assert await nodes[1].all.gossip.del_(task) is False
    assert (await nodes[1].all.gossip.tasks()).values == {node.sid: [] for node in nodes}


async def test_an_unknown_id_is_no_error_and_an_owner_that_cannot_be_reached_is_one(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.start_many(2)
    task = await b.all.gossip.at(1.0, ([], COUNT))
    for unknown in (f"0@{b.address}", f"0@{a.address}", "0@127.0.0.1:9999", "nonsense", ""):
        assert await a.all.gossip.del_(unknown) is False
    cluster.network.down.add(b.address)
    with pytest.raises((NodeUnreachable, ConnectionLost)):
        await a.all.gossip.del_(task)
    await cluster.wait_members([a])
    assert await a.all.gossip.del_(task) is False  # with its owner, it is gone


async def test_tasks_lists_those_of_the_group_on_each_member(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.groups.put("workers", nodes)
    first = await nodes[0].group("workers").gossip.at(60.0, ([], COUNT), jitter_s=2.0)
    second = await nodes[1].group("workers").gossip.at(60.0, Counter().total)
    await nodes[1].all.gossip.at(60.0, ([], COUNT))
    replies = await nodes[2].group("workers").gossip.tasks()
    assert replies.errors == {}
    assert replies.values[nodes[0].sid] == [
        PeriodicTask(
            id=first,
            gid="workers",
            interval_s=60.0,
            jitter_s=2.0,
            what="gossip counter/count",
            runs=0,
            failures=0,
            is_running=False,
        )
    ]
    assert [(task.id, task.what) for task in replies.values[nodes[1].sid]] == [(second, "Counter.total")]
    assert replies.values[nodes[2].sid] == []


async def test_a_deleted_group_ends_its_tasks_on_each_member(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(2)
    await nodes[0].all.groups.put("workers", nodes)
    for node in nodes:
        await node.group("workers").gossip.at(1.0, ([], COUNT))
    kept = nodes[0].group("workers")
    await nodes[0].all.groups.del_("workers")
    await trio.sleep(5)
    assert cluster.totals(nodes) == [0, 0]
    assert [node.local.gossip.tasks_of_node.list() for node in nodes] == [[], []]
    with pytest.raises(GroupNotFound):
        await kept.gossip.at(1.0, ([], COUNT))


async def test_a_node_that_stops_ends_its_tasks(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.gossip.at(1.0, ([], COUNT))
    await cluster.wait_totals(nodes, 2)
    nodes[0].stop()
    await cluster.wait_members(nodes[1:])
    before = cluster.totals(nodes[1:])
    await trio.sleep(10)
    assert cluster.totals(nodes[1:]) == before


@pytest.mark.parametrize(
    "method",
    [
        None,
        5,
        "counter",
        [],
        ([],),
        ([], COUNT, 5),
        ([], "counter"),
        ("text", COUNT),
        ([], Remote(service="", method="m")),
    ],
    ids=repr,
)
async def test_what_is_neither_function_nor_arguments_and_remote_is_refused(
    autojump_clock: MockClock, cluster: Cluster, method: Any
) -> None:
    node = await cluster.start()
    with pytest.raises(MalformedRequest):
        await node.all.gossip.at(1.0, method)
    with pytest.raises(MalformedRequest):
        await node.all.gossip.at(1.0, ([], Remote(service="counter", method="count", node=NodeAddress("127.0.0.1", 1))))


async def test_another_node_may_start_a_task_that_gossips(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.start_many(2)
    at = Remote(node=b.address, gid="all", service="gossip", method="at")
    task = await a.local.comm.send([1.0, ([], COUNT)], at)
    assert task.endswith(f"@{b.address}")
    await cluster.wait_totals([a, b], 2)
    with pytest.raises(MalformedRequest):
        await a.local.comm.send([1.0, "counter"], at)


@pytest.mark.slow
async def test_all_of_it_over_http(start_node: Callable[..., Awaitable[Node]]) -> None:
    node = await start_node()
    counter = Counter()
    await node.local.routes.put(counter, "counter")
    base = f"http://{node.address}/all/gossip"
    remote = {"service": "counter", "method": "count"}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:

        async def put(method: str, *args: Any) -> Any:
            response = await client.put(f"{base}/{method}", json=list(args))
            assert response.status_code == 200, response.text
            return response.json()

        receipt = await put("send", [], remote)
        assert set(receipt) == {"id", "values", "errors"}
        await wait_until(lambda: counter.ids == [receipt["id"]])
        task = (await put("at", 0.01, [["tick"], remote]))["value"]
        await wait_until(lambda: len(counter.ids) >= 4)
        listed = (await put("tasks"))["values"][node.sid]
        assert task in str(listed)
        assert await put("del", task) == {"value": True}
        assert await put("del", task) == {"value": False}
        assert (await client.put(f"{base}/at", json=[1.0, "counter"])).status_code == 400
    assert counter.notes[1] == "tick"


@pytest.mark.slow
async def test_a_receipt_comes_back_over_the_http_transport(start_node: Callable[..., Awaitable[Node]]) -> None:
    here, there = await start_node(NodeConfig(transport="http", datagrams=False)), await start_node()
    await there.local.routes.put(Counter(), "counter")
    send = Remote(node=there.address, gid="all", service="gossip", method="send")
    receipt = await here.local.comm.send([[], COUNT], send)
    assert isinstance(receipt, Receipt)
    assert receipt.id


async def test_the_node_of_a_program_may_gossip_with_itself_alone() -> None:
    async with open_node() as node:
        counter = Counter()
        await node.local.routes.put(counter, "counter")
        receipt = await node.all.gossip.send([], COUNT)
        assert (await receipt.wait_spread()).estimate == 1.0
        await wait_until(lambda: counter.ids == [receipt.id])
