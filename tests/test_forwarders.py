"""The principal of a call travels with all that forwards it, and each receiving node checks it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.transports.keyed_nodes import open_keyed, request, token
from tests.waiting import wait_until
from trionet import (
    MalformedRequest,
    Node,
    NodeCalls,
    NodeConfig,
    Principal,
    Remote,
    Template,
    current_call,
    open_node,
    rpc,
)
from trionet.group import built_in_methods
from trionet.security.token_scope import Scope
from trionet.templates.gossip import GroupGossip

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SEEN: list[tuple[str, str]] = []
"""The SIDs of the nodes that ran a method, and for whom."""

TARGET = {"service": "probe", "method": "change"}


class Probe:
    """A user's service, which notes for whom it runs, and one method that calls another node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def _note(self) -> None:
        SEEN.append((self._node.sid, str(current_call().principal)))

    @rpc
    def change(self) -> None:
        self._note()

    @rpc(thread=True)
    def block(self) -> None:
        self._note()

    @rpc
    def take(self, item: int) -> None:
        self._note()

    @rpc
    async def items(self) -> AsyncIterator[int]:
        self._note()
        yield 1

    @rpc
    async def ask(self, node: dict[str, Any]) -> None:
        self._note()
        await self._node.local.comm.send([], Remote(node=node, **TARGET))  # type: ignore[arg-type]


class Everywhere(Template):
    """A user's group-wide service."""

    @rpc
    async def change_by_method(self) -> Any:
        return await self.context.call(Probe.change)

    @rpc
    async def stream_by_method(self) -> list[Any]:
        async with self.context.stream(Probe.items) as items:
            return [str(item) async for _, item in items]

    @rpc
    async def change_one_by_method(self) -> None:
        calls = NodeCalls()
        calls.local = self.context.local
        for node in self.context.members().values():
            await calls.call(node, Probe.change)

    @rpc
    async def tell_by_method(self) -> Any:
        return await GroupGossip(self.context).call(Probe.change)

    @rpc(read=True)
    async def look(self) -> Any:
        return await self.change()

    @rpc
    async def change(self) -> Any:
        return await self.fan_out([], Remote(service="probe", method="change"))

    @rpc(thread=True)
    def change_from_a_thread(self) -> Any:
        return trio.from_thread.run(self.change)

    @rpc
    async def change_in_a_task(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.change)

    @rpc
    async def stream(self) -> list[Any]:
        async with self.open_stream([], Remote(service="probe", method="items"), items=True) as items:
            return [str(item) async for _, item in items]

    @rpc
    async def map(self, count: int) -> list[Any]:
        """Have the members take items, some of them caused by the end of other calls, or by other tasks."""
        async with self.context.map(Probe.take, range(count), retries=0, ordered=True) as results:
            return [str(done.outcome) async for done in results]


async def expose(node: Node) -> None:
    await node.local.routes.put(Probe(node), "probe")


def config(**more: Any) -> NodeConfig:
    names = {"everywhere": "tests.test_forwarders:Everywhere"}
    return NodeConfig(on_start="tests.test_forwarders:expose", templates=names, datagrams=False, **more)


@asynccontextmanager
async def open_pair(deny: list[str] | None, **more: Any) -> AsyncGenerator[tuple[Node, Node]]:
    """Run a node, and another one of its cluster that denies methods to the holders of tokens."""
    SEEN.clear()
    policy = None if deny is None else {"deny": {"token:*": deny}}
    async with (
        open_keyed(config(join=[], **more)) as entry,
        open_keyed(config(join=[str(entry.address)], policy=policy, **more)) as far,
    ):
        await wait_until(lambda: far.sid in entry.all.members() and entry.sid in far.all.members())
        yield entry, far


def remote_of(node: Node, **other: str) -> dict[str, Any]:
    return {"node": {"ip": node.address.ip, "port": node.address.port}, **TARGET, **other}


REFERENCE = "tests.test_forwarders:Other"


