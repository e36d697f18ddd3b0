"""How a rumor came to a node, as it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clusters import COUNT, Cluster, open_cluster
from tests.waiting import wait_until
from trionet import MalformedRequest, Node, Remote, TemporarilyUnavailable, open_node
from trionet.services.rumor_payloads import method_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


def arrival(node: Node, rumor: str) -> dict[str, object]:
    return node.local.inspection.arrival("all", rumor)


async def test_each_member_tells_when_and_from_whom_a_rumor_came(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(8)
    receipt = await nodes[3].all.gossip.send(["news"], COUNT)
    await cluster.wait_totals(nodes, 1)
    told = {str(node.address): arrival(node, receipt.id) for node in nodes}
    origin = told.pop(str(nodes[3].address))
    assert (origin["way"], origin["source"], origin["age_s"]) == ("sent", "", 0)
    for address, one in told.items():
        assert one["way"] in ("push", "pull")
        assert one["source"] in {*told, str(nodes[3].address)} - {address}
        assert (one["service"], one["method"], one["origin"]) == ("counter", "count", str(nodes[3].address))
        assert isinstance(one["age_s"], float)
        assert isinstance(one["copies"], int)
        assert one["age_s"] > 0
        assert one["copies"] >= 1


async def test_a_node_lists_its_latest_rumors(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    ids = [(await nodes[0].all.gossip.send([], COUNT)).id for _ in range(4)]
    await cluster.wait_totals(nodes, 4)
    assert {one["id"] for one in nodes[1].local.inspection.rumors()} == {*ids}
    assert len(nodes[1].local.inspection.rumors(2)) == 2
    assert nodes[1].local.inspection.rumors(0) == []
    with pytest.raises(MalformedRequest):
        nodes[1].local.inspection.rumors(-1)


async def test_a_node_tells_that_the_call_of_a_rumor_has_failed_there(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    good = await nodes[0].all.gossip.send([], COUNT)
    bad = await nodes[0].all.gossip.send([], Remote(service="counter", method="fail"))
    await cluster.wait_totals(nodes, 2)
    for node in nodes:
        await wait_until(lambda node=node: "failed" in arrival(node, bad.id))  # type: ignore[misc]
        assert "out of beans" in str(arrival(node, bad.id)["failed"])
        assert "failed" not in arrival(node, good.id)


async def test_an_unknown_rumor_has_no_arrival(autojump_clock: MockClock, cluster: Cluster) -> None:
    (node,) = await cluster.start_many(1)
    assert arrival(node, "00" * 12) == {}
    assert node.local.inspection.arrival("nobody", "00" * 12) == {}
    with pytest.raises(MalformedRequest, match="hex digits"):
        arrival(node, "zz")


async def test_a_stopped_node_has_no_rumors() -> None:
    async with open_node() as node:
        pass
    await wait_until(lambda: node.is_stopping)
    with pytest.raises(TemporarilyUnavailable):
        node.local.inspection.rumors()


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x90", b"\x91\xa1a", b"\x80" * 100_000])
def test_a_payload_that_is_no_call_names_no_method(payload: bytes) -> None:
    assert method_in(payload) == ("", "")
