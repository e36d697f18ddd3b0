from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.samples import BrokenTemplate, Census, Probe
from trionet import (
    EmptyGroup,
    GroupContext,
    GroupNotFound,
    MalformedRequest,
    Node,
    NodeConfig,
    Remote,
    ServiceNotFound,
    Template,
    rpc,
)

StartNode = Callable[..., Awaitable[Node]]


async def test_a_template_registered_before_a_group_exists_is_in_it(start_node: StartNode) -> None:
    node = await start_node()
    node.register_template("census", Census)
    await node.local.groups.put("browncs", [node.address])
    assert node.group("browncs").service("census").where() == "browncs"


async def test_a_template_registered_after_a_group_exists_is_in_it(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.groups.put("browncs", [node.address])
    node.register_template("census", Census)
    assert node.group("browncs").service("census").where() == "browncs"


async def test_a_template_is_in_every_group_with_an_instance_of_its_own(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.groups.put("before", [node.address])
    node.register_template("census", Census)
    await node.local.groups.put("after", [node.address])
    instances = {gid: node.group(gid).service("census") for gid in ("all", "local", "before", "after")}
    assert len(set(map(id, instances.values()))) == 4
    for gid, instance in instances.items():
        assert instance.where() == instance.context.gid == gid
        assert instance.context.own == node.address
        assert instance.context.local is node.local


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_a_template_is_called_by_another_node_under_the_name_of_the_group(
    start_node: StartNode, transport: Any
) -> None:
    node, caller = await start_node(), await start_node(NodeConfig(transport=transport))
    node.register_template("census", Census)
    await node.local.groups.put("browncs", [node.address])
    for gid in ("browncs", "all"):
        remote = Remote(node=node.address, gid=gid, service="census", method="where")
        assert await caller.local.comm.send([], remote) == gid
    with pytest.raises(ServiceNotFound):
        await caller.local.comm.send([], Remote(node=node.address, service="census", method="where"))


@pytest.mark.slow
async def test_a_template_is_called_over_http(start_node: StartNode) -> None:
    node = await start_node()
    node.register_template("census", Census)
    await node.local.groups.put("browncs", [node.address])
    await node.local.routes.put(Probe(), "probe")
    async with httpx.AsyncClient(base_url=f"http://{node.address}", timeout=60, trust_env=False) as client:
        where = await client.put("/browncs/census/where", content="[]")
        pids = await client.post("/browncs/census/pids", content="[]")
    assert (where.status_code, where.json()) == (200, {"value": "browncs"})
    (pid,) = pids.json()["values"].values()
    assert pids.json() == {"values": {node.sid: pid}, "errors": {}}


async def test_a_templates_fan_out_reaches_the_members_and_keeps_their_errors_apart(start_node: StartNode) -> None:
    node, other = await start_node(), await start_node()
    node.register_template("census", Census)
    await node.local.groups.put("browncs", [node.address, other.address])
    await other.local.routes.put({"pid": lambda: 5}, "probe")
    replies = await node.group("browncs").service("census").pids()
    assert replies.values == {other.sid: 5}
    assert list(replies.errors) == [node.sid]
    assert isinstance(replies.errors[node.sid], ServiceNotFound)


async def test_a_fan_out_passes_keyword_arguments(start_node: StartNode) -> None:
    class Adder(Template):
        async def add(self) -> Any:
            return await self.fan_out([1], Remote(service="sum", method="add"), kwargs={"other": 2})

    node, other = await start_node(), await start_node()
    node.register_template("adder", Adder)
    await node.local.groups.put("browncs", [node.address, other.address])
    for each in (node, other):
        await each.local.routes.put({"add": lambda one, *, other: one + other}, "sum")
    assert (await node.group("browncs").service("adder").add()).values == {node.sid: 3, other.sid: 3}


async def test_a_template_may_be_any_callable_that_takes_the_context(start_node: StartNode) -> None:
    node = await start_node()
    node.register_template("names", lambda context: {"gid": lambda: context.gid})
    remote = Remote(node=node.address, gid="all", service="names", method="gid")
    assert await node.local.comm.send([], remote) == "all"


async def test_templates_can_be_named_in_the_configuration(start_node: StartNode) -> None:
    node = await start_node(NodeConfig(templates={"census": "tests.samples:Census"}))
    assert isinstance(node.all.service("census"), Census)


async def test_a_template_that_is_registered_again_takes_the_place_of_the_old_one(start_node: StartNode) -> None:
    class Other(Template):
        @rpc
        def where(self) -> str:
            return "elsewhere"

    node = await start_node()
    node.register_template("census", Census)
    node.register_template("census", Other)
    await node.local.groups.put("browncs", [node.address])
    for gid in ("all", "browncs"):
        assert isinstance(node.group(gid).service("census"), Other)
        remote = Remote(node=node.address, gid=gid, service="census", method="where")
        assert await node.local.comm.send([], remote) == "elsewhere"


@pytest.mark.parametrize(
    "name", ["status", "groups", "routes", "comm", "gossip", "membership", "settings", "a b", "", None]
)
async def test_a_template_cannot_shadow_a_built_in_service_and_needs_a_well_formed_name(
    start_node: StartNode, name: Any
) -> None:
    node = await start_node()
    with pytest.raises(MalformedRequest):
        node.register_template(name, Census)
    assert (await node.all.status.get("sid")).value == [node.sid]


async def test_an_unknown_template_is_not_found(start_node: StartNode) -> None:
    node = await start_node()
    with pytest.raises(ServiceNotFound, match="'census'"):
        node.all.service("census")


async def test_the_templates_of_a_deleted_group_say_that_it_is_gone(start_node: StartNode) -> None:
    node = await start_node()
    node.register_template("census", Census)
    await node.local.groups.put("browncs", [node.address])
    handle = node.group("browncs")
    census = handle.service("census")
    await node.local.groups.del_("browncs")
    with pytest.raises(GroupNotFound):
        handle.service("census")
    with pytest.raises(GroupNotFound):
        handle.members()
    with pytest.raises(GroupNotFound):
        await census.pids()
    remote = Remote(node=node.address, gid="browncs", service="census", method="where")
    with pytest.raises(GroupNotFound):
        await node.local.comm.send([], remote)


async def test_a_template_of_an_empty_group_raises_empty_group(start_node: StartNode) -> None:
    node = await start_node()
    node.register_template("census", Census)
    await node.local.groups.put("browncs", [])
    with pytest.raises(EmptyGroup, match="'browncs'"):
        await node.group("browncs").service("census").pids()


async def test_a_template_that_cannot_be_made_is_not_registered(start_node: StartNode) -> None:
    node = await start_node()
    with pytest.raises(ValueError, match="without a plan"):
        node.register_template("broken", BrokenTemplate)
    assert await node.local.groups.put("browncs", [node.address])


async def test_a_context_tells_the_members_of_the_moment(start_node: StartNode) -> None:
    node, other = await start_node(), await start_node()
    contexts: list[GroupContext] = []

    def watch(context: GroupContext) -> dict[str, Any]:
        contexts.append(context)
        return {}

    node.register_template("watcher", watch)
    await node.local.groups.put("browncs", [node.address])
    (context,) = (context for context in contexts if context.gid == "browncs")
    assert list(context.members()) == [node.sid]
    await node.local.groups.add("browncs", other.address)
    assert list(context.members()) == sorted([node.sid, other.sid])