class Other:
    @rpc
    def do(self) -> None: ...


FORWARDERS: dict[str, tuple[str, Any, str]] = {
    # the call of a token's holder, its arguments (a function of the far node), and what the far node denies
    "local comm.send": ("local/comm/send", lambda far: [[], remote_of(far)], "local/probe/change"),
    "local comm.send to a thread": (
        "local/comm/send",
        lambda far: [[], remote_of(far, method="block")],
        "local/probe/block",
    ),
    "local comm.stream": ("local/comm/stream", lambda far: [[], remote_of(far, method="items")], "local/probe/items"),
    "group comm.stream": ("all/comm/stream", lambda _: [[], TARGET | {"method": "items"}], "local/probe/items"),
    "local diagnosis.survey": ("local/diagnosis/survey", lambda _: [], "local/diagnosis/examine"),
    "local diagnosis.overview": ("local/diagnosis/overview", lambda _: [], "local/diagnosis/figures"),
    "group comm.send": ("all/comm/send", lambda _: [[], TARGET], "local/probe/change"),
    "group comm.send along a tree": ("all/comm/send?tree=true", lambda _: [[], TARGET], "local/probe/change"),
    "remote group comm.send": (
        "local/comm/send",
        lambda far: [[[], TARGET], remote_of(far, gid="all", service="comm", method="send")],
        "local/probe/change",
    ),
    "group gossip.send": ("all/gossip/send", lambda _: [[], TARGET], "local/probe/change"),
    "group gossip.at": ("all/gossip/at", lambda _: [0.05, [[], TARGET]], "local/probe/change"),
    "group gossip.del": ("all/gossip/del", lambda far: [f"0000000000000000@{far.address}"], "local/gossip/del"),
    "local gossip.del": ("local/gossip/del", lambda far: [f"0000000000000000@{far.address}"], "local/gossip/del"),
    "group gossip.tasks": ("all/gossip/tasks", lambda _: [], "local/gossip/tasks"),
    "group status.get": ("all/status/get", lambda _: ["nid"], "local/status/get"),
    "group status.stop": ("all/status/stop", lambda _: [], "local/status/stop"),
    "local inspection.calls": ("local/inspection/calls", lambda _: [], "local/inspection/report_calls"),
    "local inspection.cancel_call": (
        "local/inspection/cancel_call",
        lambda _: ["an-id"],
        "local/inspection/cancel_own_calls",
    ),
    "group groups.get": ("all/groups/get", lambda _: ["all"], "local/groups/get"),
    "group groups.put": ("all/groups/put", lambda _: ["g", []], "local/groups/put"),
    "group groups.add": ("all/groups/add", lambda far: ["all", remote_of(far)["node"]], "local/groups/add"),
    "group groups.rem": ("all/groups/rem", lambda _: ["all", "0123456789"], "local/groups/rem"),
    "group groups.del": ("all/groups/del", lambda _: ["g"], "local/kept/remove"),
    "group routes.put": ("all/routes/put", lambda _: [REFERENCE, "other"], "local/routes/put"),
    "group routes.put_template": (
        "all/routes/put_template",
        lambda _: ["tests.test_forwarders:Everywhere", "more"],
        "local/routes/put_template",
    ),
    "group routes.get": ("all/routes/get", lambda _: ["probe"], "local/routes/get"),
    "group routes.rem": ("all/routes/rem", lambda _: ["other"], "local/kept/remove"),
    "group groups.put by rule": (
        "all/groups/put?where=%7B%22role%22%3A%22worker%22%7D",
        lambda _: ["g"],
        "local/kept/keep",
    ),
    "group status.spawn": ("all/status/spawn", lambda _: [{"launcher": "in_process"}], "local/groups/add"),
    "group of a user's template": ("all/everywhere/change", lambda _: [], "local/probe/change"),
    "group of a user's template in a thread": (
        "all/everywhere/change_from_a_thread",
        lambda _: [],
        "local/probe/change",
    ),
    "group of a user's template in a task": ("all/everywhere/change_in_a_task", lambda _: [], "local/probe/change"),
    "group of a user's template that maps": ("all/everywhere/map", lambda _: [9], "local/probe/take"),
    "group of a user's template that streams": ("all/everywhere/stream", lambda _: [], "local/probe/items"),
    "group of a user's template by method": ("all/everywhere/change_by_method", lambda _: [], "local/probe/change"),
    "group of a user's template that streams by method": (
        "all/everywhere/stream_by_method",
        lambda _: [],
        "local/probe/items",
    ),
    "node called by a user's template by method": (
        "all/everywhere/change_one_by_method",
        lambda _: [],
        "local/probe/change",
    ),
    "rumor of a user's template by method": ("all/everywhere/tell_by_method", lambda _: [], "local/probe/change"),
}

