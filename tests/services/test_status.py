from collections.abc import Awaitable, Callable

import pytest

from trionet import Node, NodeConfig, Remote, TemporarilyUnavailable, UnknownKey

StartNode = Callable[..., Awaitable[Node]]


async def test_a_node_says_who_and_where_it_is(start_node: StartNode) -> None:
    node = await start_node()
    assert await node.local.status.get("nid") == node.nid == node.address.nid
    assert await node.local.status.get("sid") == node.sid == node.nid[:10]
    assert await node.local.status.get("ip") == node.address.ip == "127.0.0.1"
    assert await node.local.status.get("port") == node.address.port > 0


async def test_the_heap_figures_are_bytes_in_use_within_bytes_held(start_node: StartNode) -> None:
    node = await start_node()
    used, total = await node.local.status.get("heap_used"), await node.local.status.get("heap_total")
    assert type(used) is type(total) is int
    assert 0 < used <= total


async def test_counts_is_how_many_calls_the_node_has_served(start_node: StartNode) -> None:
    node, other = await start_node(), await start_node()
    assert await node.local.status.get("counts") == 0
    remote = Remote(node=node.address, service="status", method="get")
    for count in (1, 2, 3):
        assert await other.local.comm.send(["counts"], remote) == count
    assert await node.local.status.get("counts") == 3
    assert await other.local.status.get("counts") == 0


@pytest.mark.parametrize("key", ["", "NID", "heap", "nid "])
async def test_an_unknown_key_is_an_error_that_names_those_there_are(start_node: StartNode, key: str) -> None:
    node = await start_node()
    with pytest.raises(UnknownKey, match=r"nid, sid, ip, port, counts, heap_total, heap_used$"):
        await node.local.status.get(key)


async def test_stop_returns_the_address_and_a_second_stop_is_harmless(start_node: StartNode) -> None:
    node = await start_node()
    assert await node.local.status.stop() == node.address
    assert await node.local.status.stop() == node.address


async def test_a_node_that_stops_spawns_no_other(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.status.stop()
    with pytest.raises(TemporarilyUnavailable, match="stopping"):
        await node.local.status.spawn(NodeConfig())
