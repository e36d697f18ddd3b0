from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.samples import Counter, Probe
from trionet import (
    CodeRefused,
    EmptyGroup,
    MalformedRequest,
    Node,
    NodeUnreachable,
    Remote,
    Replies,
    ServiceDescription,
    ServiceNotFound,
)

StartNode = Callable[..., Awaitable[Node]]

ADD = Remote(service="counter", method="add")


@pytest.fixture
async def caller(start_node: StartNode) -> Node:
    """A node whose group ``browncs`` has two members, and not itself."""
    node = await start_node()
    await node.local.groups.put("browncs", [(await start_node()).address for _ in range(2)])
    return node


async def _counts(node: Node) -> int:
    """Return how many calls the members of ``browncs`` have served, this one aside."""
    total = await node.group("browncs").status.get("counts")
    served: int = total.value
    return served - 2


@pytest.mark.parametrize("service", ["tests.samples:Counter", Counter])
async def test_each_member_makes_its_own_instance_of_a_class_named_by_import_path(caller: Node, service: Any) -> None:
    group = caller.group("browncs")
    first, second = group.members()
    assert await group.routes.put(service, "counter") == Replies({first: "counter", second: "counter"}, {})
    remote = Remote(node=group.members()[first], service="counter", method="add")
    assert await caller.local.comm.send([5], remote) == 5
    assert (await group.comm.send([], ADD)).values == {first: 6, second: 1}
    with pytest.raises(ServiceNotFound):
        await caller.local.routes.get("counter")


@pytest.mark.parametrize(
    "service",
    [Counter(), {"add": max}, type("Inline", (Counter,), {"__module__": "__main__"})],
    ids=["object", "mapping", "class of the main program"],
)
async def test_code_is_refused_by_members_that_do_not_trust_it(caller: Node, service: Any) -> None:
    replies = await caller.group("browncs").routes.put(service, "counter")
    assert replies.values == {}
    assert {type(error) for error in replies.errors.values()} == {CodeRefused}
    for error in replies.errors.values():
        assert "trust_code is False" in error.text
        assert "'package.module:name'" in error.text


@pytest.mark.parametrize("service", [lambda: None, None, 5], ids=["function", "none", "number"])
async def test_what_exposes_nothing_is_refused_before_anything_is_sent(caller: Node, service: Any) -> None:
    with pytest.raises(MalformedRequest, match="exposes nothing"):
        await caller.group("browncs").routes.put(service, "counter")
    assert await _counts(caller) == 0


async def test_a_class_that_the_members_cannot_import_is_an_error_of_each(caller: Node) -> None:
    replies = await caller.group("browncs").routes.put("tests.nowhere:Counter", "counter")
    assert replies.values == {}
    assert {type(error) for error in replies.errors.values()} == {MalformedRequest}
    assert all("tests.nowhere" in error.text for error in replies.errors.values())


async def test_a_built_in_service_cannot_be_shadowed_on_any_member(caller: Node) -> None:
    replies = await caller.group("browncs").routes.put("tests.samples:Counter", "status")
    assert replies.values == {}
    assert {type(error) for error in replies.errors.values()} == {MalformedRequest}


async def test_get_describes_the_service_of_every_member(caller: Node) -> None:
    group = caller.group("browncs")
    first, second = group.members()
    remote = Remote(node=group.members()[first], service="routes", method="put")
    await caller.local.comm.send(["tests.samples:Counter", "counter"], remote)
    replies = await group.routes.get("counter")
    assert replies.values == {first: ServiceDescription("counter", ["add", "total"])}
    assert {sid: type(error) for sid, error in replies.errors.items()} == {second: ServiceNotFound}


async def test_rem_says_where_there_was_one(caller: Node) -> None:
    group = caller.group("browncs")
    first, second = group.members()
    remote = Remote(node=group.members()[first], service="routes", method="put")
    await caller.local.comm.send(["tests.samples:Counter", "counter"], remote)
    assert await group.routes.rem("counter") == Replies({first: True, second: False}, {})
    assert {type(error) for error in (await group.comm.send([], ADD)).errors.values()} == {ServiceNotFound}


async def test_put_replaces_the_service_of_every_member(caller: Node) -> None:
    group = caller.group("browncs")
    await group.routes.put(Probe, "counter")
    await group.routes.put(Counter, "counter")
    assert list((await group.comm.send([], ADD)).values.values()) == [1, 1]
    await group.routes.put(Counter, "counter")
    assert list((await group.comm.send([], ADD)).values.values()) == [1, 1]


async def test_a_member_that_is_down_is_in_the_errors(caller: Node) -> None:
    group = caller.group("browncs")
    lost, left = group.members()
    await caller.local.comm.send([], Remote(node=group.members()[lost], service="status", method="stop"))
    for replies in (await group.routes.put(Counter, "counter"), await group.routes.rem("counter")):
        assert list(replies.values) == [left]
        assert {sid: type(error) for sid, error in replies.errors.items()} == {lost: NodeUnreachable}


async def test_a_group_without_members_is_an_error(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.groups.put("empty", [])
    with pytest.raises(EmptyGroup):
        await node.group("empty").routes.put(Counter, "counter")
