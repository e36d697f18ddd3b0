"""Membership of nodes, in virtual time: joining, leaving, failing, returning, and what is told of it."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.clusters import COUNT, Cluster, changes, open_cluster, take
from tests.samples import COLLIDING
from tests.waiting import wait_until
from trionet import (
    ConfigError,
    MalformedRequest,
    Member,
    MemberEvent,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberSuspected,
    MemberUpdated,
    Node,
    NodeAddress,
    NodeConfig,
    Remote,
    TemporarilyUnavailable,
)
from trionet.codec import JSON, MESSAGEPACK

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock


NOBODY = ["127.0.0.1:9998", "127.0.0.1:9999"]
SEED_PORT = 777


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What host names stand for; the test may change it."""
    known: dict[str, list[str]] = {}

    async def getaddrinfo(name: bytes, port: int, **_: Any) -> list[Any]:
        await trio.lowlevel.checkpoint()
        host = name.decode()
        if host.replace(".", "").isdigit():
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in known[host]]

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    return known


def _is(kind: type[MemberEvent], node: Node) -> Any:
    return lambda event: isinstance(event, kind) and event.sid == node.sid


# -------------------------------------------------------------------------------------------------------------- joining


async def test_a_node_without_a_cluster_is_its_only_member(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=None, tags={"zone": "a"})
    assert node.members() == [Member(node=node.address, status="alive", incarnation=0, tags={"zone": "a"})]
    assert list(node.all.members()) == [node.sid]