NOT_FORWARDING = {
    "local diagnosis": {"examine", "figures"},  # connections and pings, no calls
    "local status": {"get", "stop", "spawn", "reload"},  # a spawned node is asked by the protocols alone
    "local groups": {"get", "put", "add", "rem", "del", "describe"},
    "local routes": {"get", "put", "put_template", "rem"},
    "local gossip": {"tasks"},
    "local membership": {"packet", "unreachable", "join", "leave", "set_tags", "members", "forget"},
    "local inspection": {
        *("config", "events", "groups", "logs", "members", "services", "spread"),
        *("arrival", "group", "group_digests", "methods", "rumors"),
        *("glance", "portrait"),
        *("report_calls", "cancel_own_calls", "statistics", "status", "tags", "watch_events", "watch_logs"),
    },
    "local kept": {"keep", "end", "held", "remove"},
    # The members exchange what they know of keys in their own names: whoever may change them at one may at all.
    "local keys": {"status", "use", "retire", "reload", "rollout", "take_step", "exchange", "give"},
    "group comm": {"relay", "answer", "recall"},  # for nodes alone: see the tests of calls along a tree
    "group settings": {"put", "del", "get", "items", "wait"},  # a map that merges: checked where it is written
}


@pytest.mark.parametrize("name", FORWARDERS)
async def test_the_principal_travels_with_what_is_forwarded(name: str) -> None:
    path, args, denied = FORWARDERS[name]
    async with open_pair([denied]) as (entry, far):
        sent = await request(entry, f"/{path}", json.dumps(args(far)), bearer=token(Scope.ADMIN))
        await wait_until(lambda: far.statistics().calls_refused > 0)
        assert far.sid not in dict(SEEN), sent.text
        assert entry.statistics().calls_refused == 0


async def test_each_item_of_a_map_goes_in_the_name_of_the_principal() -> None:
    async with open_pair(None) as (entry, _):
        sent = await request(entry, "/all/everywhere/map", "[40]", bearer=token())
        assert sent.json() == {"value": ["None"] * 40}
        assert [who[:11] for _, who in SEEN] == ["token:call:"] * 40
        assert len({sid for sid, _ in SEEN}) == 2


async def test_each_method_of_trionet_forwards_or_does_not() -> None:
    async with open_keyed(config(join=[])) as node:
        for form, services in built_in_methods(node.local).items():
            for service, methods in services.items():
                forwarding = {name.partition(".")[2].split()[0] for name in FORWARDERS if f"{form} {service}." in name}
                rest = NOT_FORWARDING.get(f"{form} {service}", set())
                assert methods == forwarding | rest, f"{form} {service}: give each forwarder a row of FORWARDERS"


async def test_a_token_of_too_small_a_scope_gains_nothing_at_another_node() -> None:
    async with open_pair(None) as (entry, far):
        await entry.local.comm.send([], Remote(node=far.address, service="probe", method="change"))
        bearer = token(Scope.READ)
        answer = await request(entry, "/all/everywhere/look", bearer=bearer)
        assert answer.text.count("it needs the scope call") == 2, answer.text
        assert [(far.sid, f"node:{entry.address}")] == SEEN


