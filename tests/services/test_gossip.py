"""Gossip among nodes, in virtual time: what `gossip.send` promises, line by line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.clusters import COUNT, Cluster, open_cluster, take
from tests.waiting import wait_until
from trionet import (
    CallTimeout,
    EmptyGroup,
    EncodeError,
    GroupNotFound,
    KeyDoesNotExist,
    MalformedRequest,
    MessageTooLarge,
    Node,
    NodeAddress,
    NodeConfig,
    NodeUnreachable,
    Receipt,
    Remote,
    RumorFailed,
    ServiceNotFound,
    Spread,
    TemporarilyUnavailable,
)
from trionet.codec import JSON, MESSAGEPACK
from trionet.services.gossip import Gossip

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from trio.testing import MockClock

NOBODY = NodeAddress("127.0.0.1", 9999)
QUIET_S = 10
"""Long enough for every push, announcement and comparison that could deliver something twice."""


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


# ---------------------------------------------------------------------------------------------------- reaching everyone


async def test_a_rumor_runs_once_on_every_member_the_sender_included(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(6)
    receipt = await nodes[3].all.gossip.send(["hello"], COUNT)
    await cluster.wait_totals(nodes, 1)
    await trio.sleep(QUIET_S)
    assert cluster.totals(nodes) == [1] * 6
    assert {(*cluster.counter(node).ids, *cluster.counter(node).notes) for node in nodes} == {(receipt.id, "hello")}


async def test_a_plain_function_has_run_as_soon_as_its_node_has_the_rumor_and_another_handler_has_its_own_task(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    ran: list[str] = []

    async def wait(text: str) -> None:
        await trio.lowlevel.checkpoint()
        ran.append(text)

    def give(text: str) -> Awaitable[None]:
        return wait(text)

    node = await cluster.start()
    await node.local.routes.put({"plain": ran.append, "task": wait, "awaited": give}, "probe")
    for method in ("task", "awaited", "plain"):
        node.local.gossip.start("all", [method], {}, Remote(service="probe", method=method))
    assert ran == ["plain"]
    await wait_until(lambda: len(ran) == 3)
    node.local.gossip.start("all", [], {}, Remote(service="probe", method="plain"))
    assert node.local.gossip.failed == 1


async def test_a_sender_that_is_no_member_does_not_run_it(autojump_clock: MockClock, cluster: Cluster) -> None:
    outsider, *members = await cluster.start_many(5)
    await outsider.group("all").groups.put("workers", members)
    await outsider.group("workers").gossip.send([], COUNT)
    await cluster.wait_totals(members, 1)
    await trio.sleep(QUIET_S)
    assert cluster.totals([outsider, *members]) == [0, 1, 1, 1, 1]


async def test_a_group_needs_no_cluster(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = [await cluster.start(join=None) for _ in range(4)]
    for node in nodes:
        await node.local.groups.put("workers", nodes)
    await nodes[0].group("workers").gossip.send([], COUNT)
    await cluster.wait_totals(nodes, 1)
    assert [len(node.members()) for node in nodes] == [1] * 4


async def test_it_returns_once_the_first_hop_has_the_rumor_with_a_value_for_each(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(6)
    await nodes[0].all.groups.put("workers", nodes, subset=2)
    begun = trio.current_time()
    receipt = await nodes[0].group("workers").gossip.send([], COUNT)
    assert trio.current_time() - begun < 0.05
    assert isinstance(receipt, Receipt)
    assert len(receipt.values) == 2
    assert set(receipt.values.values()) == {True}
    assert receipt.errors == {}
    assert nodes[0].sid not in receipt.values


async def test_a_slow_or_hanging_method_holds_up_neither_the_sender_nor_the_rumor(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(5)
    for node in nodes:
        await node.local.routes.put({"hang": trio.sleep_forever}, "sloth")
    receipt = await nodes[0].all.gossip.send([], Remote(service="sloth", method="hang"))
    begun = trio.current_time()
    assert (await receipt.wait_spread()).known == 5
    assert trio.current_time() - begun < 2


async def test_an_unreachable_member_is_in_errors_and_all_others_hear_it(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    for node in nodes:
        await node.local.groups.put("workers", [*nodes, NOBODY], subset=4)
    receipt = await nodes[0].group("workers").gossip.send([], COUNT)
    assert list(receipt.errors) == [NOBODY.sid]
    assert isinstance(receipt.errors[NOBODY.sid], NodeUnreachable)
    assert str(NOBODY) in str(receipt.errors[NOBODY.sid])
    assert sorted(receipt.values) == sorted(node.sid for node in nodes[1:])
    await cluster.wait_totals(nodes, 1)


async def test_a_rumor_whose_whole_first_hop_is_unreachable_reaches_all_others(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    first, *others = await cluster.start_many(4)
    nowhere = [NodeAddress("127.0.0.1", port) for port in range(9001, 9013)]
    for node in (first, *others):
        await node.local.groups.put("workers", [*nowhere, first, *others], subset=1)
    group = first.group("workers")
    for rumors in range(1, 20):
        receipt = await group.gossip.send([], COUNT)
        await cluster.wait_totals([first, *others], rumors)
        if not receipt.values:
            return
    raise AssertionError("the dice have never chosen an unreachable one")


async def test_a_member_that_hangs_is_in_errors_after_some_seconds(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    for node in nodes:
        await node.local.groups.put("workers", nodes, subset=2)
    cluster.network.hanging.add(nodes[2].address)
    begun = trio.current_time()
    receipt = await nodes[0].group("workers").gossip.send([], COUNT)
    assert list(receipt.values) == [nodes[1].sid]
    error = receipt.errors[nodes[2].sid]
    assert isinstance(error, CallTimeout)
    assert error.node == str(nodes[2].address)
    assert 4 < trio.current_time() - begun < 7


async def test_two_equal_rumors_sent_at_one_moment_are_two(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    receipts = []

    async def send() -> None:
        receipts.append(await nodes[0].all.gossip.send(["same"], COUNT))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(send)
    assert len({receipt.id for receipt in receipts}) == 5
    await cluster.wait_totals(nodes, 5)
    await trio.sleep(QUIET_S)
    assert cluster.totals(nodes) == [5] * 4
    assert all(sorted(cluster.counter(node).ids) == sorted(receipt.id for receipt in receipts) for node in nodes)


async def test_a_group_of_the_sender_alone_and_the_group_local_run_it_there(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    node = await cluster.start()
    assert (await node.all.gossip.send([], COUNT)).values == {}
    await cluster.wait_totals([node], 1)
    receipt = await node.group("local").gossip.send([], COUNT)
    await cluster.wait_totals([node], 2)
    assert await receipt.wait_spread() == Spread(known=1, members=1, estimate=1.0)


async def test_a_member_cut_off_hears_what_was_said_meanwhile_when_it_is_back(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    for node in nodes:
        await node.local.groups.put("workers", nodes)
    lost = nodes[3]
    cluster.network.down.add(lost.address)
    for _ in range(3):
        await nodes[0].group("workers").gossip.send([], COUNT)
    await cluster.wait_totals(nodes[:3], 3)
    assert cluster.totals([lost]) == [0]
    cluster.network.down.clear()
    await cluster.wait_totals(nodes, 3)


async def test_a_late_joiner_hears_the_younger_rumors_and_not_those_over_their_time(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.gossip.send(["old"], COUNT)
    await cluster.wait_totals(nodes, 1)
    await trio.sleep(61)
    await nodes[1].all.gossip.send(["young"], COUNT)
    await cluster.wait_totals(nodes, 2)
    late = await cluster.start()
    await cluster.wait_totals([late], 1)
    await trio.sleep(QUIET_S)
    assert cluster.counter(late).notes == ["young"]
    assert cluster.totals(nodes) == [2, 2, 2]


async def test_a_node_that_is_put_into_a_group_later_hears_its_younger_rumors(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    early, late = nodes[:3], nodes[3]
    await nodes[0].all.groups.put("workers", early)
    await early[0].group("workers").gossip.send([], COUNT)
    await cluster.wait_totals(early, 1)
    await early[0].all.groups.add("workers", late.address)
    await cluster.wait_totals(nodes, 1)


async def test_a_rumor_for_an_unknown_gid_is_dropped_and_comes_once_the_group_is_known(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    knowing, ignorant = nodes[:3], nodes[3]
    for node in knowing:
        await node.local.groups.put("workers", nodes)
    await knowing[0].group("workers").gossip.send([], COUNT)
    await cluster.wait_totals(knowing, 1)
    await trio.sleep(QUIET_S)
    assert cluster.totals([ignorant]) == [0]
    await ignorant.local.groups.put("workers", nodes)
    await cluster.wait_totals(nodes, 1)
    assert len(ignorant.members()) == 4


# ---------------------------------------------------------------------------------------------------- calls that fail


async def test_a_rumor_is_forwarded_where_its_call_fails_and_the_failure_is_told_counted_and_logged_once(
    autojump_clock: MockClock, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = await cluster.start_many(5)
    for node in nodes:
        await node.local.groups.put("workers", nodes, subset=1)
    events = [node.events() for node in nodes]
    with caplog.at_level(logging.WARNING):
        receipt = await nodes[0].group("workers").gossip.send([], Remote(service="counter", method="fail"))
        await cluster.wait_totals(nodes, 1)
        await trio.sleep(QUIET_S)
    for node, watched in zip(nodes, events, strict=True):
        *_, event = await take(watched, lambda event: isinstance(event, RumorFailed))
        assert event == RumorFailed(node=node.address, id=receipt.id, gid="workers", error="ValueError: out of beans")
        assert node.local.gossip.failed == 1
    said = [record for record in caplog.records if receipt.id in record.getMessage()]
    assert len(said) == 5
    assert all("out of beans" in record.getMessage() for record in said)


async def test_a_node_without_the_service_passes_the_rumor_on(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(5)
    await nodes[1].local.routes.rem("counter")
    events = nodes[1].events()
    receipt = await nodes[0].all.gossip.send([], COUNT)
    await cluster.wait_totals([nodes[0], *nodes[2:]], 1)
    *_, event = await take(events, lambda event: isinstance(event, RumorFailed))
    assert isinstance(event, RumorFailed)
    assert event.id == receipt.id
    assert "no service 'counter'" in event.error
    assert (await receipt.wait_spread()).known == 5


@pytest.mark.parametrize(
    ("args", "remote", "error"),
    [
        ("text", COUNT, MalformedRequest),
        ([], Remote(service="counter", method="count", node=NOBODY), MalformedRequest),
        ([], Remote(service="", method="count"), MalformedRequest),
        ([object()], COUNT, EncodeError),
        ([bytes(20_000)], COUNT, MessageTooLarge),
    ],
    ids=["no list", "a node", "no service", "no value", "too long"],
)
async def test_a_callers_own_mistake_is_raised_and_nothing_is_sent(
    autojump_clock: MockClock, cluster: Cluster, args: Any, remote: Remote, error: type[Exception]
) -> None:
    node = await cluster.start(max_message_bytes=16_384)
    with pytest.raises(error):
        await node.all.gossip.send(args, remote)
    await trio.sleep(1)
    assert cluster.totals([node]) == [0]


async def test_a_remote_may_be_written_as_in_json(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start()
    remote: Any = {"service": "counter", "method": "count"}
    await node.all.gossip.send([], remote)
    await cluster.wait_totals([node], 1)
    with pytest.raises(MalformedRequest, match="service and a method"):
        await node.all.gossip.send([], None)  # type: ignore[arg-type]


async def test_of_rumors_that_wait_for_others_to_end_only_so_many_bytes_are_kept(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    node = await cluster.start()
    go_on = trio.Event()

    async def hang(_: bytes) -> None:
        await go_on.wait()

    await node.local.routes.put({"hang": hang}, "sloth")
    events = node.events()
    for _ in range(9):
        await node.all.gossip.send([bytes(8_000_000)], Remote(service="sloth", method="hang"))
    *_, event = await take(events, lambda event: isinstance(event, RumorFailed))
    assert isinstance(event, RumorFailed)
    assert "too many rumors" in event.error
    assert node.local.gossip.failed == 1
    go_on.set()
    await trio.sleep(1)
    await node.all.gossip.send([], COUNT)
    await cluster.wait_totals([node], 1)


async def test_a_group_without_members_or_deleted_is_an_error(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start()
    await node.local.groups.put("empty", [])
    group = node.group("empty")
    with pytest.raises(EmptyGroup):
        await group.gossip.send([], COUNT)
    await node.local.groups.del_("empty")
    with pytest.raises(GroupNotFound):
        await group.gossip.send([], COUNT)


async def test_keyword_arguments_travel(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(2)
    await nodes[0].all.gossip.send([], COUNT, kwargs={"note": {"by": "name"}})
    await cluster.wait_totals(nodes, 1)
    assert [cluster.counter(node).notes for node in nodes] == [[{"by": "name"}]] * 2


async def test_no_arguments_are_shared_with_the_sender(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start()
    note = ["a list"]
    await node.all.gossip.send([note], COUNT)
    await cluster.wait_totals([node], 1)
    assert cluster.counter(node).notes == [note]
    assert cluster.counter(node).notes[0] is not note


# ---------------------------------------------------------------------------------------------------------- wait_spread


async def test_wait_spread_returns_when_all_members_have_said_that_they_have_it(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(6)
    receipt = await nodes[0].all.gossip.send([], COUNT)
    assert await receipt.wait_spread() == Spread(known=6, members=6, estimate=6.0)
    assert cluster.totals(nodes) == [1] * 6


async def test_wait_spread_counts_the_sender_only_if_it_is_a_member(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    for node in nodes:
        await node.local.groups.put("others", nodes[1:])
    receipt = await nodes[0].group("others").gossip.send([], COUNT)
    assert await receipt.wait_spread() == Spread(known=3, members=3, estimate=3.0)


async def test_wait_spread_waits_for_a_member_that_cannot_be_reached_and_a_fraction_does_not(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    for node in nodes:
        await node.local.groups.put("workers", [*nodes, NOBODY])
    receipt = await nodes[0].group("workers").gossip.send([], COUNT)
    assert (await receipt.wait_spread(0.8)).known == 4
    with trio.move_on_after(30) as scope:
        await receipt.wait_spread()
    assert scope.cancelled_caught


async def test_wait_spread_ends_when_the_one_that_lacks_it_has_failed(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    cluster.kill(nodes[3])
    receipt = await nodes[0].all.gossip.send([], COUNT)
    assert await receipt.wait_spread() == Spread(known=3, members=3, estimate=3.0)
    assert len(nodes[0].members()) == 3


@pytest.mark.parametrize("fraction", [0, -1, 1.5, float("nan"), "1", None])
async def test_a_fraction_is_more_than_0_and_at_most_1(
    autojump_clock: MockClock, cluster: Cluster, fraction: Any
) -> None:
    receipt = await (await cluster.start()).all.gossip.send([], COUNT)
    with pytest.raises(MalformedRequest, match="fraction"):
        await receipt.wait_spread(fraction)


async def test_wait_spread_ends_with_the_node(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start()
    await node.local.groups.put("workers", [node, NOBODY])
    receipt = await node.group("workers").gossip.send([], COUNT)
    with pytest.RaisesGroup(TemporarilyUnavailable):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receipt.wait_spread)
            await trio.sleep(5)
            node.stop()
            await trio.sleep(10)
            nursery.cancel_scope.cancel()


async def test_the_spread_of_a_deleted_groups_rumor_is_not_known(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start()
    await node.local.groups.put("workers", [node, NOBODY])
    receipt = await node.group("workers").gossip.send([], COUNT)
    await node.local.groups.del_("workers")
    with pytest.raises(KeyDoesNotExist, match=receipt.id):
        await receipt.wait_spread()


async def test_a_receipt_travels_and_only_the_sender_can_follow_it(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.start_many(2)
    there = Remote(node=b.address, gid="all", service="gossip", method="send")
    receipt = await a.local.comm.send([[], COUNT], there)
    assert isinstance(receipt, Receipt)
    assert receipt.values == {a.sid: True}
    await cluster.wait_totals([a, b], 1)
    assert cluster.counter(a).ids == [receipt.id]
    with pytest.raises(RuntimeError, match="only the node that sent"):
        await receipt.wait_spread()
    for codec in (JSON, MESSAGEPACK):
        assert codec.decode(codec.encode(receipt)) == receipt


# --------------------------------------------------------------------------------------------------------------- subset


async def _first_hop(cluster: Cluster, subset: Any) -> int:
    nodes = await cluster.start_many(5)
    for node in nodes:
        await node.local.groups.put("workers", nodes, subset=subset)
    receipt = await nodes[0].group("workers").gossip.send([], COUNT)
    await cluster.wait_totals(nodes, 1)
    return len(receipt.values)


def _one_of_all_and_more(sids: list[str]) -> int:
    assert sids == sorted(sids)
    assert all(len(sid) == 10 for sid in sids)
    return len(sids) - 4


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        (0, 1),
        (1, 1),
        (3, 3),
        (100, 4),
        (lambda sids: len(sids) - 2, 3),
        (lambda _: -5, 1),
        (lambda _: 2.9, 2),
        (lambda _: 10**9, 4),
        (_one_of_all_and_more, 1),
        ("tests.samples:subset_of_one", 1),
        (None, 4),
    ],
    ids=[
        "0",
        "1",
        "3",
        "more than others",
        "function",
        "negative",
        "float",
        "huge",
        "of SIDs",
        "import path",
        "default",
    ],
)
async def test_the_first_hop_is_as_wide_as_the_groups_subset_says_clamped(
    autojump_clock: MockClock, cluster: Cluster, subset: Any, expected: int
) -> None:
    assert await _first_hop(cluster, subset) == expected


def _fails_later(sids: list[str]) -> Any:
    return 1 if len(sids) < 5 else "many"


@pytest.mark.parametrize("subset", [lambda _: 1 // 0, _fails_later], ids=["raises", "no number any more"])
async def test_a_subset_that_fails_is_logged_and_the_default_is_used(
    autojump_clock: MockClock, cluster: Cluster, subset: Any, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = await cluster.start_many(5)
    for node in nodes:
        await node.local.groups.put("workers", nodes[:4], subset=subset)
        await node.local.groups.add("workers", nodes[4].address)
    assert len((await nodes[0].group("workers").gossip.send([], COUNT)).values) == 4
    assert "the subset of group workers is left as the default" in caplog.text


async def test_a_subset_that_has_failed_is_asked_again_when_the_members_change(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    asked = list[list[str]]()
    answers = iter([2, None, 2, 2])

    def subset(sids: list[str]) -> int:
        asked.append(sids)
        answer = next(answers)
        if answer is None:
            raise ValueError("not yet")
        return answer

    groups = nodes[0].local.groups
    await groups.put("workers", nodes, subset=subset)
    for node in nodes[1:]:
        with groups.batch():
            groups.expel(node.address)
    assert [len(sids) for sids in asked] == [3, 2, 1]
    await groups.add("workers", nodes[1].address)
    assert asked[-1] == sorted(node.address.sid for node in nodes[:2])


async def test_a_subset_is_asked_again_when_the_members_change(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    seen: list[int] = []

    def all_of_them(sids: list[str]) -> int:
        seen.append(len(sids))
        return len(sids)

    await nodes[0].local.groups.put("workers", nodes[:2], subset=all_of_them)
    await nodes[0].local.groups.add("workers", nodes[2].address, nodes[3].address)
    assert seen == [2, 4]
    for node in nodes[1:]:
        await node.local.groups.put("workers", nodes)
    assert len((await nodes[0].group("workers").gossip.send([], COUNT)).values) == 3


async def test_targets_are_chosen_afresh_each_time_and_are_never_the_sender(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(5)
    for node in nodes:
        await node.local.groups.put("workers", nodes, subset=1)
    hops = [(await nodes[0].group("workers").gossip.send([], COUNT)).values for _ in range(40)]
    assert {sid for hop in hops for sid in hop} == {node.sid for node in nodes[1:]}


# ---------------------------------------------------------------------------------------------------- ways to travel


async def test_without_datagrams_everything_works(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4, datagrams=False)
    receipt = await nodes[0].all.gossip.send([], COUNT)
    assert (await receipt.wait_spread()).known == 4
    await cluster.wait_totals(nodes, 1)
    cluster.kill(nodes[3])
    await cluster.wait_members(nodes[:3])
    assert cluster.network.counts == {}
    assert cluster.network.datagrams == {}


async def test_a_long_rumor_goes_to_all(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(5)
    note = bytes(range(256)) * 4096
    await nodes[0].all.gossip.send([note], COUNT)
    await cluster.wait_totals(nodes, 1)
    assert all(cluster.counter(node).notes == [note] for node in nodes)


async def test_small_rumors_are_forwarded_in_datagrams(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(5)
    served = [node.statistics().calls_served for node in nodes]
    receipt = await nodes[0].all.gossip.send([], COUNT)
    await cluster.wait_totals(nodes, 1)
    calls = sum(node.statistics().calls_served for node in nodes) - sum(served)
    assert calls == 5 + len(receipt.values)  # each carried it out, and the first hop came by calls


# ---------------------------------------------------------------------------------------------------------- the service


async def test_del_of_what_is_no_id_is_no_error(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start()
    for malformed in ("", "x", "@", "@@", "1@nobody", "1@127.0.0.1:99999", f"00@{NOBODY}", f"00@{node.address}"):
        assert await node.local.gossip.del_(malformed) is False
        assert await node.all.gossip.del_(malformed) is False


async def test_the_services_names_are_reached_by_other_nodes(autojump_clock: MockClock, cluster: Cluster) -> None:
    a, b = await cluster.start_many(2)

    async def ask(method: str, *args: Any) -> Any:
        return await a.local.comm.send(list(args), Remote(node=b.address, service="gossip", method=method))

    assert await ask("tasks") == []
    assert await ask("del", "0@0") is False
    with pytest.raises(MalformedRequest):
        await ask("del", 5)
    assert isinstance(b.local.gossip, Gossip)
    with pytest.raises(ServiceNotFound):
        await a.local.comm.send([], Remote(node=b.address, service="rumors", method="tasks"))


async def test_a_rumor_still_running_is_cancelled_when_its_node_stops(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    ended: list[str] = []
    running = trio.Event()

    async def hang() -> None:
        try:
            running.set()
            await trio.sleep_forever()
        finally:
            ended.append("cancelled")

    node: Node = await cluster.start(NodeConfig())
    await node.local.routes.put({"hang": hang}, "sloth")
    await node.all.gossip.send([], Remote(service="sloth", method="hang"))
    await running.wait()
    node.stop()
    await wait_until(lambda: ended == ["cancelled"])
