"""The topics of groups, methods, periodic tasks and rumors, gathered from real nodes in virtual time."""

from __future__ import annotations

import itertools
import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.clusters import COUNT, Cluster, open_cluster
from trionet import KeyDoesNotExist, Node, NodeAddress, NodeConfig, Spread, Template, open_node, rpc
from trionet.dashboard.looked_at import LookedAt
from trionet.dashboard.topics import TOPICS
from trionet.dashboard.topics.asking import Turns, cut
from trionet.dashboard.topics.followed import MOST_ASKED, Followed
from trionet.dashboard.topics.groups import differences

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from trio.testing import MockClock


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


class Watched:
    """One topic of a node, as a viewer sees it."""

    def __init__(self, node: Node, name: str, **looked_at: Any) -> None:
        self.topic = TOPICS[name](node)
        self.looked_at = LookedAt(topics=(name,), **looked_at)

    async def see(self, times: int = 1) -> dict[str, Any]:
        """Gather some times, once a second, and return the last document, which is plain JSON without nulls."""
        for _ in range(times):
            with trio.fail_after(1):
                document = await self.topic.gather(self.looked_at)
            await trio.sleep(1)
        found = self.topic.view(document, self.looked_at)
        assert found is not None
        assert "null" not in json.dumps(found).replace('"null"', "").replace(" null", "")
        return found


# ---------------------------------------------------------------------------------------------------- groups


