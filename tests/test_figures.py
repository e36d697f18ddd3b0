"""The figures of a node: calls by method and outcome, links, packets, and what was refused."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import trionet
from tests.waiting import DEADLINE_S, wait_until
from trionet.call_counts import MOST_SETS, OTHER, OUTCOMES, CallCounts
from trionet.histograms import (
    AT,
    LIMITS_S,
    SKIP,
    STRIDE,
    SUM,
    UNIT_NS,
    UNTIMED,
    count_s,
    count_timed,
    durations,
    new_histogram,
    total,
)
from trionet.protocols.swim_settings import SwimCounts
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet import Node, NodeAddress
    from trionet.figures import CallFigures

    StartNode = Callable[..., Awaitable[Node]]


class Oven:
    def __init__(self) -> None:
        self.has_begun = trio.Event()

    @trionet.rpc
    def bake(self, loaves: int = 1) -> int:
        if loaves < 0:
            raise ValueError("less than nothing")
        return loaves

    @trionet.rpc
    async def roast(self, loaves: int = 1) -> int:
        await trio.lowlevel.checkpoint()
        return self.bake(loaves)

    @trionet.rpc(thread=True)
    def steam(self, loaves: int = 1) -> int:
        return self.bake(loaves)

    @trionet.rpc
    async def wait(self) -> None:
        self.has_begun.set()
        await trio.sleep_forever()

    @trionet.rpc
    async def serve(self, loaves: int) -> AsyncIterator[int]:
        for loaf in range(loaves):
            yield loaf
        if loaves == 3:
            raise ValueError("burnt")


def outcomes(calls: list[CallFigures], service: str = "oven") -> Counter[tuple[str, str]]:
    return Counter({(c.method, c.outcome): c.durations.count for c in calls if c.service == service})


def oven_at(node: NodeAddress, method: str) -> trionet.Remote:
    return trionet.Remote(node=node, service="oven", method=method)


def expire(scope: trio.CancelScope) -> None:
    scope.deadline = trio.current_time()


@pytest.mark.parametrize("is_own", [False, True], ids=["of another node", "of itself"])
async def test_each_call_counts_once_with_its_outcome_at_both_ends(start_node: StartNode, is_own: bool) -> None:
    there = await start_node()
    here = there if is_own else await start_node()
    oven = Oven()
    await there.local.routes.put(oven, "oven")
    comm = here.local.comm
    for method in ("bake", "roast", "steam"):
        await comm.send([2], oven_at(there.address, method))
        with pytest.raises(trionet.RemoteError):
            await comm.send([-1], oven_at(there.address, method))
        with pytest.raises(trionet.MalformedRequest):
            await comm.send(["two"], oven_at(there.address, method))
    for loaves in (2, 3):
        with suppress(trionet.RemoteError):
            async with comm.stream([loaves], oven_at(there.address, "serve")) as items:
                assert [loaf async for loaf in items] == list(range(loaves))
    for end in (expire, trio.CancelScope.cancel):
        oven.has_begun = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + DEADLINE_S
            nursery.start_soon(comm.send, [], oven_at(there.address, "wait"))
            await oven.has_begun.wait()
            end(nursery.cancel_scope)
    kinds = [(method, outcome) for method in ("bake", "roast", "steam") for outcome in ("ok", "error", "refused")]
    expected = Counter([*kinds, ("serve", "ok"), ("serve", "error"), ("wait", "timeout"), ("wait", "cancelled")])
    assert outcomes(here.figures().calls_made) == expected
    served = outcomes(there.figures().calls_served)
    if not is_own:  # whether its deadline or the caller's cancel ends it first is chance
        assert served.pop(("wait", "cancelled"), 0) + served.pop(("wait", "timeout"), 0) == 2
        expected -= Counter([("wait", "timeout"), ("wait", "cancelled")])
        assert served == expected
    assert there.figures().refused["call"] == {"MalformedRequest": 3}


@pytest.mark.parametrize("by_app", [False, True])
async def test_a_stream_whose_client_leaves_counts_as_cancelled(start_node: StartNode, *, by_app: bool) -> None:
    node = await start_node()
    await node.local.routes.put(Oven(), "oven")
    if by_app:
        assert node.app is not None
    head = f"PUT /local/oven/serve HTTP/1.1\r\nHost: {node.address}\r\nContent-Length: 12\r\n\r\n"
    async with await trio.open_tcp_stream(node.address.ip, node.address.port) as stream:
        await stream.send_all(head.encode() + b"[1000000000]")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
    await wait_until(lambda: bool(outcomes(node.figures().calls_served)))
    assert outcomes(node.figures().calls_served) == Counter([("serve", "cancelled")])


async def test_methods_that_do_not_exist_count_as_other_for_both(start_node: StartNode) -> None:
    here, there = await start_node(), await start_node()
    for number in range(10):
        for service in (f"service{number}", "status"):
            with pytest.raises(trionet.NotFound):
                await here.local.comm.send([], trionet.Remote(node=there.address, service=service, method=f"m{number}"))
    for calls in (here.figures().calls_made, there.figures().calls_served):
        assert [(c.service, c.method, c.outcome, c.durations.count) for c in calls] == [(OTHER, OTHER, "refused", 20)]


async def test_a_node_that_can_not_be_reached_counts_as_unreachable(start_node: StartNode) -> None:
    node = await start_node()
    nobody = trionet.NodeAddress("127.0.0.1", 1)
    with pytest.raises(trionet.NodeUnreachable):
        await node.local.comm.send([], trionet.Remote(node=nobody, service="status", method="get"))
    (figures,) = node.figures().calls_made
    assert (figures.outcome, figures.durations.count) == ("unreachable", 1)


async def test_counts_go_on_when_a_service_is_replaced_and_when_it_is_removed(start_node: StartNode) -> None:
    node = await start_node()
    for _ in range(3):
        await node.local.routes.put(Oven(), "oven")
        await node.local.comm.send([], oven_at(node.address, "bake"))
        await node.local.routes.rem("oven")
    assert outcomes(node.figures().calls_served) == {("bake", "ok"): 3}


WAYS: dict[str, Callable[[Node, NodeAddress], Awaitable[Any]]] = {
    "send": lambda here, there: here.local.comm.send([], oven_at(there, "bake")),
    "send, one remote": lambda here, there: here.local.comm.send([], _ONE.setdefault(there, oven_at(there, "bake"))),
    "by method": lambda here, there: here.call(there, Oven.bake),
    "of a group": lambda here, _: here.group("ovens").comm.send([], trionet.Remote(service="oven", method="bake")),
    "of a group, by method": lambda here, _: here.group("ovens").call(Oven.bake),
}
_ONE: dict[NodeAddress, trionet.Remote] = {}


@pytest.mark.parametrize("way", WAYS)
async def test_no_call_of_many_is_lost(start_node: StartNode, way: str) -> None:
    here, there = await start_node(), await start_node()
    await there.local.routes.put(Oven(), "oven")
    await here.local.groups.put("ovens", [there.address])

    async def call() -> None:
        for _ in range(100):
            await WAYS[way](here, there.address)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(call)
    for calls in (here.figures().calls_made, there.figures().calls_served):
        assert outcomes(calls) == {("bake", "ok"): 500}
        (figures,) = [one for one in calls if one.service == "oven"]
        assert sum(figures.durations.buckets) == figures.durations.count


async def test_links_and_their_bytes_go_on_to_count_when_they_have_ended(start_node: StartNode) -> None:
    here, there = await start_node(), await start_node()
    remote = trionet.Remote(node=there.address, service="status", method="get")
    for _ in range(50):
        await here.local.comm.send(["nid"], remote)
    mine, theirs = here.figures().links, there.figures().links
    assert (mine.open, mine.opened, theirs.open) == (1, 1, 1)
    assert mine.frames_sent >= 50 <= theirs.frames_received
    assert mine.bytes_sent > 50 * 20 < theirs.bytes_received
    there.stop()
    await wait_until(lambda: not here.figures().links.open)
    after = here.figures().links
    assert after.bytes_sent >= mine.bytes_sent
    assert after.frames_received >= mine.frames_received
    assert (after.opened, after.queued_frames, after.queued_bytes) == (1, 0, 0)


async def test_membership_and_gossip_have_figures(start_node: StartNode) -> None:
    config = trionet.NodeConfig(join=[], profile="local")
    here = await start_node(config)
    there = await start_node(msgspec.structs.replace(config, join=[str(here.address)]))
    await wait_until(lambda: len(here.members()) == 2)
    oven = Oven()
    await here.local.routes.put(oven, "oven")
    await there.local.routes.put(oven, "oven")
    await here.all.gossip.send([1], trionet.Remote(service="oven", method="bake"))
    await wait_until(lambda: there.figures().gossip.delivered == 1)
    assert here.figures().gossip.sent == 1
    await wait_until(lambda: here.figures().cluster.probe_round_trips.count > 0)
    figures = here.figures()
    assert figures.cluster.members == {"alive": 2, "suspect": 0, "failed": 0, "left": 0}
    assert figures.datagrams.sent > 0 < figures.datagrams.received
    assert figures.datagrams.messages_sent["ping"] > 0 < figures.datagrams.messages_received["ack"]
    assert figures.cluster.lag.count > 0
    await here.leave()
    before = here.figures()
    await here.join([there.address])
    assert here.figures().datagrams.messages_sent["ping"] >= before.datagrams.messages_sent["ping"]
    assert here.figures().cluster.probe_round_trips.count >= before.cluster.probe_round_trips.count


async def test_a_node_without_cluster_and_calls_has_figures_of_nothing(start_node: StartNode) -> None:
    node = await start_node()
    figures = node.figures()
    assert figures.calls_served == figures.calls_made == []
    assert figures.cluster.members == {}
    assert not any(count for counts in figures.refused.values() for count in counts.values())
    assert msgspec.json.decode(msgspec.json.encode(figures), type=type(figures)) == figures


async def test_spawned_nodes_count_while_they_run_and_their_boots_for_ever(start_node: StartNode) -> None:
    node = await start_node()
    child = await node.spawn(trionet.NodeConfig(launcher="in_process"))
    assert (node.figures().children, node.figures().children_spawned) == (1, 1)
    await node.local.comm.send([], trionet.Remote(node=child, service="status", method="stop"))
    await wait_until(lambda: node.figures().children == 0)
    assert node.figures().children_spawned == 1


async def test_virtual_time_gives_the_durations_of_the_simulation(autojump_clock: trio.testing.MockClock) -> None:
    fabric = MemoryFabric(seed=1)
    seen: list[Any] = []
    for _ in range(2):
        async with trionet.open_node(fabric=fabric, random=Random(1)) as node:

            async def wait() -> None:
                await trio.sleep(2)

            await node.local.routes.put({"wait": wait}, "oven")
            await node.local.comm.send([], oven_at(node.address, "wait"))
            seen.append([c.durations for c in node.figures().calls_served])
    assert seen[0] == seen[1]
    assert seen[0][0].sum_s == pytest.approx(2)


# ---- the counts themselves


@given(st.lists(st.integers(0, 10**13) | st.sampled_from([UNIT_NS << power for power in range(24)])))
def test_a_histogram_has_each_duration_in_the_bucket_of_its_limits(spent: list[int]) -> None:
    histogram = new_histogram()
    for each in spent:
        histogram[(each // UNIT_NS).bit_length()] += 1
        histogram[SUM] += each
    found = durations(histogram)
    edges = [0.0, *LIMITS_S, float("inf")]
    assert found.buckets == [sum(low <= each / 1e9 < high for each in spent) for low, high in itertools.pairwise(edges)]
    assert (found.count, found.sum_s) == (len(spent), sum(spent) / 1e9)
    assert total(found, durations(new_histogram())) == found


def test_of_fast_ones_one_in_eight_is_timed_and_each_counts() -> None:
    histogram = new_histogram()
    count_timed(histogram, 0, 1_000_000)
    assert histogram[STRIDE] == 0
    count_timed(histogram, 880_000, 1_030_000)
    assert histogram[STRIDE] == 7
    histogram[UNTIMED] += 7
    count_timed(histogram, 1_250_000, 1_300_000)  # the eighth, within 8 times 50 us
    assert histogram[STRIDE] == 7
    histogram[UNTIMED] += 2
    count_timed(histogram, 1_000_000, 3_000_000)
    assert histogram[STRIDE] == 0
    count_timed(histogram, 2_970_000, 3_000_000)  # in virtual time many end at once
    assert histogram[STRIDE] == 0
    found = durations(histogram)
    assert (found.count, sum(found.buckets)) == (14, 14)
    assert (found.buckets[0], found.buckets[1], found.buckets[2]) == (1, 3, 8)
    assert found.sum_s == pytest.approx(0.001 + 8 * 0.00015 + 3 * 0.00005 + 0.002 + 0.00003)


async def test_of_many_fast_calls_at_once_few_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    def now_ns() -> int:
        nonlocal reads
        reads += 1
        return reads * 1_000

    async with trionet.open_node() as node:
        await node.local.routes.put({"echo": lambda x: x}, "echo")
        remote = trionet.Remote(node=node.address, service="echo", method="echo")
        for _ in range(3):
            await node.local.comm.send([1], remote)
        histogram = node.local.comm.counts.of("echo", "echo").ok
        histogram[STRIDE], histogram[SKIP], histogram[AT] = 7, 0, 0
        monkeypatch.setattr(node.local.comm, "now_ns", now_ns)
        async with trio.open_nursery() as nursery:
            for _ in range(64):
                nursery.start_soon(node.local.comm.send, [1], remote)
        assert durations(histogram).count == 67
        assert reads == 16  # the begin and the end of one in eight


def test_a_time_that_went_back_counts_as_none_and_one_of_years_in_the_last_bucket() -> None:
    histogram = new_histogram()
    count_s(histogram, -1.0)
    count_s(histogram, 1e9)
    found = durations(histogram)
    assert (found.buckets[0], found.buckets[-1], found.count, found.sum_s) == (1, 1, 2, 1e9)


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from(OUTCOMES)), max_size=600), st.booleans())
def test_there_are_at_most_500_sets_of_labels_and_no_call_is_lost(calls: list[tuple[int, str]], is_full: bool) -> None:
    counts = CallCounts(lambda: 0)
    made = [*calls, *((number, "error") for number in range(600 if is_full else 0))]
    for number, outcome in made:
        counts.failed(counts.of("service", f"method{number}"), outcome, 1)
    found = list(counts)
    assert len(found) == len({labels[:3] for labels in found}) <= MOST_SETS
    assert sum(histogram[SUM] for *_, histogram in found) == len(made)
    if not is_full:
        assert len(calls) > 100 or (OTHER, OTHER) not in {labels[:2] for labels in found}


def test_a_name_like_a_sid_is_no_label() -> None:
    counts = CallCounts(lambda: 0)
    counts.note_success("8bc8719554", "get", 0)
    counts.note_success("status", "8bc8719554", 0)
    counts.note_success("status", "8bc871955g", 0)
    assert [labels[:3] for labels in counts] == [("status", "8bc871955g", "ok"), (OTHER, OTHER, "ok")]


def test_the_counts_of_an_earlier_life_are_added() -> None:
    one, other = SwimCounts(refutations=1), SwimCounts(refutations=2, stalls=1)
    count_s(other.round_trips, 0.001)
    one.add(other)
    assert (one.refutations, one.stalls, durations(one.round_trips).count) == (3, 1, 1)
    assert other.refutations == 2
