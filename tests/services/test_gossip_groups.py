"""Gossip to a group that some of its members don't know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.clusters import COUNT, Cluster, expose_counters, open_cluster
from tests.waiting import DEADLINE_S, wait_until
from trionet import GroupNotFound, NodeAddress, NodeConfig, Remote, open_node
from trionet.protocols.mux import Packet, ProtocolMux
from trionet.services.packet_answer import PacketAnswer, answer_from

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

NODE = NodeAddress("127.0.0.1", 8080)
LONG = "x" * 5000
"""Too long for a datagram."""


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


async def test_the_receipt_says_which_members_of_the_first_hop_do_not_know_the_group(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    await nodes[0].local.groups.put("g", nodes)
    receipt = await nodes[0].group("g").gossip.send([], COUNT)
    assert receipt.values == {}
    assert receipt.errors
    for sid, error in receipt.errors.items():
        assert type(error) is GroupNotFound
        assert error.node == str(nodes[0].all.members()[sid])
        assert "does not know the group 'g'" in error.text


async def test_wait_spread_names_a_member_that_does_not_know_the_group(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    for node in nodes[:3]:
        await node.local.groups.put("g", nodes)
    receipt = await nodes[0].group("g").gossip.send([], COUNT)
    with trio.fail_after(8), pytest.raises(GroupNotFound, match=f"{nodes[3].address} does not know the group 'g'"):
        await receipt.wait_spread()
    assert (await receipt.wait_spread(0.75)).known == 3


@pytest.mark.parametrize("after_s", [3.0, 10.0])
async def test_a_member_that_gets_the_group_later_gets_the_rumor_and_counts(
    autojump_clock: MockClock, cluster: Cluster, after_s: float
) -> None:
    nodes = await cluster.start_many(4)
    for node in nodes[:3]:
        await node.local.groups.put("g", nodes)
    receipt = await nodes[0].group("g").gossip.send([], COUNT)
    async with trio.open_nursery() as nursery:
        if after_s < 6:
            nursery.start_soon(receipt.wait_spread)  # it may be about to get the group
        else:
            with pytest.raises(GroupNotFound):
                await receipt.wait_spread()
        await trio.sleep(after_s)
        await nodes[3].local.groups.put("g", nodes)
    assert (await receipt.wait_spread()).known == 4
    assert cluster.totals(nodes) == [1] * 4


async def test_a_long_rumor_that_a_member_drops_does_not_make_it_unreachable(
    autojump_clock: MockClock, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = await cluster.start_many(6)
    for node in nodes[:5]:
        await node.local.groups.put("g", nodes)
    lost: list[str] = []

    def note(_: ProtocolMux, to: str, __: float) -> list[Packet]:
        lost.append(to)
        return []

    monkeypatch.setattr(ProtocolMux, "unreachable", note)
    receipt = await nodes[0].group("g").gossip.send([LONG], COUNT)
    await cluster.wait_totals(nodes[:5], 1)
    await trio.sleep(5)
    assert lost == []
    assert cluster.totals(nodes[5:]) == [0]
    assert {type(error) for error in receipt.errors.values()} <= {GroupNotFound}


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_it_is_the_same_on_a_network_and_over_http(transport: Any) -> None:
    config = NodeConfig(transport=transport, profile="local")
    with trio.fail_after(DEADLINE_S):
        async with open_node(config) as one, open_node(config) as other:
            counters = await expose_counters(one, other)
            await one.local.groups.put("g", [one, other])
            send = Remote(node=one.address, gid="g", service="gossip", method="send")
            sent = await other.local.comm.send([[], {"service": "counter", "method": "count"}], send)
            assert list(map(type, sent.errors.values())) == [GroupNotFound]
            receipt = await one.group("g").gossip.send([], COUNT)
            assert list(receipt.errors) == [other.sid]
            with pytest.raises(GroupNotFound):
                await receipt.wait_spread()
            await other.local.groups.put("g", [one, other])
            assert (await receipt.wait_spread()).known == 2
            await wait_until(lambda: len(counters[1].ids) == 2)


# ------------------------------------------------------------------------------------------------------- packet answers


def test_an_answer_with_nothing_to_tell_is_none() -> None:
    assert PacketAnswer(node=NODE).to_wire() is None
    assert answer_from(NODE, None) == PacketAnswer(node=NODE)


_value: st.SearchStrategy[Any] = st.sampled_from([None, True, 5, "g", b"g", "", {}, [["g"]]])
_values = _value | st.lists(_value, max_size=3)


@given(_values | st.dictionaries(st.sampled_from([*PacketAnswer.__struct_fields__, "new", 5]), _values))
def test_any_value_of_a_stranger_is_an_answer(value: object) -> None:
    answer = answer_from(NODE, value)
    assert answer_from(NODE, answer.to_wire()) == answer
    assert answer.node == NODE