async def test_groups_show_where_others_hold_something_else(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(5)
    here, lacking, having, absent, _ = nodes
    await here.all.groups.put("kitchen", [node.address for node in nodes[:3]])
    await lacking.local.groups.rem("kitchen", nodes[2].sid)
    await having.local.groups.add("kitchen", nodes[4].address)
    await absent.local.groups.del_("kitchen")
    await absent.local.groups.put("theirs", where={})
    found = await Watched(here, "groups").see(3)
    assert found["all"]["views"] == {}
    assert found["all"]["same"] == 5
    kitchen = found["kitchen"]
    assert (kitchen["here"], kitchen["size"], kitchen["same"]) == (True, 3, 2)
    assert kitchen["views"] == {
        lacking.sid: {"kind": "differs", "lacks": 1, "lacking": [nodes[2].sid]},
        having.sid: {"kind": "differs", "has": 1, "having": [nodes[4].sid]},
        absent.sid: {"kind": "absent"},
    }
    assert (found["theirs"]["here"], found["theirs"]["where"]) == (False, "every member")
    assert found["theirs"]["views"] == {absent.sid: {"kind": "extra", "size": 5}}
    assert "local" not in found


async def test_groups_agree_again_once_they_do(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.groups.put("kitchen", [node.address for node in nodes])
    await nodes[1].local.groups.rem("kitchen", nodes[2].sid)
    watched = Watched(nodes[0], "groups")
    assert set((await watched.see(3))["kitchen"]["views"]) == {nodes[1].sid}
    await nodes[1].local.groups.add("kitchen", nodes[2].address)
    assert (await watched.see(3))["kitchen"]["views"] == {}


async def test_rules_subsets_and_templates_are_told(autojump_clock: MockClock, cluster: Cluster) -> None:
    (node,) = await cluster.start_many(
        1, tags={"role": "worker"}, templates={"mine": "tests.dashboard.test_acts_topics:Mine"}
    )
    await node.local.groups.put("workers", where={"role": "worker"}, subset=2)
    found = (await Watched(node, "groups").see())["workers"]
    assert (found["where"], found["subset"], found["templates"]) == ("role=worker", "2", ["mine"])


class Mine(Template):
    """A user's group-wide service."""

    @rpc
    async def go(self) -> None: ...


async def test_a_member_that_hangs_delays_nobody(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    cluster.network.hanging.add(nodes[2].address)
    found = await Watched(nodes[0], "groups").see(2)
    assert found["all"]["same"] == 2


def test_groups_differ_by_members_rule_and_subset() -> None:
    own = {"members": {"a": "1", "b": "2"}, "where": None, "subset": None}
    assert differences(own, dict(own)) == {}
    assert differences(own, own | {"where": {"x": "1"}}) == {"kind": "differs", "where": "x=1"}
    assert differences(own, own | {"subset": 3}) == {"kind": "differs", "subset": "3"}
    assert differences(None, own) == {"kind": "extra", "size": 2}
    many = {f"{i:010x}": "1" for i in range(1000)}
    found = differences(own, own | {"members": many})
    assert (found["lacks"], found["has"], len(found["having"])) == (2, 1000, 8)


def test_each_member_is_asked_in_turn() -> None:
    turns, sids = Turns(3, 2.0), [f"{i}" for i in range(7)]
    asked = [turns.next(sids, now) for now in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)]
    assert [len(one) for one in asked] == [3, 3, 1, 0, 3, 3]
    assert sorted(sid for one in asked[:3] for sid in one) == sids
    assert turns.next([], 3.0) == []
    assert len(turns.next(sids, 9.0)) == 3


# ---------------------------------------------------------------------------------------------------- methods, tasks


async def test_the_methods_of_a_node_and_of_its_groups(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(2)
    own = await Watched(nodes[0], "services").see()
    other = await Watched(nodes[0], "services", nodes=(nodes[1].sid,)).see()
    assert (own["node"], other["node"]) == (nodes[0].sid, nodes[1].sid)
    for found in (own, other):
        count = found["local"]["counter"]["count"]
        assert count["parameters"] == [
            {"name": "note", "kind": "either", "type": "json", "annotation": "Any", "default": "null"}
        ]
        assert (count["origin"], count["scope"], count["is_read"]) == ("put", "call", False)
        assert found["local"]["status"]["stop"]["scope"] == "admin"
        assert found["local"]["kept"]["keep"]["scope"] == "none"
        assert found["group"]["comm"]["send"]["scope"] == "call"
        assert found["group"]["comm"]["stream"]["is_stream"]


async def test_methods_that_come_and_go_are_seen_and_the_others_are_told_once(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    watched = Watched(nodes[0], "services", nodes=(nodes[1].sid,))
    assert "more" not in (await watched.see())["local"]
    told = nodes[1].local.inspection.methods()
    assert nodes[1].local.inspection.methods("local", told["version"]) == {"version": told["version"]}
    await nodes[1].local.routes.put({"go": print}, "more")
    assert "go" in (await watched.see(4))["local"]["more"]
    await nodes[1].local.routes.rem("more")
    found = await watched.see(4)
    assert "more" not in found["local"]
    assert "counter" in found["local"]


async def test_a_node_that_is_gone_has_no_methods(autojump_clock: MockClock, cluster: Cluster) -> None:
    (node,) = await cluster.start_many(1)
    found = await Watched(node, "services", nodes=("0123456789",)).see()
    assert (found["error"], found["local"]) == ("it is no present member", {})


async def test_the_periodic_tasks_of_all_members(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    task = await nodes[1].all.gossip.at(0.5, ([], COUNT))
    watched = Watched(nodes[0], "tasks")
    found = await watched.see(4)
    assert {key: (one["node"], one["gid"], one["what"], one["interval_s"]) for key, one in found.items()} == {
        task: (nodes[1].sid, "all", "gossip counter/count", 0.5)
    }
    assert found[task]["runs"] > 0
    await nodes[0].local.gossip.del_(task)
    assert await watched.see(3) == {}


# ---------------------------------------------------------------------------------------------------- rumors


async def test_a_rumor_is_followed_to_the_last_member(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(8)
    receipt = await nodes[0].all.gossip.send([], COUNT)
    name = f"all:{receipt.id}"
    found = (await Watched(nodes[0], "rumor", rumors=(name,)).see(4))["followed"][name]
    assert found["done"]
    assert set(found["members"]) == {node.sid for node in nodes}
    assert (found["size"], found["asked"], found["lacking"], found["errors"]) == (8, 8, {}, {})
    assert found["members"][nodes[0].sid] == {
        "ms": 0,
        "way": "sent",
        "copies": found["members"][nodes[0].sid]["copies"],
    }
    assert found["last_ms"] == max(one["ms"] for one in found["members"].values()) > 0
    assert found["copies"] == sum(one["copies"] for one in found["members"].values())
    assert found["duplicates"] == found["copies"] - 7
    assert (found["known"], found["estimate"]) == (8, 8)
    assert found["what"] == "counter/count"


async def test_a_rumor_of_another_node_is_followed_too(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    receipt = await nodes[2].all.gossip.send([], COUNT)
    await cluster.wait_totals(nodes, 1)
    name = f"all:{receipt.id}"
    found = await Watched(nodes[0], "rumor", rumors=(name,)).see(2)
    assert found["followed"][name]["done"]
    assert "known" not in found["followed"][name]
    assert "error" not in found["followed"][name]
    assert found["latest"][receipt.id]["origin"] == str(nodes[2].address)


async def test_a_member_that_hangs_is_shown_as_one_that_does_not_answer(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    receipt = await nodes[0].all.gossip.send([], COUNT)
    cluster.network.hanging.add(nodes[3].address)
    name = f"all:{receipt.id}"
    found = (await Watched(nodes[0], "rumor", rumors=(name,)).see(2))["followed"][name]
    assert set(found["errors"]) == {nodes[3].sid}
    assert not found["done"]


@pytest.mark.parametrize("name", ["all:00", "all:zz", "nobody:00", ":", "a:b:c"])
async def test_what_is_no_rumor_is_followed_without_harm(
    autojump_clock: MockClock, cluster: Cluster, name: str
) -> None:
    (node,) = await cluster.start_many(1)
    found = (await Watched(node, "rumor", rumors=(name,)).see(2))["followed"][name]
    assert found["members"] == {}
    assert not found["done"]


async def test_one_who_follows_nothing_sees_the_latest_alone() -> None:
    async with open_node(NodeConfig(datagrams=False)) as node:
        topic = TOPICS["rumor"](node)
        looked_at = LookedAt(topics=("rumor",))
        assert topic.view(await topic.gather(looked_at), looked_at) == {"latest": {}, "followed": {}}


def answer(**more: Any) -> dict[str, Any]:
    return {"way": "push", "age_s": 0.002, "copies": 2, "source": "127.0.0.1:1", "since_s": 1.0} | more


def followed(size: int) -> Followed:
    found = Followed("g", "00")
    members = {f"{i:010x}": NodeAddress("127.0.0.1", 1 + i) for i in range(size)}
    assert found.is_due(0.0)
    found.note_members(members, f"{0:010x}", Random(1))
    return found


def test_of_a_large_group_a_sample_is_asked_that_stays_the_same() -> None:
    one = followed(1000)
    asked = one.to_ask()
    assert len(set(asked)) == MOST_ASKED
    assert asked[0] == f"{0:010x}"
    one.note_members(
        {sid: NodeAddress("127.0.0.1", 1) for sid in asked[:100]}
        | {f"x{i}": NodeAddress("127.0.0.1", 1) for i in range(900)},
        "x",
        Random(2),
    )
    assert one.to_ask()[:100] == asked[:100]
    assert one.document()["is_sampled"]


def test_one_asks_often_while_something_changes_then_seldom_and_at_last_no_more() -> None:
    one = followed(3)
    one.note_arrivals({"a": answer()}, 100.0, 0.0)
    due = [now for now in range(1, 200) if one.is_due(float(now))]
    assert due[:3] == [1, 2, 3]
    assert all(later - earlier == 5 for earlier, later in itertools.pairwise(due[3:]))
    assert max(due) <= 120


ODD: Iterable[Any] = [
    None,
    5,
    "x",
    [],
    {},
    {"way": 1},
    {"way": "walk"},
    {"way": "push"},
    answer(age_s="x", copies=None, source=7),
]


def test_what_a_peer_says_is_bounded() -> None:
    one = followed(3)
    odd = {f"{i}": said for i, said in enumerate(ODD)}
    large = answer(
        age_s=1e300, copies=10**30, source="x" * 1000, origin="y" * 10_000, service="z" * 10_000, since_s=float("nan")
    )
    one.note_arrivals(odd | {"large": large, "nan": answer(age_s=float("nan"), copies=float("inf"))}, 100.0, 0.0)
    one.note_errors({"e": cut("long" * 1000)})
    text = json.dumps(one.document(), allow_nan=False)
    assert len(text) < 3000
    found = one.document()["members"]
    assert set(found) == {"7", "8", "large", "nan"}
    assert found["large"]["ms"] == 1e9
    assert "from" not in found["large"]


def test_a_rumor_that_expires_keeps_its_picture() -> None:
    one = followed(2)
    one.note_arrivals({f"{0:010x}": answer(way="sent", source="", copies=0), f"{1:010x}": answer()}, 100.0, 0.0)
    before = one.document()
    one.note_arrivals({f"{0:010x}": {}, f"{1:010x}": {}}, 200.0, 90.0)
    one.note_failure(KeyDoesNotExist("gone"))
    assert one.document() == before
    one.note_spread(Spread(known=2, members=2, estimate=2.0))
    assert one.document()["known"] == 2
