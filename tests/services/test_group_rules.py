"""Groups by rule on one node: in virtual time the cluster changes, and the groups with it."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.clusters import Cluster, open_cluster
from tests.samples import COLLIDING, is_worker, is_worker_later
from tests.waiting import wait_until
from trionet import (
    ConfigError,
    EncodeError,
    GroupDescription,
    GroupNotFound,
    MalformedRequest,
    Member,
    MemberFailed,
    NodeAddress,
    NodeConfig,
    Remote,
)
from trionet.services.group_rules import checked_rule
from trionet.services.groups import Groups

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio.testing import MockClock

    from trionet import Node

    StartNode = Callable[..., Awaitable[Node]]

WORKER = {"role": "worker"}
RULES: list[Any] = [WORKER, is_worker, "tests.samples:is_worker", lambda member: member.tags.get("role") == "worker"]
RULE_NAMES = ["tags", "function", "path", "lambda"]


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


def _sids(*nodes: Node) -> list[str]:
    return sorted(node.sid for node in nodes)


def _held(node: Node, gid: str = "g") -> list[str]:
    return list(node.group(gid).members())


@pytest.mark.parametrize("where", RULES, ids=RULE_NAMES)
async def test_a_group_with_a_rule_holds_the_present_members_that_match(
    autojump_clock: MockClock, cluster: Cluster, where: Any
) -> None:
    watcher = await cluster.start(join=[])
    first = await cluster.start(tags=WORKER)
    await cluster.start(tags={"role": "other"})
    await wait_until(lambda: len(watcher.members()) == 3)
    assert list(await watcher.local.groups.put("g", where=where)) == _held(watcher) == _sids(first)
    second = await cluster.start(tags=WORKER | {"zone": "a"})
    await wait_until(lambda: _held(watcher) == _sids(first, second))
    await second.set_tags({"zone": "a"})
    await wait_until(lambda: _held(watcher) == _sids(first))
    await second.set_tags(WORKER)
    await wait_until(lambda: _held(watcher) == _sids(first, second))
    cluster.kill(first)
    await wait_until(lambda: _held(watcher) == _sids(second))
    await second.leave()
    await wait_until(lambda: _held(watcher) == [])
    await second.join([watcher])
    await wait_until(lambda: _held(watcher) == _sids(second))


async def test_a_node_is_in_its_own_group_by_its_own_tags(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=[], tags=WORKER)
    assert list(await node.local.groups.put("g", where=WORKER)) == [node.sid]
    await node.set_tags({})
    assert _held(node) == []
    await node.set_tags(WORKER)
    assert _held(node) == [node.sid]


async def test_an_empty_rule_matches_every_member(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    assert list(await nodes[0].local.groups.put("g", where={})) == _sids(*nodes)
    late = await cluster.start()
    await wait_until(lambda: _held(nodes[0]) == _sids(*nodes, late))


async def test_after_leaving_a_node_is_alone_in_its_groups_and_after_joining_again_with_the_others(
    autojump_clock: MockClock,
    cluster: Cluster,
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].local.groups.put("g", where={})
    await nodes[0].leave()
    assert _held(nodes[0]) == [nodes[0].sid]
    with pytest.raises(ConfigError, match="no cluster"):
        await nodes[0].local.groups.put("h", where={})
    await nodes[0].join([nodes[1]])
    await wait_until(lambda: _held(nodes[0]) == _sids(*nodes))


async def test_a_member_that_returns_or_starts_again_is_in_the_group_again(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].local.groups.put("g", where={})
    cluster.network.down.add(nodes[2].address)
    await wait_until(lambda: _held(nodes[0]) == _sids(*nodes[:2]))
    cluster.network.down.clear()
    await wait_until(lambda: _held(nodes[0]) == _sids(*nodes))
    address = nodes[2].address
    cluster.kill(nodes[2])
    await wait_until(lambda: address not in cluster.network.endpoints)
    seeds = [str(nodes[0].address)]
    again = await cluster.start(NodeConfig(ip=address.ip, port=address.port, join=seeds))
    await wait_until(lambda: _held(nodes[0]) == _sids(nodes[0], nodes[1], again))


async def test_a_node_without_a_cluster_is_told_what_to_do(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=None)
    with pytest.raises(ConfigError, match=r"belongs to no cluster: start it with join=\[\]"):
        await node.local.groups.put("g", where=WORKER)
    assert node.local.groups.gids() == ["all", "local"]


async def test_a_node_that_others_have_joined_belongs_to_their_cluster(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    node = await cluster.start(join=None)
    other = await cluster.start(join=[str(node.address)], tags=WORKER)
    await wait_until(lambda: len(node.members()) == 2)
    assert list(await node.local.groups.put("g", where=WORKER)) == [other.sid]


async def test_add_and_rem_are_refused_because_the_rule_decides(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=[], tags=WORKER)
    await node.local.groups.put("g", where=WORKER)
    for change in (node.local.groups.add("g", NodeAddress("10.0.0.1", 1)), node.local.groups.rem("g", node.sid)):
        with pytest.raises(MalformedRequest, match=r"the rule .*worker.* decides .*'g'.*change the tags"):
            await change
    assert _held(node) == [node.sid]
    assert list(node.all.members()) == [node.sid]


async def test_a_put_replaces_a_rule_by_a_list_and_a_list_by_a_rule(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    groups = nodes[0].local.groups
    await groups.put("g", [nodes[1]])
    handle = nodes[0].group("g")
    await groups.put("g", where={}, subset=1)
    assert list(handle.members()) == _sids(*nodes)
    assert groups.subset("g") == 1
    await groups.put("g", [nodes[0]])
    await cluster.start()
    await wait_until(lambda: len(nodes[0].members()) == 3)
    assert list(handle.members()) == [nodes[0].sid]
    await groups.add("g", nodes[1].address)
    assert list(handle.members()) == _sids(*nodes)


async def test_a_deleted_group_follows_nothing(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=[])
    await node.local.groups.put("g", where={})
    assert await node.local.groups.del_("g") == {node.sid: node.address}
    await cluster.start()
    await wait_until(lambda: len(node.members()) == 2)
    with pytest.raises(GroupNotFound):
        await node.local.groups.get("g")
    assert not node.local.groups.has_rules


async def test_a_function_that_raises_is_logged_matches_nobody_and_is_asked_again_at_the_next_change(
    autojump_clock: MockClock, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    def rule(member: Member) -> bool:
        if member.tags["role"] == "bad":
            raise SystemExit(3)
        return True

    node = await cluster.start(join=[], tags={"role": "good"})
    others = [await cluster.start(tags=tags) for tags in ({"role": "bad"}, {}, WORKER)]
    await cluster.wait_members([node], [node, *others])
    with caplog.at_level(logging.WARNING, "trionet.services.group_rules"):
        await node.local.groups.put("g", where=rule)
    assert _held(node) == _sids(node, others[2])
    assert caplog.text.count("the rule of group g failed for the member") == 2
    assert "KeyError" in caplog.text
    await others[0].set_tags({"role": "good"})
    await others[1].set_tags(WORKER)
    await wait_until(lambda: _held(node) == _sids(node, *others))
    await others[2].set_tags({"role": "bad"})
    await wait_until(lambda: _held(node) == _sids(node, *others[:2]))


async def test_a_function_that_changes_what_it_is_given_changes_nothing_else(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    def rule(member: Member) -> bool:
        member.tags.clear()
        return True

    node = await cluster.start(join=[])
    await node.local.groups.put("f", where=rule)
    await node.local.groups.put("g", where=WORKER)
    other = await cluster.start(tags=WORKER)
    await wait_until(lambda: _held(node) == [other.sid])
    assert [member.tags for member in node.members() if member.sid == other.sid] == [WORKER]


async def test_a_function_may_return_anything_that_is_true_or_false_but_nothing_to_wait_for(
    autojump_clock: MockClock, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    node = await cluster.start(join=[], tags=WORKER)
    assert list(await node.local.groups.put("g", where=lambda member: member.tags.get("role"))) == [node.sid]
    assert await node.local.groups.put("g", where=lambda member: member.tags.get("zone")) == {}
    assert await node.local.groups.put("g", where=lambda member: _Matcher().later(member)) == {}
    assert "a rule gives True or False at once" in caplog.text


class _Matcher:
    def __call__(self, member: Member) -> bool:
        return is_worker(member)

    async def later(self, member: Member) -> bool:
        return is_worker(member)


class _Later:
    async def __call__(self, member: Member) -> bool:
        return is_worker(member)


async def test_an_object_that_can_be_called_with_a_member_is_a_function(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    node = await cluster.start(join=[], tags=WORKER)
    for where in (_Matcher(), _Matcher().__call__, functools.partial(lambda tag, member: tag in member.tags, "role")):
        await node.local.groups.del_("g") if "g" in node.local.groups.gids() else None
        assert list(await node.local.groups.put("g", where=where)) == [node.sid]


WRONG: list[Any] = [
    5,
    True,
    [("role", "worker")],
    {"a": 1},
    {1: "a"},
    {"a": None},
    {"a": ["b"]},
    "",
    "worker",
    "role=worker",
    "no.such.module:rule",
    "tests.samples:nothing_of_that_name",
    "tests.samples:COLLIDING",
    "tests.samples:Counter",
    "tests.samples:is_worker_later",
    is_worker_later,
    _Later(),
    _Matcher().later,
    functools.partial(is_worker_later),
    object(),
    _Matcher,
    bool,
    lambda: True,
    lambda one, other: True,
    lambda member: (yield member),
    asyncio.sleep,
    b"tests.samples:is_worker",
]


@pytest.mark.parametrize("where", WRONG)
async def test_what_is_no_rule_is_refused_and_nothing_changes(
    autojump_clock: MockClock, cluster: Cluster, where: Any
) -> None:
    node = await cluster.start(join=[], tags=WORKER)
    await node.local.groups.put("g", where={})
    with pytest.raises(MalformedRequest, match="where"):
        await node.local.groups.put("g", where=where)
    assert node.local.groups.gids() == ["all", "g", "local"]
    assert (await node.local.groups.describe("g")).where == {}


async def test_a_put_has_either_nodes_or_a_rule(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=[])
    for nodes, where in ((None, None), ([], {}), ([node], WORKER)):
        with pytest.raises(MalformedRequest, match=r"put\(gid, where=\{\.\.\.\}\): give one"):
            await node.local.groups.put("g", nodes, where=where)
    for gid in ("all", "local"):
        with pytest.raises(MalformedRequest, match=gid):
            await node.local.groups.put(gid, where={})
    with pytest.raises(MalformedRequest, match="subset"):
        await node.local.groups.put("g", where={}, subset=-1)
    assert node.local.groups.gids() == ["all", "local"]


async def test_a_group_describes_its_members_its_rule_and_its_subset(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    first = await cluster.start(join=[], tags=WORKER)
    groups, held = first.local.groups, {first.sid: first.address}
    for where, shown in ((WORKER, WORKER), (is_worker, "tests.samples:is_worker")):
        await groups.put("g", where=where, subset=2)
        assert await groups.describe("g") == GroupDescription(gid="g", members=held, where=shown, subset=2)
    await groups.put("g", where=lambda _: True, subset=lambda _: 1)
    described = await groups.describe("g")
    assert isinstance(described.where, str)
    assert isinstance(described.subset, str)
    assert "lambda" in described.where
    assert "lambda" in described.subset
    await groups.put("g", [first])
    assert await groups.describe("g") == GroupDescription(gid="g", members=held, where=None, subset=None)
    assert (await groups.describe("all")).where is None
    with pytest.raises(GroupNotFound):
        await groups.describe("h")


async def test_the_rule_of_a_caller_is_its_own_copy(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=[], tags=WORKER)
    where = dict(WORKER)
    await node.local.groups.put("g", where=where)
    where["role"] = "other"
    assert (await node.local.groups.describe("g")).where == WORKER
    await node.set_tags(WORKER | {"zone": "a"})
    assert _held(node) == [node.sid]


async def test_other_nodes_send_tags_or_import_paths_and_no_functions(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    first, second = await cluster.start_many(2, tags=WORKER)
    put = Remote(node=second.address, service="groups", method="put")
    for where in (WORKER, "tests.samples:is_worker"):
        stored = await first.local.comm.send(["g"], put, kwargs={"where": where})
        assert stored == {node.sid: node.address for node in sorted((first, second), key=lambda node: node.sid)}
    described = await first.local.comm.send(["g"], Remote(node=second.address, service="groups", method="describe"))
    assert described.where == "tests.samples:is_worker"
    with pytest.raises(EncodeError):
        await first.local.comm.send(["g"], put, kwargs={"where": is_worker})
    for wrong in WRONG[:5]:
        with pytest.raises(MalformedRequest, match="where"):
            await first.local.comm.send(["g"], put, kwargs={"where": wrong})


async def test_gossip_calls_and_scopes_work_as_in_any_group(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4, tags=WORKER)
    for node in nodes:
        await node.local.groups.put("g", where=WORKER)
    group = nodes[0].group("g")
    replies = await group.comm.send([], Remote(service="counter", method="total"))
    assert replies.values == dict.fromkeys(_sids(*nodes), 0)
    receipt = await group.gossip.send([], Remote(service="counter", method="count"))
    await cluster.wait_totals(nodes, 1)
    assert (await receipt.wait_spread(1.0)).known == 4
    late = await cluster.start(tags=WORKER)
    await late.local.groups.put("g", where=WORKER)
    await wait_until(lambda: len(_held(nodes[0])) == 5)
    await group.gossip.send([], Remote(service="counter", method="count"))
    await wait_until(lambda: cluster.totals([late]) == [1])
    with trio.fail_after(60):
        async with group.member(late.sid) as scope:
            cluster.kill(late)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert late.sid not in _held(nodes[0])


async def test_an_event_about_a_member_comes_when_the_group_has_already_changed(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    node = await cluster.start(join=[])
    await node.local.groups.put("g", where=WORKER)
    seen: list[tuple[str, bool]] = []
    node.listen(lambda event: seen.append((type(event).__name__, event.sid in _held(node))))
    other = await cluster.start(tags=WORKER)
    await wait_until(lambda: ("MemberJoined", True) in seen)
    await other.set_tags({})
    await wait_until(lambda: ("MemberUpdated", False) in seen)
    await other.set_tags(WORKER)
    await wait_until(lambda: ("MemberUpdated", True) in seen)
    cluster.kill(other)
    await wait_until(lambda: (MemberFailed.__name__, False) in seen)


async def test_a_node_spawned_in_a_group_with_a_rule_has_the_group_and_is_in_it_by_its_tags(
    start_node: StartNode,
) -> None:
    node = await start_node(NodeConfig(join=[]))
    await node.local.groups.put("g", where=WORKER, subset=1)
    address = await node.group("g").status.spawn(NodeConfig(tags=WORKER, launcher="in_process"))
    await wait_until(lambda: _held(node) == [address.sid])
    describe = Remote(node=address, service="groups", method="describe")
    held = await node.local.comm.send(["g"], describe)
    assert (held.where, list(held.members), held.subset) == (WORKER, [address.sid], 1)
    await node.group("g").status.spawn(NodeConfig(launcher="in_process"))
    await wait_until(lambda: len(node.members()) == 3)
    assert _held(node) == [address.sid]


async def test_a_rule_that_cannot_travel_is_logged_when_a_node_is_spawned_in_its_group(
    start_node: StartNode, caplog: pytest.LogCaptureFixture
) -> None:
    node = await start_node(NodeConfig(join=[]))
    await node.local.groups.put("g", where=lambda _: True)
    address = await node.group("g").status.spawn(NodeConfig(launcher="in_process"))
    await wait_until(lambda: _held(node) == sorted([node.sid, address.sid]))
    assert "the rule of g has no import path" in caplog.text
    with pytest.raises(GroupNotFound):
        await node.local.comm.send(["g"], Remote(node=address, service="groups", method="get"))


async def test_a_rule_is_put_over_http_as_a_query_parameter(start_node: StartNode) -> None:
    node = await start_node(NodeConfig(join=[], tags=WORKER))
    url = f"http://{node.address}/local/groups/"
    async with httpx.AsyncClient() as client:

        async def put(**params: str) -> httpx.Response:
            return await client.put(f"{url}put", params=params, content='["g"]')

        answer = await put(where=json.dumps(WORKER))
        assert list(answer.json()["value"]) == [node.sid]
        assert list((await put(where="tests.samples:is_worker")).json()["value"]) == [node.sid]
        shown = (await client.put(f"{url}describe", content='["g"]')).json()["value"]["$type"]
        assert shown[0] == "trionet:GroupDescription"
        assert shown[1]["where"] == "tests.samples:is_worker"
        assert "g" in node.local.groups.gids()
        for wrong in ("5", '{"a": 1}', "[]", "true", '"role"', "no:function", '"tests.samples:is_worker_later"'):
            answer = await put(where=wrong)
            assert answer.status_code == 400, wrong
            assert "where" in answer.text
        assert (await put()).status_code == 400
        assert (await node.local.groups.describe("g")).where == "tests.samples:is_worker"


class _Observer:
    """Knows the members of a cluster in which two addresses have one SID."""

    def group_added(self, gid: str) -> None: ...

    def group_changed(self, gid: str) -> None: ...

    def group_removed(self, gid: str) -> None: ...

    def cluster_members(self) -> list[Member]:
        nodes = (NodeAddress("127.0.0.1", 8080), *COLLIDING)
        return [Member(node=node, status="alive", incarnation=0, tags={}) for node in nodes]


async def test_of_two_members_with_one_sid_the_one_in_all_is_in_the_group() -> None:
    groups = Groups(NodeAddress("127.0.0.1", 8080), _Observer())
    groups.admit(COLLIDING[0])
    assert COLLIDING[0] in (await groups.put("g", where={})).values()
    groups.judge(Member(node=COLLIDING[1], status="alive", incarnation=0, tags={}))
    assert COLLIDING[1] not in groups.members("g").values()


def test_a_rule_that_raises_for_interrupts_ends_the_program() -> None:
    def interrupted(_: Member) -> bool:
        raise KeyboardInterrupt

    member = Member(node=NodeAddress("127.0.0.1", 1), status="alive", incarnation=0, tags={})
    with pytest.raises(KeyboardInterrupt):
        checked_rule(interrupted).is_match("g", member)
