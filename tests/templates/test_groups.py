import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.samples import COLLIDING, subset_of_one
from trionet import (
    CodeRefused,
    EmptyGroup,
    GroupNotFound,
    MalformedRequest,
    Node,
    NodeAddress,
    NodeUnreachable,
    Remote,
    Replies,
    SIDCollision,
)

StartNode = Callable[..., Awaitable[Node]]

A, B = (NodeAddress("127.0.0.1", port) for port in (1, 2))


def _by_sid(*nodes: NodeAddress) -> dict[str, NodeAddress]:
    return {node.sid: node for node in sorted(nodes, key=lambda node: node.sid)}


@pytest.fixture
async def caller(start_node: StartNode) -> Node:
    """A node whose group ``browncs`` has two members, and not itself."""
    node = await start_node()
    await node.local.groups.put("browncs", [(await start_node()).address for _ in range(2)])
    return node


async def test_put_puts_the_group_on_every_member_and_on_the_caller(caller: Node) -> None:
    group = caller.group("browncs")
    assert await group.groups.put("atlas", [A, B]) == Replies({sid: _by_sid(A, B) for sid in group.members()}, {})
    assert await caller.local.groups.get("atlas") == _by_sid(A, B)
    held = await group.groups.get("atlas")
    assert held == Replies({sid: _by_sid(A, B) for sid in group.members()}, {})


async def test_templates_are_instantiated_on_every_member_by_put(caller: Node) -> None:
    group = caller.group("browncs")
    members = list(group.members().values())
    await group.groups.put("atlas", members)
    assert set((await caller.group("atlas").status.get("sid")).value) == set(group.members())
    for sid in group.members():
        remote_view = await caller.local.comm.send(
            ["sid"], Remote(node=group.members()[sid], gid="atlas", service="status", method="get")
        )
        assert remote_view.value == sorted(group.members())


async def test_put_takes_the_nodes_in_every_form_and_a_subset_by_import_path(caller: Node) -> None:
    group = caller.group("browncs")
    replies = await group.groups.put("atlas", {"wrong key": str(A)}, subset=subset_of_one)
    assert replies == Replies({sid: _by_sid(A) for sid in group.members()}, {})
    assert caller.local.groups.subset("atlas") == "tests.samples:subset_of_one"
    await group.groups.put("atlas", iter([B]), subset=3)
    assert caller.local.groups.subset("atlas") == 3
    assert await caller.local.groups.get("atlas") == _by_sid(B)


async def test_a_subset_that_can_not_travel_as_code_is_refused_and_nothing_changes(caller: Node) -> None:
    group = caller.group("browncs")
    lock = threading.Lock()
    with pytest.raises(CodeRefused, match="can't travel as code"):
        await group.groups.put("atlas", [A], subset=lambda sids: len(sids) + lock.locked())
    assert "atlas" not in caller.local.groups.gids()


async def test_a_subset_that_travels_as_code_is_refused_by_members_that_do_not_trust_it(caller: Node) -> None:
    replies = await caller.group("browncs").groups.put("atlas", [A], subset=lambda sids: 2 * len(sids))
    assert replies.values == {}
    assert {type(error) for error in replies.errors.values()} == {CodeRefused}


async def test_add_and_rem_change_every_member_and_the_caller(caller: Node) -> None:
    group = caller.group("browncs")
    await group.groups.put("atlas", [A])
    assert await group.groups.add("atlas", B) == Replies({sid: _by_sid(A, B) for sid in group.members()}, {})
    assert await caller.local.groups.get("atlas") == _by_sid(A, B)
    assert await group.groups.rem("atlas", A.sid) == Replies({sid: _by_sid(B) for sid in group.members()}, {})
    assert await caller.local.groups.get("atlas") == _by_sid(B)
    assert (await group.groups.get("atlas")).values == {sid: _by_sid(B) for sid in group.members()}


async def test_add_and_rem_of_a_group_that_is_not_there_change_nothing(caller: Node) -> None:
    group = caller.group("browncs")
    for replies in (await group.groups.add("nowhere", A), await group.groups.rem("nowhere", A.sid)):
        assert replies == Replies({sid: {} for sid in group.members()}, {})
    assert "nowhere" not in caller.local.groups.gids()
    assert (await group.groups.get("nowhere")).values == {}


