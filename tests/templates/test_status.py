from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from tests.samples import note_node, started, subset_of_one
from trionet import (
    EmptyGroup,
    GroupNotFound,
    Node,
    NodeAddress,
    NodeConfig,
    NodeUnreachable,
    Remote,
    SpawnError,
    UnknownKey,
    open_node,
)

StartNode = Callable[..., Awaitable[Node]]

IN_PROCESS = NodeConfig(launcher="in_process")


async def _group(start_node: StartNode, size: int = 3) -> tuple[Node, list[Node]]:
    """Return a node that is no member of its group ``browncs``, and those that are, in SID order."""
    caller = await start_node()
    nodes = [await start_node() for _ in range(size)]
    await caller.local.groups.put("browncs", [node.address for node in nodes])
    return caller, sorted(nodes, key=lambda node: node.sid)


async def _stop(caller: Node, node: Node) -> None:
    await caller.local.comm.send([], Remote(node=node.address, service="status", method="stop"))


@pytest.mark.parametrize("key", ["counts", "heap_total", "heap_used"])
async def test_a_figure_is_summed_over_the_members(start_node: StartNode, key: str) -> None:
    caller, nodes = await _group(start_node)
    total = await caller.group("browncs").status.get(key)
    assert list(total.values) == [node.sid for node in nodes]
    assert total.errors == {}
    assert total.value == sum(total.values.values()) > 0


async def test_counts_is_the_number_of_calls_that_the_group_has_served(start_node: StartNode) -> None:
    caller, nodes = await _group(start_node)
    status = caller.group("browncs").status
    assert (await status.get("counts")).value == 3
    assert (await status.get("counts")).value == 6
    await caller.local.comm.send(["sid"], Remote(node=nodes[0].address, service="status", method="get"))
    assert (await status.get("counts")).values == {nodes[0].sid: 4, nodes[1].sid: 3, nodes[2].sid: 3}


@pytest.mark.parametrize("key", ["nid", "sid", "ip", "port"])
async def test_what_is_no_figure_is_a_list_in_sid_order(start_node: StartNode, key: str) -> None:
    caller, nodes = await _group(start_node)
    total = await caller.group("browncs").status.get(key)
    expected = [await node.local.status.get(key) for node in nodes]
    assert total.value == expected
    assert total.values == dict(zip([node.sid for node in nodes], expected, strict=True))


async def test_with_a_member_down_the_value_covers_those_that_answered(start_node: StartNode) -> None:
    caller, (first, lost, last) = await _group(start_node)
    status = caller.group("browncs").status
    await _stop(caller, lost)
    total = await status.get("heap_used")
    assert list(total.values) == [first.sid, last.sid]
    assert total.value == sum(total.values.values()) > 0
    assert {sid: type(error) for sid, error in total.errors.items()} == {lost.sid: NodeUnreachable}
    assert (await status.get("sid")).value == [first.sid, last.sid]


async def test_with_every_member_down_the_value_is_of_nobody(start_node: StartNode) -> None:
    caller, (node,) = await _group(start_node, 1)
    await _stop(caller, node)
    for key, nothing in (("heap_used", 0), ("sid", [])):
        total = await caller.group("browncs").status.get(key)
        assert total.value == nothing
        assert list(total.errors) == [node.sid]


async def test_an_unknown_key_is_an_error_of_every_member(start_node: StartNode) -> None:
    caller, nodes = await _group(start_node)
    total = await caller.group("browncs").status.get("nothing")
    assert total.values == {}
    assert {sid: type(error) for sid, error in total.errors.items()} == dict.fromkeys(
        (node.sid for node in nodes), UnknownKey
    )


