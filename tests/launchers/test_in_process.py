from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.samples import Counter
from tests.waiting import DEADLINE_S, is_listening
from trionet import ChildEnded, Node, NodeAddress, NodeConfig, Remote, SpawnError, open_node
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.launchers.families import Family

HERE = NodeConfig(launcher="in_process")


def port_of(address: NodeAddress) -> Remote:
    return Remote(node=address, service="status", method="get")


async def test_it_is_the_way_of_nodes_on_a_memory_fabric(autojump_clock: MockClock) -> None:
    async with open_node(fabric=MemoryFabric()) as node:
        addresses = [await node.local.status.spawn(NodeConfig()) for _ in range(100)]
        await node.local.groups.put("children", addresses)
        ports = await node.group("children").comm.send(["port"], Remote(service="status", method="get"))
        assert sorted(ports.values.values()) == sorted(address.port for address in addresses)


async def test_on_loopback_it_starts_no_process(family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            address = await node.local.status.spawn(HERE)
            assert await node.local.comm.send(["port"], port_of(address)) == address.port
            assert not family.pids()
        assert not await is_listening(address.port)


async def test_a_node_lives_in_its_spawners_nursery_and_its_own_nodes_in_its(
    autojump_clock: MockClock,
) -> None:
    running: list[Node] = []

    def note(node: Node) -> None:
        running.append(node)

    fabric = MemoryFabric()
    async with open_node(fabric=fabric) as node:
        child = await node.local.status.spawn(NodeConfig(on_start=note))
        await running[0].local.status.spawn(NodeConfig(on_start=note))
        assert next(each.address for each in running) == child
    async with open_node(fabric=fabric) as node:
        for each in running:
            with pytest.raises(Exception, match=str(each.address)):
                await node.local.comm.send(["port"], port_of(each.address))


async def test_on_start_may_be_any_callable() -> None:
    counters = [Counter(), Counter()]
    async with open_node(fabric=MemoryFabric()) as node:
        for counter in counters:
            config = NodeConfig(on_start=lambda child, mine=counter: child.local.routes.put(mine, "counter"))
            address = await node.local.status.spawn(config)
            await node.local.comm.send([3], Remote(node=address, service="counter", method="add"))
    assert [counter.total for counter in counters] == [3, 3]


def fail(node: Node) -> None:
    raise LookupError("no plan")


async def test_a_node_that_does_not_boot_gives_its_reason() -> None:
    async with open_node() as node:
        with pytest.raises(SpawnError, match=r"^the node did not boot: LookupError: no plan$") as caught:
            await node.local.status.spawn(NodeConfig(launcher="in_process", on_start=fail))
        assert isinstance(caught.value.__cause__, LookupError)
        with pytest.raises(SpawnError, match=rf"^the node did not boot: {node.address} is already in use$"):
            await node.local.status.spawn(NodeConfig(launcher="in_process", port=node.address.port))
        assert await node.local.status.get("port") == node.address.port


async def test_a_node_that_is_stopped_is_reported(autojump_clock: MockClock) -> None:
    async with open_node(fabric=MemoryFabric()) as node:
        events = node.events()
        address = await node.local.status.spawn(NodeConfig())
        await node.local.comm.send([], Remote(node=address, service="status", method="stop"))
        assert await anext(events) == ChildEnded(node=address, status=0)


async def test_a_restart_policy_holds_here_too(autojump_clock: MockClock) -> None:
    async with open_node(fabric=MemoryFabric()) as node:
        events = node.events()
        address = await node.local.status.spawn(NodeConfig(restart="always"))
        await node.local.comm.send([], Remote(node=address, service="status", method="stop"))
        await anext(events)
        await anext(events)
        assert await node.local.comm.send(["port"], port_of(address)) == address.port