async def test_nodes_that_join_one_seed_see_all_of_them(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(8)
    expected = {node.sid: node.address for node in sorted(nodes, key=lambda node: node.sid)}
    assert all({member.sid: member.node for member in node.members()} == expected for node in nodes)
    assert all(node.all.members() == expected for node in nodes)
    assert all(member.status == "alive" for member in nodes[0].members())


async def test_a_node_is_in_the_cluster_once_it_has_booted(autojump_clock: MockClock, cluster: Cluster) -> None:
    seen: list[int] = []
    first = await cluster.start(join=[])

    def look(node: Node) -> None:
        seen.append(len(node.members()))

    await cluster.start(NodeConfig(join=[str(first.address)], on_start=look))
    assert seen == [2]


async def test_one_good_seed_among_unreachable_ones_is_enough(autojump_clock: MockClock, cluster: Cluster) -> None:
    first, second = await cluster.start(join=[]), await cluster.start(join=None)
    await second.join([*NOBODY, first])
    await cluster.wait_members([first, second])


async def test_join_takes_addresses_in_any_form(autojump_clock: MockClock, cluster: Cluster) -> None:
    first = await cluster.start(join=[])
    address = first.address
    for seed in (first, address, str(address), {"ip": address.ip, "port": address.port}):
        node = await cluster.start(join=None)
        await node.join([seed])
        await wait_until(lambda node=node: first.sid in node.all.members())  # type: ignore[misc]


async def test_join_is_tried_again_until_a_seed_comes_up(
    autojump_clock: MockClock, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    begun = trio.current_time()
    early = await cluster.start(join=[f"127.0.0.1:{SEED_PORT}", *NOBODY])
    assert trio.current_time() - begun == pytest.approx(5)  # it does not hold up the start for longer than this
    assert "this node goes on trying" in caplog.text
    await trio.sleep(100)
    assert len(early.members()) == 1
    seed = await cluster.start(join=[], port=SEED_PORT)
    await cluster.wait_members([seed, early])


async def test_join_waits_until_the_caller_gives_up(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=None)
    with trio.move_on_after(200) as scope:
        await node.join(NOBODY)
    assert scope.cancelled_caught
    assert len(node.members()) == 1


async def test_a_join_that_is_cancelled_does_not_happen_later(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=None)
    with trio.move_on_after(5):
        await node.join([f"127.0.0.1:{SEED_PORT}"])
    seed = await cluster.start(join=[], port=SEED_PORT)
    await trio.sleep(200)
    assert len(node.members()) == len(seed.members()) == 1
    assert not seed.all.members().keys() & {node.sid}


async def test_of_two_joins_one_that_is_cancelled_does_not_end_the_other(
    autojump_clock: MockClock, cluster: Cluster, nursery: trio.Nursery
) -> None:
    node = await cluster.start(join=None)
    nursery.start_soon(node.join, [f"127.0.0.1:{SEED_PORT}"])
    with trio.move_on_after(5):
        await node.join(NOBODY)
    seed = await cluster.start(join=[], port=SEED_PORT)
    await cluster.wait_members([node, seed])


async def test_joins_that_follow_one_another_do_not_ask_more_often(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=None)
    for _ in range(50):
        with trio.move_on_after(0.01):
            await node.join(NOBODY)
    asked: list[str] = []

    def note(message: Any, _: Any) -> None:
        asked.append(str(message.target))

    cluster.network.add_rules(note)
    with trio.move_on_after(60):
        await node.join(NOBODY)
    assert 10 <= len(asked) <= 60


async def test_leaving_and_stopping_end_a_join(autojump_clock: MockClock, cluster: Cluster) -> None:
    for name in ("leave", "stop"):
        node = await cluster.start(join=None)
        with pytest.RaisesGroup(TemporarilyUnavailable):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.join, NOBODY)
                await trio.sleep(5)
                if name == "leave":
                    await node.leave()
                else:
                    node.stop()
                await trio.sleep(5)
                nursery.cancel_scope.cancel()
        assert len(node.members()) == 1


async def test_a_node_that_still_seeks_its_seeds_may_leave(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=[f"127.0.0.1:{SEED_PORT}"])
    await node.leave()
    seed = await cluster.start(join=[], port=SEED_PORT)
    await trio.sleep(100)
    assert [member.node for member in seed.members()] == [seed.address]


async def test_a_node_that_has_stopped_neither_joins_nor_waits_for_others(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    node, other = await cluster.start_many(2)
    node.stop()
    await cluster.wait_members([other])
    await trio.sleep(5)
    with trio.fail_after(1), pytest.raises(TemporarilyUnavailable):
        await node.join([other])
    with trio.fail_after(1):
        await node.leave()


async def test_a_configuration_takes_seeds_in_any_form(autojump_clock: MockClock, cluster: Cluster) -> None:
    first = await cluster.start(join=[])
    for seed in (first, first.address, {"ip": first.address.ip, "port": first.address.port}):
        config = NodeConfig(join=[seed])  # type: ignore[list-item]
        assert config.join == [str(first.address)]
    with pytest.raises(ConfigError, match="has no port"):
        NodeConfig(join=["127.0.0.1:0"])
    with pytest.raises(ConfigError, match=r"name the interface to it, as \[fe80::1%eth0\]:80"):
        NodeConfig(join=["[fe80::1]:80"])
    assert NodeConfig(join=["[fe80::1%eth1]:80"]).join == ["[fe80::1%eth1]:80"]


@pytest.mark.parametrize("seeds", [["nonsense"], [5], [None], ["127.0.0.1:0"], "127.0.0.1:5"], ids=repr)
async def test_join_refuses_what_is_no_address(autojump_clock: MockClock, cluster: Cluster, seeds: Any) -> None:
    node = await cluster.start(join=None)
    with pytest.raises(MalformedRequest):
        await node.join(seeds)


async def test_a_node_cannot_join_itself_alone_but_may_be_on_its_own_list_of_seeds(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    seeds = [f"127.0.0.1:{port}" for port in (SEED_PORT, SEED_PORT + 1)]
    first = await cluster.start(join=seeds[:1], port=SEED_PORT)
    with pytest.raises(MalformedRequest, match="but this node itself"):
        await first.join(seeds[:1])
    second = await cluster.start(join=seeds, port=SEED_PORT + 1)
    await cluster.wait_members([first, second])


async def test_two_clusters_become_one_when_a_member_joins_another(autojump_clock: MockClock, cluster: Cluster) -> None:
    first = await cluster.start_many(3)
    other = await cluster.start(join=[])
    others = [other, await cluster.start(join=[str(other.address)])]
    await cluster.wait_members(others)
    await first[2].join([other])
    await cluster.wait_members([*first, *others])


async def test_two_joins_at_one_time_both_end(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = [await cluster.start(join=[]) for _ in range(3)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nodes[0].join, [*NOBODY, nodes[1]])
        nursery.start_soon(nodes[0].join, [nodes[2]])
    await cluster.wait_members(nodes)


async def test_a_name_stands_for_all_its_addresses(
    autojump_clock: MockClock, cluster: Cluster, names: dict[str, list[str]]
) -> None:
    names["workers.example"] = ["127.0.0.8", "127.0.0.9", "127.0.0.2"]
    seed = await cluster.start(join=[], ip="127.0.0.2", port=SEED_PORT)
    node = await cluster.start(join=[f"workers.example:{SEED_PORT}"])
    await cluster.wait_members([seed, node])


@pytest.mark.slow
async def test_a_name_that_has_no_address_yet_is_looked_up_again(
    autojump_clock: MockClock, cluster: Cluster, names: dict[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    seed = await cluster.start(join=[], ip="127.0.0.2", port=SEED_PORT)
    node = await cluster.start(join=[f"workers.example:{SEED_PORT}"])
    await trio.sleep(60)
    assert len(node.members()) == 1
    assert f"the seed workers.example:{SEED_PORT} has no address" in caplog.text
    names["workers.example"] = ["127.0.0.2"]
    await cluster.wait_members([seed, node])


async def test_a_name_that_gets_other_addresses_is_looked_up_again(
    autojump_clock: MockClock, cluster: Cluster, names: dict[str, list[str]]
) -> None:
    names["workers.example"] = ["127.0.0.9"]
    seed = await cluster.start(join=[], ip="127.0.0.2", port=SEED_PORT)
    node = await cluster.start(join=[f"workers.example:{SEED_PORT}"])
    names["workers.example"] = ["127.0.0.2"]
    await cluster.wait_members([seed, node])


async def test_a_name_that_cannot_be_one_is_a_seed_without_address(autojump_clock: MockClock, cluster: Cluster) -> None:
    first, second = await cluster.start(join=[]), await cluster.start(join=None)
    await second.join(["a..b:5", "x" * 70 + ".example:5", first])
    await cluster.wait_members([first, second])


async def test_a_node_spawned_in_a_cluster_joins_it_and_one_of_a_lone_node_does_not(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    alone = await cluster.start(join=None)
    await alone.local.status.spawn(NodeConfig())
    assert len(alone.members()) == 1

    parent, other = await cluster.start(join=[], profile="local"), await cluster.start(join=None)
    child = await parent.local.status.spawn(NodeConfig(tags={"role": "child"}))
    await wait_until(lambda: child.sid in parent.all.members())
    assert [member.tags for member in parent.members() if member.node == child] == [{"role": "child"}]
    apart = await parent.local.status.spawn(NodeConfig(join=[str(other.address)]))
    await wait_until(lambda: len(other.members()) == 2)
    assert apart.sid not in parent.all.members()


# -------------------------------------------------------------------------------------------------------------- leaving


@pytest.mark.slow
async def test_a_node_that_leaves_has_left_everywhere_at_once_and_has_not_failed(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(6)
    leaver, rest = nodes[2], [*nodes[:2], *nodes[3:]]
    watches = [node.events() for node in rest]
    begun = trio.current_time()
    await leaver.leave()
    await cluster.wait_members(rest)
    assert trio.current_time() - begun < 2
    for watch in watches:
        taken = await take(watch, _is(MemberLeft, leaver))
        assert changes(taken, leaver) == ["MemberLeft"]
    assert all(leaver.sid not in node.all.members() for node in rest)
    watch = rest[1].events()
    await trio.sleep(3)
    await rest[0].set_tags({"said": "last"})
    assert changes(await take(watch, _is(MemberUpdated, rest[0])), leaver) == []


@pytest.mark.slow
async def test_a_node_that_has_left_goes_on_alone(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    leaver, rest = nodes[0], nodes[1:]
    await leaver.local.groups.put("workers", nodes)
    async with leaver.member(rest[0].sid) as scope:
        await leaver.leave()
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert [(member.sid, member.status) for member in leaver.members()] == [(leaver.sid, "left")]
    assert list(leaver.all.members()) == list(leaver.group("workers").members()) == [leaver.sid]
    await leaver.leave()  # harmless
    newcomer = await cluster.start(join=[str(rest[0].address)])
    await cluster.wait_members([*rest, newcomer])
    assert list(leaver.all.members()) == [leaver.sid]
    child = await leaver.local.status.spawn(NodeConfig())
    assert child.sid not in leaver.all.members()


async def test_nothing_more_goes_between_a_node_that_has_left_and_the_others(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    await nodes[0].leave()
    await cluster.wait_members(nodes[1:])
    await trio.sleep(5)
    before = cluster.network.counts[nodes[0].address]
    await trio.sleep(5)
    assert cluster.network.counts[nodes[0].address] == before


async def test_a_node_that_has_left_may_join_again(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    await nodes[0].set_tags({"zone": "b"})
    for _ in range(2):
        await nodes[0].leave()
        await cluster.wait_members(nodes[1:])
        watch = nodes[2].events()
        await nodes[0].join([nodes[1]])
        await cluster.wait_members(nodes)
        assert changes(await take(watch, _is(MemberJoined, nodes[0])), nodes[0]) == ["MemberJoined"]
    assert next(member for member in nodes[3].members() if member.sid == nodes[0].sid).tags == {"zone": "b"}
    await nodes[0].all.gossip.send([], COUNT)
    await cluster.wait_totals(nodes, 1)


async def test_a_node_that_is_stopped_leaves(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    watch = nodes[0].events()
    nodes[2].stop()
    await cluster.wait_members(nodes[:2])
    assert changes(await take(watch, _is(MemberLeft, nodes[2])), nodes[2]) == ["MemberLeft"]


async def test_a_call_in_progress_still_has_its_groups_while_its_node_stops(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    a, b = await cluster.start_many(2)
    answers: list[int] = []
    working = trio.Event()

    async def work() -> int:
        working.set()
        await trio.sleep(1.5)
        return len(b.all.members())

    await b.local.routes.put({"work": work}, "slow")

    async def call() -> None:
        answers.append(await a.local.comm.send([], Remote(node=b.address, service="slow", method="work")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await working.wait()
        b.stop()
    assert answers == [2]


@pytest.mark.slow
async def test_leaving_all_at_once_ends(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(8)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(node.leave)
    assert [len(node.members()) for node in nodes] == [1] * 8


# ----------------------------------------------------------------------------------------------------------------- tags


async def test_tags_are_known_everywhere_and_each_change_is_told_once(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(5, tags={"version": "1"})
    watches = [node.events() for node in nodes[1:]]
    await nodes[0].set_tags({"version": "2", "weight": "heavy"})
    for watch in watches:
        *before, event = await take(watch, _is(MemberUpdated, nodes[0]))
        assert isinstance(event, MemberUpdated)
        assert event.tags == {"version": "2", "weight": "heavy"}
        assert changes(before, nodes[0]) == []
    seen = [{member.sid: member.tags for member in node.members()} for node in nodes]
    assert all(tags[nodes[0].sid] == {"version": "2", "weight": "heavy"} for tags in seen)
    assert all(tags[nodes[1].sid] == {"version": "1"} for tags in seen)


@pytest.mark.parametrize("tags", [{"a": 5}, {5: "a"}, {"a": None}, ["a"], None], ids=repr)
async def test_tags_are_texts(autojump_clock: MockClock, cluster: Cluster, tags: Any) -> None:
    node = await cluster.start()
    with pytest.raises(MalformedRequest):
        await node.set_tags(tags)


@pytest.mark.parametrize("tags", [{"a": "x" * 513}, {"é" * 200: "é" * 60}, {str(i): "" for i in range(200)}])
async def test_too_many_tags_are_refused(autojump_clock: MockClock, cluster: Cluster, tags: dict[str, str]) -> None:
    node = await cluster.start()
    with pytest.raises(ConfigError, match="512"):
        await node.set_tags(tags)
    with pytest.raises(ConfigError, match="512"):
        NodeConfig(tags=tags)


def test_tags_that_cannot_be_encoded_are_refused() -> None:
    with pytest.raises(ConfigError, match="no text"):
        NodeConfig(tags={"a": "\ud800"})


@pytest.mark.parametrize("size", range(500, 513))
async def test_tags_that_a_configuration_takes_start_a_node(
    autojump_clock: MockClock, cluster: Cluster, size: int
) -> None:
    try:
        config = NodeConfig(tags={"a": "x" * size})
    except ConfigError:
        return
    await cluster.start(config)


# ----------------------------------------------------------------------------------------- members that fail and return


async def test_a_failed_member_leaves_all_and_every_group_on_every_node(
    autojump_clock: MockClock, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = await cluster.start_many(5)
    lost, rest = nodes[4], nodes[:4]
    await nodes[0].all.groups.put("workers", nodes)
    await nodes[1].local.groups.put("mine", [lost, nodes[2]])
    watches = [node.events() for node in rest]
    begun = trio.current_time()
    with caplog.at_level(logging.WARNING):
        cluster.kill(lost)
        await cluster.wait_members(rest)
    assert trio.current_time() - begun < 12
    for node in rest:
        assert list(node.all.members()) == sorted(each.sid for each in rest)
        assert list(node.group("workers").members()) == sorted(each.sid for each in rest)
    assert list(nodes[1].group("mine").members()) == [nodes[2].sid]
    for watch in watches:
        told = changes(await take(watch, _is(MemberFailed, lost)), lost)
        assert told == ["MemberSuspected", "MemberFailed"]
    assert sum(f"the member {lost.address} has failed" in line for line in caplog.messages) == 4


async def test_a_failure_is_not_told_of_those_that_live(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(5)
    watch = nodes[0].events()
    cluster.kill(nodes[4])
    told = await take(watch, _is(MemberFailed, nodes[4]))
    assert [event for event in told if isinstance(event, MemberFailed)] == told[-1:]


@pytest.mark.slow
async def test_a_member_that_returns_is_in_all_and_in_its_groups_again(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    lost, rest = nodes[3], nodes[:3]
    await nodes[0].all.groups.put("workers", nodes)
    cluster.network.down.add(lost.address)
    await cluster.wait_members(rest)
    await wait_until(lambda: len(lost.members()) == 1)
    watch = nodes[1].events()
    cluster.network.down.clear()
    await cluster.wait_members(nodes)
    assert changes(await take(watch, _is(MemberJoined, lost)), lost) == ["MemberJoined"]
    assert all(lost.sid in node.all.members() for node in nodes)
    assert all(lost.sid in node.group("workers").members() for node in nodes)


@pytest.mark.slow
async def test_halves_that_could_not_see_each_other_become_one_again(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(6)
    halves = [nodes[:3], nodes[3:]]
    cluster.network.sides = [{node.address for node in half} for half in halves]
    for half in halves:
        await cluster.wait_members(half)
    await trio.sleep(120)
    cluster.network.sides = []
    begun = trio.current_time()
    await cluster.wait_members(nodes)
    assert trio.current_time() - begun < 60


async def test_a_restart_on_the_same_address_is_a_failure_and_a_join(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    await nodes[0].all.groups.put("workers", nodes)
    watch = nodes[0].events()
    address = nodes[3].address
    cluster.kill(nodes[3])
    await trio.sleep(0.5)
    cluster.network.down.clear()
    nodes[3] = await cluster.start(join=[str(nodes[1].address)], port=address.port, tags={"life": "second"})
    *told, last = await take(watch, lambda event: isinstance(event, MemberJoined) and event.node == address)
    assert changes([*told, last], address)[-2:] == ["MemberFailed", "MemberJoined"]
    assert isinstance(last, MemberJoined)
    assert last.tags == {"life": "second"}
    await cluster.wait_members(nodes)
    assert address.sid not in nodes[0].group("workers").members()
    watch = nodes[0].events()
    await trio.sleep(20)  # what was said about its previous life changes nothing
    await cluster.wait_members(nodes)
    await nodes[1].set_tags({"said": "last"})
    assert changes(await take(watch, _is(MemberUpdated, nodes[1])), address) == []


async def test_a_clock_that_has_gone_back_between_two_lives_is_no_matter(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    for number in range(5):
        await nodes[2].set_tags({"change": str(number)})  # its incarnation rises; the next life begins with 0
    await wait_until(lambda: _incarnation(nodes[0], nodes[2]) >= 5)
    cluster.kill(nodes[2])
    await cluster.wait_members(nodes[:2])
    cluster.network.down.clear()
    nodes[2] = await cluster.start(join=[str(nodes[0].address)], port=nodes[2].address.port)
    await cluster.wait_members(nodes)
    assert _incarnation(nodes[1], nodes[2]) > 5


def _incarnation(seen_by: Node, node: Node) -> int:
    return next((member.incarnation for member in seen_by.members() if member.sid == node.sid), -1)


async def test_events_tell_each_change_once_and_in_order(autojump_clock: MockClock, cluster: Cluster) -> None:
    first = await cluster.start(join=[])
    watch = first.events()
    second = await cluster.start()
    await second.set_tags({"a": "b"})
    await take_tags(first, second, {"a": "b"})
    third = await cluster.start()
    cluster.kill(third)
    await cluster.wait_members([first, second])
    await second.leave()
    told = await take(watch, _is(MemberLeft, second))
    assert changes(told, second) == ["MemberJoined", "MemberUpdated", "MemberLeft"]
    assert changes(told, third) == ["MemberJoined", "MemberSuspected", "MemberFailed"]
    assert changes(told, first) == []
    assert all(
        isinstance(event.node, NodeAddress) and event.sid == event.node.sid
        for event in told
        if isinstance(event, MemberEvent)
    )


async def take_tags(seen_by: Node, node: Node, tags: dict[str, str]) -> None:
    await wait_until(lambda: any(each.sid == node.sid and each.tags == tags for each in seen_by.members()))


async def test_a_suspect_is_still_a_member(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    watch = nodes[0].events()
    cluster.network.down.add(nodes[3].address)
    await take(watch, _is(MemberSuspected, nodes[3]))
    assert [member.status for member in nodes[0].members() if member.sid == nodes[3].sid] == ["suspect"]
    assert nodes[3].sid in nodes[0].all.members()


@pytest.mark.slow
async def test_the_profile_says_how_soon_a_failure_is_known(autojump_clock: MockClock, cluster: Cluster) -> None:
    took = {}
    for profile in ("local", "lan", "wan"):
        first = await cluster.start(join=[], profile=profile)
        nodes = [first, *[await cluster.start(join=[str(first.address)], profile=profile) for _ in range(3)]]
        await cluster.wait_members(nodes)
        begun = trio.current_time()
        cluster.kill(nodes[3])
        await cluster.wait_members(nodes[:3])
        took[profile] = trio.current_time() - begun
    assert 0.5 < took["local"] < 30  # the lower bound is the least time that a suspect has
    assert 1.3 < took["lan"] < 30
    assert 6.0 < took["wan"] < 60


# --------------------------------------------------------------------------------------------------------------- scopes


async def test_a_members_scope_is_cancelled_when_it_fails(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    await nodes[0].local.groups.put("workers", nodes[1:])
    cluster.kill(nodes[3])
    async with nodes[0].member(nodes[2].sid) as other, nodes[0].member(nodes[1].sid) as another:
        async with nodes[0].member(nodes[3].sid) as scope:
            await trio.sleep(60)
        async with nodes[0].group("workers").member(nodes[3].sid) as at_once:
            await trio.sleep(60)
    assert scope.cancelled_caught
    assert at_once.cancelled_caught
    assert not other.cancel_called
    assert not another.cancel_called


async def test_a_members_scope_is_cancelled_when_it_leaves(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    async with trio.open_nursery() as nursery, nodes[0].all.member(nodes[2].sid) as scope:
        nursery.start_soon(nodes[2].leave)
        await trio.sleep(60)
    assert scope.cancelled_caught


async def test_a_scope_of_nobody_is_cancelled_at_once_and_one_of_a_nonmember_of_the_group_too(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].local.groups.put("workers", nodes[:2])
    begun = trio.current_time()
    for scoped in (nodes[0].member("0123456789"), nodes[0].group("workers").member(nodes[2].sid)):
        async with scoped as scope:
            await trio.sleep(60)
        assert scope.cancelled_caught
    assert trio.current_time() == begun
    async with nodes[0].member(nodes[2].sid) as scope:
        await trio.sleep(60)
    assert not scope.cancel_called


async def test_an_exception_in_a_members_scope_is_the_callers(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(2)
    with pytest.raises(LookupError, match="mine"):
        async with nodes[0].member(nodes[1].sid):
            raise LookupError("mine")


# ---------------------------------------------------------------------------------------------------------- the service


async def test_the_service_is_there_for_other_nodes(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.start_many(2)
    stranger, newcomer = await cluster.start(join=None), await cluster.start(join=None)

    async def ask(method: str, *args: Any) -> Any:
        return await stranger.local.comm.send(list(args), Remote(node=a.address, service="membership", method=method))

    assert await ask("members") == a.members()
    await ask("set_tags", {"by": "another"})
    await take_tags(b, a, {"by": "another"})
    await ask("join", [str(newcomer.address)])
    await cluster.wait_members([a, b, newcomer])
    await ask("leave")
    await cluster.wait_members([b, newcomer])
    for packet in ("no bytes!", 5, None):
        with pytest.raises(MalformedRequest):
            await ask("packet", packet)


def test_a_member_is_a_value_that_travels() -> None:
    member = Member(node=NodeAddress("127.0.0.1", 8080), status="alive", incarnation=5, tags={"a": "b"})
    for codec in (JSON, MESSAGEPACK):
        assert codec.decode(codec.encode(member)) == member
    assert member.sid == "8bc8719554"


async def test_a_member_whose_sid_is_taken_is_told_of_and_not_addressed(
    autojump_clock: MockClock, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = COLLIDING
    first = await cluster.start(join=[])
    watch = first.events()
    await cluster.start(ip=one.ip, port=one.port)
    await cluster.start(ip=other.ip, port=other.port)
    await take(watch, lambda event: isinstance(event, MemberJoined) and event.node == other)
    assert first.all.members()[one.sid] == one
    assert f"the member {other} can't be addressed" in caplog.text
