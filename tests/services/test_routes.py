from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.samples import Counter, Mute
from tests.waiting import DEADLINE_S, wait_until
from trionet import (
    MalformedRequest,
    MethodNotFound,
    Node,
    Remote,
    ServiceDescription,
    ServiceNotFound,
    TemporarilyUnavailable,
    TrionetError,
    open_node,
)

StartNode = Callable[..., Awaitable[Node]]

BUILT_IN = ["status", "groups", "routes", "comm", "gossip", "inspection", "membership", "settings"]


async def _add(caller: Node, node: Node, name: str = "counter") -> Any:
    return await caller.local.comm.send([], Remote(node=node.address, service=name, method="add"))


async def test_a_service_that_was_put_answers_and_is_there_to_get(start_node: StartNode) -> None:
    node, other = await start_node(), await start_node()
    counter = Counter()
    assert await node.local.routes.put(counter, "counter") == "counter"
    assert await node.local.routes.get("counter") is counter
    assert await _add(other, node) == 1
    assert counter.total == 1


async def test_put_replaces_a_service(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.routes.put(Counter(), "counter")
    await _add(node, node)
    second = Counter()
    await node.local.routes.put(second, "counter")
    assert await node.local.routes.get("counter") is second
    assert await _add(node, node) == 1
    await node.local.routes.put({"other": lambda: 5}, "counter")
    with pytest.raises(MethodNotFound):
        await _add(node, node)


async def test_an_import_path_is_instantiated_once(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.routes.put("tests.samples:Counter", "counter")
    assert isinstance(await node.local.routes.get("counter"), Counter)
    assert [await _add(node, node), await _add(node, node)] == [1, 2]


async def test_a_mapping_of_name_to_callable_is_a_service(start_node: StartNode) -> None:
    node, other = await start_node(), await start_node()
    await node.local.routes.put({"add": lambda: "added"}, "counter")
    assert await _add(other, node) == "added"


@pytest.mark.parametrize("name", BUILT_IN)
async def test_a_service_cannot_shadow_a_built_in_one_nor_remove_it(start_node: StartNode, name: str) -> None:
    node = await start_node()
    with pytest.raises(MalformedRequest, match=f"'{name}' is a built-in"):
        await node.local.routes.put(Counter(), name)
    with pytest.raises(MalformedRequest, match=f"'{name}' is a built-in"):
        await node.local.routes.rem(name)
    assert await node.local.status.get("sid") == node.sid


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 129, 5], ids=lambda name: f"{name!r:.10}")
async def test_a_malformed_name_is_refused(start_node: StartNode, name: Any) -> None:
    node = await start_node()
    with pytest.raises(MalformedRequest, match="service name"):
        await node.local.routes.put(Counter(), name)


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (Mute(), "exposes nothing"),
        ({}, "exposes nothing"),
        (None, "exposes nothing"),
        ("tests.samples:Mute", "exposes nothing"),
        ("tests.samples:Needy", "can't be made without arguments"),
        ("tests.samples:Nothing", "has no 'Nothing'"),
        ("tests.nowhere:Counter", "can't import"),
        ("counter", "expected 'package.module:name'"),
    ],
    ids=["object", "empty mapping", "none", "class", "needy class", "nothing", "no module", "no path"],
)
async def test_what_is_no_service_is_refused_and_the_old_one_stays(
    start_node: StartNode, service: Any, reason: str
) -> None:
    node = await start_node()
    await node.local.routes.put(Counter(), "counter")
    with pytest.raises(MalformedRequest, match=reason):
        await node.local.routes.put(service, "counter")
    assert await _add(node, node) == 1


async def test_a_service_that_was_removed_is_not_found(start_node: StartNode) -> None:
    node, other = await start_node(), await start_node()
    await node.local.routes.put(Counter(), "counter")
    assert await node.local.routes.rem("counter") is True
    assert await node.local.routes.rem("counter") is False
    with pytest.raises(ServiceNotFound, match="'counter'"):
        await node.local.routes.get("counter")
    with pytest.raises(ServiceNotFound, match="'counter'"):
        await _add(other, node)


async def test_another_node_puts_by_import_path_and_gets_a_description(start_node: StartNode) -> None:
    node, other = await start_node(), await start_node()

    async def routes(method: str, *args: Any) -> Any:
        return await other.local.comm.send(list(args), Remote(node=node.address, service="routes", method=method))

    assert await routes("put", "tests.samples:Counter", "counter") == "counter"
    assert await routes("get", "counter") == ServiceDescription("counter", ["add", "total"])
    assert await routes("get", "status") == ServiceDescription("status", ["get", "reload", "spawn", "stop"])
    assert await routes("rem", "counter") is True
    with pytest.raises(ServiceNotFound, match="'counter'"):
        await routes("get", "counter")


async def test_the_built_in_services_are_there_to_get(start_node: StartNode) -> None:
    node = await start_node()
    for name in ("status", "groups", "routes", "comm"):
        assert await node.local.routes.get(name) is getattr(node.local, name)


async def test_wait_returns_a_service_once_it_is_there(start_node: StartNode, nursery: trio.Nursery) -> None:
    node, found = await start_node(), []

    async def wait() -> None:
        found.append(await node.local.routes.wait("counter"))

    for _ in range(2):
        nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert found == []
    counter = Counter()
    await node.local.routes.put(counter, "counter")
    await wait_until(lambda: len(found) == 2)
    assert found == [counter] * 2 == [await node.local.routes.wait("counter")] * 2


@pytest.mark.parametrize("name", [None, 5, ["counter"]], ids=repr)
async def test_wait_is_for_a_name(start_node: StartNode, name: Any) -> None:
    node = await start_node()
    with pytest.raises(MalformedRequest, match="a service's name is a text"):
        await node.local.routes.wait(name)


async def test_one_that_waits_for_a_service_hears_of_the_end_of_the_node(nursery: trio.Nursery) -> None:
    ends: list[type[BaseException]] = []

    async def wait(node: Node) -> None:
        try:
            await node.local.routes.wait("counter")
        except TrionetError as exc:
            ends.append(type(exc))

    async with open_node() as node:
        nursery.start_soon(wait, node)
        await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(DEADLINE_S):
        await wait_until(lambda: ends == [TemporarilyUnavailable])
        await wait(node)
    assert ends == [TemporarilyUnavailable] * 2
