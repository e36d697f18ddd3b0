"""Groups by rule that a group keeps: each member puts the rule, and members that come later do, too."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.clusters import Cluster, open_cluster, take
from trionet import (
    CodeRefused,
    ConfigError,
    GroupFailed,
    MalformedRequest,
    Member,
    Node,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

LATE_S = 2.0
WORKER = {"role": "worker"}


def is_worker(member: Member) -> bool:
    return member.tags.get("role") == "worker"


async def is_slow(member: Member) -> bool:
    await trio.lowlevel.checkpoint()
    return True


RULE = f"{__name__}:is_worker"


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


async def _start(cluster: Cluster) -> list[Node]:
    """Start a cluster of two workers between two others."""
    nodes = [await cluster.start(tags=WORKER if place in (1, 2) else {}) for place in range(4)]
    await cluster.wait_members(nodes)
    return nodes


def _members(node: Node, gid: str = "workers") -> set[str] | None:
    return set(node.group(gid).members()) if gid in node.local.groups.gids() else None


def _sids(*nodes: Node) -> set[str]:
    return {node.sid for node in nodes}


async def _wait_members(nodes: list[Node], expected: set[str] | None, within_s: float = LATE_S) -> None:
    with trio.fail_after(within_s):
        while any(_members(node) != expected for node in nodes):  # noqa: ASYNC110  there is no event for it
            await trio.sleep(0.01)


async def _rest() -> None:
    await trio.sleep(15)


@pytest.mark.parametrize("where", [WORKER, is_worker, RULE], ids=["tags", "function", "import path"])
async def test_every_member_has_it_at_once_and_those_that_join_later_within_two_seconds(
    autojump_clock: MockClock, cluster: Cluster, where: Any
) -> None:
    nodes = await _start(cluster)
    replies = await nodes[0].all.groups.put("workers", where=where)
    assert replies.errors == {}
    assert {tuple(value) for value in replies.values.values()} == {tuple(sorted(_sids(*nodes[1:3])))}
    assert [_members(node) for node in nodes] == [_sids(*nodes[1:3])] * 4
    late = await cluster.start(tags=WORKER)
    await _wait_members([*nodes, late], _sids(*nodes[1:3], late))
    await nodes[0].set_tags(WORKER)
    await _wait_members([*nodes, late], _sids(*nodes[:3], late))


async def test_a_restarted_node_has_it_again(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("workers", where=WORKER)
    cluster.kill(nodes[2])
    await cluster.wait_members([*nodes[:2], nodes[3]])
    await _wait_members([nodes[0], nodes[1], nodes[3]], _sids(nodes[1]))
    cluster.network.dark.discard(nodes[2].address)
    again = await cluster.start(port=nodes[2].address.port, join=[str(nodes[0].address)], tags=WORKER)
    await _wait_members([nodes[0], nodes[1], nodes[3], again], _sids(nodes[1], again))


async def test_del_removes_it_everywhere_and_those_that_join_later_do_not_have_it(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("workers", where=WORKER)
    replies = await nodes[3].all.groups.del_("workers")
    assert len(replies.values) == 4
    late = await cluster.start(tags=WORKER)
    await _rest()
    assert [_members(node) for node in (*nodes, late)] == [None] * 5


async def test_a_del_that_waits_for_a_member_does_not_end_what_another_node_puts_meanwhile(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.groups.put("g", where={})
    cluster.network.down.add(nodes[2].address)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nodes[0].all.groups.del_, "g")
        await trio.sleep(0.5)
        nursery.start_soon(partial(nodes[1].all.groups.put, "g", where={"role": "none"}))
    assert [node.local.groups.gids() for node in nodes[:2]] == [["all", "g", "local"]] * 2


async def test_a_listed_put_over_it_ends_the_rule_everywhere(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("workers", where=WORKER)
    await nodes[1].all.groups.put("workers", [nodes[0]])
    late = await cluster.start(tags=WORKER)
    await _rest()
    assert [_members(node) for node in nodes] == [_sids(nodes[0])] * 4
    assert _members(late) is None


async def test_a_rule_over_a_listed_group_takes_its_place_everywhere(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("workers", [nodes[0]])
    assert (await nodes[1].all.groups.put("workers", where=WORKER)).errors == {}
    assert [_members(node) for node in nodes] == [_sids(*nodes[1:3])] * 4


async def test_a_member_that_could_not_be_reached_loses_it_later_and_not_what_it_has_put_since(
    autojump_clock: MockClock,
    cluster: Cluster,
) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("workers", where=WORKER)
    cluster.network.sides = [{node.address for node in nodes[:2]}, {node.address for node in nodes[2:]}]
    await cluster.wait_members(nodes[:2])
    await cluster.wait_members(nodes[2:])
    await nodes[3].local.groups.put("workers", [nodes[3]])
    await nodes[0].all.groups.del_("workers")
    assert [_members(node) for node in nodes] == [None, None, _sids(nodes[2]), _sids(nodes[3])]
    cluster.network.sides = []
    await cluster.wait_members(nodes)
    await _wait_members(nodes[:3], None, 30)
    await _rest()
    assert _members(nodes[3]) == _sids(nodes[3])


async def test_a_group_of_its_own_stays_on_a_node_that_comes_later_until_the_rule_is_put_again(
    autojump_clock: MockClock,
    cluster: Cluster,
) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("workers", where=WORKER)
    late = await cluster.start(tags=WORKER)
    await late.local.groups.put("workers", [late])
    await _rest()
    assert _members(late) == _sids(late)
    await nodes[0].all.groups.put("workers", where=WORKER)
    assert _members(late) == _sids(*nodes[1:3], late)


async def test_a_caller_outside_the_group_has_it_too(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("some", nodes[1:3])
    replies = await nodes[0].group("some").groups.put("workers", where=WORKER)
    assert set(replies.values) == _sids(*nodes[1:3])
    assert [_members(node) for node in nodes] == [_sids(*nodes[1:3])] * 3 + [None]
    await nodes[0].group("some").groups.del_("workers")
    assert [_members(node) for node in nodes] == [None] * 4


async def test_a_rule_keeps_services_for_the_members_that_come_later(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("workers", where=WORKER)
    await nodes[0].group("workers").routes.put("tests.samples:Counter", "tally", keep=True)
    late = await cluster.start(tags=WORKER)
    with trio.fail_after(LATE_S):
        await late.local.routes.wait("tally")
    await nodes[3].set_tags(WORKER)
    with trio.fail_after(LATE_S):
        await nodes[3].local.routes.wait("tally")


async def test_a_group_can_not_keep_its_own_rule(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("workers", nodes)
    with pytest.raises(MalformedRequest, match=r"can't keep its own rule.*node\.all\.groups\.put\('workers', where="):
        await nodes[0].group("workers").groups.put("workers", where=WORKER)
    assert [_members(node) for node in nodes] == [_sids(*nodes)] * 4


async def test_groups_that_keep_each_other_end_with_each_other(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("workers", nodes)
    await nodes[0].group("workers").groups.put("everyone", where={})
    await nodes[0].group("everyone").groups.put("workers", where=WORKER)
    await _rest()
    assert [_members(node) for node in nodes[1:3]] == [_sids(*nodes[1:3])] * 2
    await nodes[1].group("everyone").groups.del_("workers")
    await _rest()
    assert [(_members(node), _members(node, "everyone")) for node in nodes[1:3]] == [(None, None)] * 2


async def test_a_rule_that_a_late_node_cannot_import_is_an_event_and_a_line_of_its_log(
    autojump_clock: MockClock, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = await _start(cluster)
    await nodes[0].all.groups.put("workers", where=is_worker)
    monkeypatch.delattr(f"{__name__}.is_worker")
    late = await cluster.start(tags=WORKER)
    *_, event = await take(late.events(), lambda event: isinstance(event, GroupFailed))
    assert isinstance(event, GroupFailed)
    assert (event.node, event.gid, event.group) == (late.address, "all", "workers")
    assert "has no 'is_worker'" in event.error
    assert "group/workers, which the group all keeps, can't be put here" in caplog.text
    await cluster.wait_members([*nodes, late])


@pytest.mark.parametrize(
    ("gid", "arguments", "kind", "reason"),
    [
        ("workers", {"where": lambda member: True}, CodeRefused, "import path"),
        ("workers", {"where": 5}, MalformedRequest, "where"),
        ("workers", {"where": {"role": 1}}, MalformedRequest, "tags are texts"),
        ("workers", {"where": "tests.nowhere:rule"}, MalformedRequest, "can't import"),
        ("workers", {"where": is_slow}, MalformedRequest, "async"),
        ("workers", {"where": {}, "nodes": []}, MalformedRequest, "give one"),
        ("workers", {}, MalformedRequest, "give one"),
        ("workers", {"where": {}, "subset": "x"}, MalformedRequest, "subset"),
        ("all", {"where": {}}, MalformedRequest, "can't be put"),
        ("a b", {"where": {}}, MalformedRequest, "gid"),
        (5, {"where": {}}, MalformedRequest, "gid"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_what_can_not_be_kept_is_refused_before_anything_is_sent(
    autojump_clock: MockClock, cluster: Cluster, gid: Any, arguments: dict[str, Any], kind: type[Exception], reason: str
) -> None:
    nodes = await _start(cluster)
    with pytest.raises(kind, match=reason):
        await nodes[0].all.groups.put(gid, **arguments)
    await _rest()
    assert [node.local.replicated.items("all", "") for node in nodes] == [{}] * len(nodes)
    assert _members(nodes[0]) is None


async def test_a_node_without_a_cluster_is_told_how_to_begin_one(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=None)
    with pytest.raises(ConfigError, match=r"belongs to no cluster: start it with join=\[\]"):
        await node.all.groups.put("workers", where=WORKER)
    assert _members(node) is None