async def test_a_group_without_members_has_no_status(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.groups.put("empty", [])
    with pytest.raises(EmptyGroup):
        await node.group("empty").status.get("sid")
    with pytest.raises(EmptyGroup):
        await node.group("empty").status.stop()


async def _views(caller: Node, gid: str, nodes: list[NodeAddress]) -> list[dict[str, NodeAddress]]:
    """Return what each of `nodes` holds under `gid`."""
    get = "get"
    return [await caller.local.comm.send([gid], Remote(node=node, service="groups", method=get)) for node in nodes]


async def test_spawn_adds_the_node_on_every_member_on_the_caller_and_on_itself(start_node: StartNode) -> None:
    caller, nodes = await _group(start_node)
    members = [node.address for node in nodes]
    for node in nodes:
        await node.local.groups.put("browncs", members)
    address = await caller.group("browncs").status.spawn(IN_PROCESS)
    expected = {node.sid: node for node in sorted([*members, address], key=lambda node: node.sid)}
    assert caller.group("browncs").members() == expected
    assert await _views(caller, "browncs", [*members, address]) == [expected] * 4
    assert (await caller.group("browncs").status.get("sid")).value == list(expected)
    assert address in (await caller.local.groups.get("all")).values()


@pytest.mark.parametrize(("subset", "expected"), [(None, None), (2, 2), (subset_of_one, "tests.samples:subset_of_one")])
async def test_a_node_that_is_spawned_holds_the_groups_subset_too(
    start_memory_node: StartNode, subset: Any, expected: Any
) -> None:
    caller = await start_memory_node()
    await caller.local.groups.put("browncs", [], subset=subset)
    started.clear()
    await caller.group("browncs").status.spawn(NodeConfig(launcher="in_process", on_start=note_node))
    (node,) = started
    assert node.local.groups.subset("browncs") == expected


async def test_a_subset_that_a_spawned_node_can_not_import_is_said(
    start_memory_node: StartNode, caplog: pytest.LogCaptureFixture
) -> None:
    caller = await start_memory_node()
    await caller.local.groups.put("browncs", [], subset=lambda sids: len(sids) - 1)
    await caller.group("browncs").status.spawn(NodeConfig())
    assert "the subset of browncs has no import path" in caplog.text


async def test_spawn_into_a_group_without_members_makes_the_first_one(start_node: StartNode) -> None:
    caller = await start_node()
    await caller.local.groups.put("browncs", [])
    address = await caller.group("browncs").status.spawn(IN_PROCESS)
    assert caller.group("browncs").members() == {address.sid: address}
    assert await _views(caller, "browncs", [address]) == [{address.sid: address}]


async def test_spawn_into_all_introduces_the_nodes_to_each_other(start_node: StartNode) -> None:
    caller = await start_node()
    first = await caller.all.status.spawn(IN_PROCESS)
    second = await caller.all.status.spawn(IN_PROCESS)
    everyone = {node.sid: node for node in sorted([caller.address, first, second], key=lambda node: node.sid)}
    assert await _views(caller, "all", [caller.address, first, second]) == [everyone] * 3


async def test_spawn_into_local_is_the_local_spawn(start_node: StartNode) -> None:
    caller = await start_node()
    address = await caller.group("local").status.spawn(IN_PROCESS)
    assert caller.group("local").members() == {caller.sid: caller.address}
    assert caller.all.members() == {caller.sid: caller.address}
    assert await caller.local.comm.send(["sid"], Remote(node=address, service="status", method="get")) == address.sid


async def test_nodes_that_are_spawned_at_once_all_know_each_other(start_node: StartNode) -> None:
    caller = await start_node()
    await caller.local.groups.put("browncs", [])
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(caller.group("browncs").status.spawn, IN_PROCESS)
    members = caller.group("browncs").members()
    assert len(members) == 4
    assert await _views(caller, "browncs", list(members.values())) == [members] * 4


async def test_a_member_that_is_down_does_not_hinder_a_spawn(
    start_node: StartNode, caplog: pytest.LogCaptureFixture
) -> None:
    caller, (lost, left) = await _group(start_node, 2)
    for node in (lost, left):
        await node.local.groups.put("browncs", caller.group("browncs").members())
    await _stop(caller, lost)
    address = await caller.group("browncs").status.spawn(IN_PROCESS)
    expected = {node.sid: node for node in sorted([lost.address, left.address, address], key=lambda node: node.sid)}
    assert await _views(caller, "browncs", [caller.address, left.address, address]) == [expected] * 3
    assert lost.sid in caplog.text


async def test_a_node_that_does_not_boot_is_in_no_group(start_node: StartNode) -> None:
    caller, nodes = await _group(start_node, 1)
    taken = nodes[0].address
    with pytest.raises(SpawnError, match=f"{taken} is already in use"):
        await caller.group("browncs").status.spawn(NodeConfig(port=taken.port, launcher="in_process"))
    assert list(caller.group("browncs").members()) == [taken.sid]


async def test_through_a_handle_to_a_deleted_group_nothing_is_spawned(start_node: StartNode) -> None:
    caller, _ = await _group(start_node, 1)
    group = caller.group("browncs")
    await caller.local.groups.del_("browncs")
    started.clear()
    with pytest.raises(GroupNotFound):
        await group.status.spawn(NodeConfig(launcher="in_process", on_start=note_node))
    assert not started


async def _run_until_stopped(config: NodeConfig, *, task_status: trio.TaskStatus[Any]) -> None:
    async with open_node(config) as node:
        ended = trio.Event()
        task_status.started((node, ended))
        try:
            await trio.sleep_forever()
        finally:
            ended.set()


async def test_stop_stops_every_member_and_then_the_caller(nursery: trio.Nursery) -> None:
    nodes = [await nursery.start(_run_until_stopped, NodeConfig()) for _ in range(3)]
    (caller, _), *members = nodes
    for membership in ([node for node, _ in members], [node for node, _ in nodes]):
        await caller.local.groups.put("browncs", [node.address for node in membership])
    group = caller.group("browncs")
    with trio.fail_after(60):
        replies = await group.status.stop()
        assert replies.values == {node.sid: node.address for node, _ in nodes}
        assert replies.errors == {}
        for _, ended in nodes:
            await ended.wait()


async def test_stop_stops_a_caller_that_is_no_member_and_reports_the_members_alone(nursery: trio.Nursery) -> None:
    (caller, caller_ended), (member, member_ended), (down, down_ended) = [
        await nursery.start(_run_until_stopped, NodeConfig()) for _ in range(3)
    ]
    await caller.local.groups.put("browncs", [member.address, down.address])
    await _stop(caller, down)
    with trio.fail_after(60):
        await down_ended.wait()
        replies = await caller.group("browncs").status.stop()
        assert replies.values == {member.sid: member.address}
        assert list(replies.errors) == [down.sid]
        await member_ended.wait()
        await caller_ended.wait()