async def test_a_users_handler_calls_other_nodes_as_its_own_node() -> None:
    async with open_pair(["local/probe/change"]) as (entry, far):
        answer = await request(entry, "/local/probe/ask", json.dumps([remote_of(far)["node"]]), bearer=token())
        assert answer.json() == {"value": None}
        (first, by_token), second = SEEN
        assert (first, by_token[:11]) == (entry.sid, "token:call:")
        assert second == (far.sid, f"node:{entry.address}")


@pytest.mark.parametrize("text", ["token:root:12345678", "", "node:", "anyone:1", "token:read:" + "1" * 300, 5, None])
def test_what_is_no_principal_is_refused(text: object) -> None:
    with pytest.raises(MalformedRequest):
        Principal.parse(text)


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_both_transports_carry_the_principal(transport: str) -> None:
    async with open_pair(None, transport=transport) as (entry, far):
        answer = await request(entry, "/local/comm/send", json.dumps([[], remote_of(far)]), bearer=token())
        assert answer.json() == {"value": None}
        assert [(sid, who[:11]) for sid, who in SEEN] == [(far.sid, "token:call:")]


async def test_anyone_gains_nothing_by_having_a_node_call_itself() -> None:
    policy = {"allow": {"anyone": ["local/comm/send"]}}
    async with open_node(NodeConfig(policy=policy)) as node:
        stop = remote_of(node, service="status", method="stop")
        answer = await request(node, "/local/comm/send", json.dumps([[], stop]))
        assert answer.json()["error"]["type_name"] == "trionet.errors.NotPermitted"
        assert node.statistics().calls_refused == 1
        assert not node.is_stopping
        await node.local.comm.send([], Remote(**stop))  # as itself
        assert node.is_stopping


@pytest.mark.parametrize("path", ["all/status/stop", "all/groups/put", "all/gossip/del"])
async def test_a_group_wide_method_needs_the_local_right_at_its_own_node(path: str) -> None:
    _, service, method = path.split("/")
    args = {"stop": [], "put": ["g", []], "del": ["0123456789abcdef@127.0.0.1:1"]}[method]
    async with open_keyed(NodeConfig(policy={"deny": {"token:*": [f"local/{service}/{method}"]}})) as node:
        answer = await request(node, f"/{path}", json.dumps(args), bearer=token(Scope.ADMIN))
        assert answer.status_code == 403, answer.text
        assert not node.is_stopping


@pytest.mark.parametrize("gid", ["local", "all"])
async def test_a_node_that_a_token_has_spawned_acts_as_itself(gid: str) -> None:
    async with open_pair(["local/probe/change"]) as (entry, far):
        CALLED[:] = [far.address]
        child = {"launcher": "in_process", "on_start": "tests.test_forwarders:call_far"}
        answer = await request(entry, f"/{gid}/status/spawn", json.dumps([child]), bearer=token(Scope.ADMIN))
        assert answer.status_code == 200, answer.text
        assert [(sid, who.partition(":")[0]) for sid, who in SEEN] == [(far.sid, "node")]


CALLED: list[Any] = []


async def call_far(node: Node) -> None:
    await node.local.comm.send([], Remote(node=CALLED[0], **TARGET))


async def test_a_rumor_needs_the_right_of_its_origin_too() -> None:
    policy = {"deny": {"node:*": ["local/probe/change"]}}
    async with (
        open_keyed(config(join=[])) as entry,
        open_keyed(config(join=[str(entry.address)], policy=policy)) as far,
    ):
        await wait_until(lambda: far.sid in entry.all.members() and entry.sid in far.all.members())
        SEEN.clear()
        await request(entry, "/all/gossip/send", json.dumps([[], TARGET]), bearer=token())
        await entry.all.gossip.send([], Remote(**TARGET))  # type: ignore[arg-type]
        await wait_until(lambda: far.statistics().calls_refused == 2)
        assert {sid for sid, _ in SEEN} == {entry.sid}