async def test_a_group_can_grow_and_shrink_itself(caller: Node, start_node: StartNode) -> None:
    group, node = caller.group("browncs"), await start_node()
    before = group.members()
    await group.groups.put("browncs", before)
    await group.groups.add("browncs", node.address)
    assert group.members() == _by_sid(*before.values(), node.address)
    replies = await group.groups.rem("browncs", node.sid)
    assert group.members() == before
    assert replies.values == dict.fromkeys(before, before) | {node.sid: {}}  # it had not heard of the group itself


async def test_del_removes_the_group_on_every_member_and_on_the_caller_and_returns_what_it_was(caller: Node) -> None:
    group = caller.group("browncs")
    await group.groups.put("atlas", [A, B])
    handle = caller.group("atlas")
    assert await group.groups.del_("atlas") == Replies({sid: _by_sid(A, B) for sid in group.members()}, {})
    held = await group.groups.get("atlas")
    assert held.values == {}
    assert {type(error) for error in held.errors.values()} == {GroupNotFound}
    assert list(held.errors) == list(group.members())
    with pytest.raises(GroupNotFound, match="'atlas'"):
        await handle.groups.get("atlas")


async def test_deleting_what_is_not_there_is_an_error_of_each_member(caller: Node) -> None:
    group = caller.group("browncs")
    replies = await group.groups.del_("nowhere")
    assert replies.values == {}
    assert {type(error) for error in replies.errors.values()} == {GroupNotFound}


async def test_del_through_the_group_itself_ends_it(caller: Node) -> None:
    group = caller.group("browncs")
    await group.groups.put("browncs", group.members())
    replies = await group.groups.del_("browncs")
    assert len(replies.values) == 2
    with pytest.raises(GroupNotFound):
        group.members()


@pytest.mark.parametrize("gid", ["all", "local", "a b", ""])
async def test_a_gid_that_cannot_be_put_is_the_callers_mistake_and_no_member_is_called(caller: Node, gid: str) -> None:
    group = caller.group("browncs")
    with pytest.raises(MalformedRequest):
        await group.groups.put(gid, [A])
    assert (await group.status.get("counts")).value == 2  # these two


async def test_what_is_no_address_is_the_callers_mistake_and_no_member_is_called(caller: Node) -> None:
    group = caller.group("browncs")
    nonsense: Any = "nonsense"
    with pytest.raises(MalformedRequest):
        await group.groups.put("atlas", [nonsense])
    with pytest.raises(MalformedRequest):
        await group.groups.add("atlas", nonsense)
    with pytest.raises(SIDCollision):
        await group.groups.put("atlas", COLLIDING)
    assert (await group.status.get("counts")).value == 2  # these two


async def test_a_member_that_is_down_is_in_the_errors_of_every_change(caller: Node) -> None:
    group = caller.group("browncs")
    lost, left = group.members()
    await caller.local.comm.send([], Remote(node=group.members()[lost], service="status", method="stop"))
    for replies in (
        await group.groups.put("atlas", [A]),
        await group.groups.add("atlas", B),
        await group.groups.rem("atlas", A.sid),
        await group.groups.get("atlas"),
        await group.groups.del_("atlas"),
    ):
        assert list(replies.values) == [left]
        assert {sid: type(error) for sid, error in replies.errors.items()} == {lost: NodeUnreachable}
    assert "atlas" not in caller.local.groups.gids()


async def test_through_a_group_without_members_nothing_is_changed(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.groups.put("empty", [])
    await node.local.groups.put("other", [A])
    groups = node.group("empty").groups
    for change in (
        groups.put("atlas", [A]),
        groups.add("other", B),
        groups.rem("other", A.sid),
        groups.del_("other"),
        groups.get("other"),
    ):
        with pytest.raises(EmptyGroup, match="'empty'"):
            await change
    assert node.local.groups.gids() == ["all", "empty", "local", "other"]
    assert await node.local.groups.get("other") == _by_sid(A)


async def test_a_handle_to_a_deleted_group_changes_nothing(caller: Node) -> None:
    group = caller.group("browncs")
    await caller.local.groups.del_("browncs")
    for change in (group.groups.put("atlas", [A]), group.groups.add("all", A), group.groups.del_("atlas")):
        with pytest.raises(GroupNotFound, match="'browncs'"):
            await change
    assert caller.local.groups.gids() == ["all", "local"]
