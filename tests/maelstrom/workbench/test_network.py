from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trionet.maelstrom.workbench.client import Client, is_integer
from trionet.maelstrom.workbench.errors import BadMessage, MalformedReply, RpcError, RpcTimeout, is_definite
from trionet.maelstrom.workbench.journal import Journal
from trionet.maelstrom.workbench.latency import Distribution, latency_source
from trionet.maelstrom.workbench.network import Network
from trionet.maelstrom.workbench.partitions import PARTITIONS, majorities_ring
from trionet.maelstrom.workbench.topologies import TOPOLOGIES, topology

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trionet.maelstrom.workbench.messages import NetworkMessage


class Line:
    """A network with two nodes, a client and a service, that records arrivals with their times."""

    def __init__(self, nursery: trio.Nursery, distribution: Distribution = "constant", mean_ms: int = 100) -> None:
        self.journal = Journal(trio.current_time(), frozenset(("lin-kv",)))
        latency_ms = latency_source(distribution, mean_ms, random.Random(7))
        self.network = Network(latency_ms, random.Random(8), 0.0, self.journal)
        self.arrived: list[tuple[str, float, bytes]] = []
        self._begun = trio.current_time()
        for name in ("n0", "n1", "c0", "lin-kv"):
            self.network.add(name, self.note)
        nursery.start_soon(self.network.run)

    def note(self, message: NetworkMessage) -> None:
        self.arrived.append((message.dest, round(trio.current_time() - self._begun, 6), message.body))

    def send(self, src: str, dest: str, number: int = 0) -> None:
        self.network.send(src, dest, {"type": "t", "n": number})


async def test_messages_between_nodes_have_a_latency_and_those_of_clients_none(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    line = Line(nursery)
    for src, dest in (("n0", "n1"), ("c0", "n0"), ("n0", "c0"), ("n0", "lin-kv")):
        line.send(src, dest)
    await trio.sleep(1)
    assert {dest: at for dest, at, _ in line.arrived} == {"n1": 0.1, "n0": 0, "c0": 0, "lin-kv": 0.1}


async def test_a_message_in_transit_delays_a_message_without_latency(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    line = Line(nursery)
    line.send("n0", "n1")
    await trio.sleep(0.03)
    line.send("c0", "n1", 1)
    await trio.sleep(1)
    assert [(at, body[-3:]) for _, at, body in line.arrived] == [(0.1, b":0}"), (0.1, b":1}")]


async def test_a_partition_stops_earlier_messages_and_its_end_releases_waiting_ones(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    line = Line(nursery)
    line.send("n0", "n1", 1)  # has set out
    line.send("n0", "n1", 2)  # waits behind it
    line.network.partitions = {"n1": frozenset(("n0",))}
    await trio.sleep(1)
    assert len(line.arrived) == 1
    assert line.journal.cut == 1
    line.send("n0", "n1", 3)
    line.network.partitions = {}
    line.send("n0", "n1", 4)
    await trio.sleep(1)
    assert [body[-3:] for _, _, body in line.arrived] == [b":1}", b":4}"]


async def test_clients_and_services_are_never_cut_off(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    line = Line(nursery)
    for partition in PARTITIONS.values():
        line.network.partitions = partition(["n0", "n1"], random.Random(1))
        line.send("c0", "n0")
        line.send("lin-kv", "n1")
        line.send("n1", "lin-kv")
    await trio.sleep(1)
    assert len(line.arrived) == 3 * len(PARTITIONS)


@pytest.mark.parametrize(("distribution", "deviation"), [("constant", 0), ("uniform", 20), ("exponential", 25)])
def test_latencies_have_the_mean_and_the_spread_of_their_distribution(
    distribution: Distribution, deviation: int
) -> None:
    latency_ms = latency_source(distribution, 100, random.Random(3))
    drawn = [latency_ms() for _ in range(50_000)]
    assert all(type(each) is int and each >= 0 for each in drawn)
    assert statistics.mean(drawn) == pytest.approx(100, abs=1.5)
    spread = {"constant": 0.0, "uniform": 58.0, "exponential": 100.0}[distribution]
    assert statistics.pstdev(drawn) == pytest.approx(spread, abs=2)
    if distribution == "uniform":
        assert (min(drawn), max(drawn)) == (0, 200)


@pytest.mark.slow
async def test_as_many_are_lost_as_there_should_be_and_they_count_as_sent(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    line = Line(nursery, mean_ms=1)
    line.network.p_loss = 0.3
    for _ in range(20_000):
        line.send("n0", "n1")
        line.send("c0", "n1")
    await trio.sleep(100)
    net = line.journal.statistics(1000)
    assert net["servers"]["msg-count"] == net["clients"]["recv-count"] == 20_000
    assert net["servers"]["recv-count"] == pytest.approx(14_000, rel=0.02)
    assert net["servers"]["msgs-per-op"] == 20.0
    assert net["all"]["msgs-per-op"] == 40.0
    assert "msgs-per-op" not in net["clients"]


async def test_messages_to_a_service_count_as_servers(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    line = Line(nursery)
    for src, dest in (("n0", "lin-kv"), ("lin-kv", "n0"), ("n0", "n1"), ("c0", "n0"), ("n0", "c0")):
        line.send(src, dest)
    net = line.journal.statistics(2)
    assert [net[part]["msg-count"] for part in ("all", "clients", "servers")] == [5, 2, 3]
    assert [net[part]["msg-count"] for part in ("between-nodes", "with-services")] == [1, 2]
    assert net["by-type"] == {"t": 3}


async def test_a_message_without_a_receiver_is_undeliverable(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    line = Line(nursery)
    for src, dest in (("n0", "n7"), ("n7", "n0")):
        with pytest.raises(BadMessage, match="not on the network"):
            line.send(src, dest)
    line.network.remove("c0")
    with pytest.raises(BadMessage):
        line.send("n0", "c0")
    assert line.journal.total == 0


async def test_a_client_accepts_its_own_reply_and_no_other(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    line = Line(nursery)
    replies: list[dict[str, Any]] = []

    def answer(message: NetworkMessage) -> None:
        for reply in replies:
            line.network.send("n2", message.src, reply)

    line.network.add("n2", answer)
    client = Client("c9", line.network)
    ok: dict[str, Any] = {"type": "ask_ok", "in_reply_to": 1, "n": 5}
    replies[:] = [{**ok, "in_reply_to": 77, "n": 1}, ok]
    assert (await client.call("n2", {"type": "ask"}, {"n": is_integer}))["n"] == 5
    replies[:] = [{"type": "error", "in_reply_to": 2, "code": 20, "text": "no", "more": 1}]
    with pytest.raises(RpcError, match="key-does-not-exist: no"):
        await client.call("n2", {"type": "ask"}, {})
    for number, (wrong, reason) in enumerate(
        [
            ({**ok, "extra": 1}, "'extra' is not allowed"),
            ({"type": "ask_ok"}, "'n' is missing"),
            ({**ok, "n": 1.0}, "'n' has a wrong value"),
            ({**ok, "n": True}, "'n' has a wrong value"),
            ({**ok, "type": "ok"}, "its type should be 'ask_ok'"),
            ({**ok, "msg_id": "x"}, "'msg_id' is no integer"),
        ],
        start=3,
    ):
        replies[:] = [{**wrong, "in_reply_to": number}]
        with pytest.raises(MalformedReply, match=reason):
            await client.call("n2", {"type": "ask"}, {"n": is_integer})
    replies[:] = []
    begun = trio.current_time()
    with pytest.raises(RpcTimeout):
        await client.call("n2", {"type": "ask"}, {})
    assert trio.current_time() - begun == pytest.approx(5)


def test_errors_are_definite_but_timeouts_crashes_and_unknown_ones() -> None:
    assert [code for code in range(1200) if is_definite(code)] == [1, 10, 11, 12, 14, 20, 21, 22, 30]
    assert not is_definite("20")
    assert not is_definite(None)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 9, 25])
def test_in_a_ring_each_node_receives_from_a_majority(count: int) -> None:
    nodes = [f"n{number}" for number in range(count)]
    for seed in range(20):
        ignored = majorities_ring(nodes, random.Random(seed))
        assert set(ignored) == set(nodes)
        assert all(node not in ignored[node] and count - len(ignored[node]) >= count // 2 + 1 for node in nodes)
    if count == 3:  # each link works one way
        assert all(len(ignored[node]) == 1 for node in nodes)
        assert all((one in ignored[two]) != (two in ignored[one]) for one in nodes for two in nodes if one < two)
    if count == 2:
        assert not any(ignored.values())


@pytest.mark.parametrize(
    ("kind", "count", "sides"),
    [("one", 5, {1, 4}), ("majority", 5, {2, 3}), ("minority-third", 5, {1, 4}), ("minority-third", 3, {0, 3})],
)
def test_partitions_part_the_nodes_into_two_sides(kind: str, count: int, sides: set[int]) -> None:
    nodes = [f"n{number}" for number in range(count)]
    ignored = PARTITIONS[kind](nodes, random.Random(2))
    assert {count - len(others) for others in ignored.values()} == sides - {0}
    assert all((one in ignored[two]) == (two in ignored[one]) for one in nodes for two in nodes)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_topologies_are_symmetric(name: str) -> None:
    nodes = [f"n{number}" for number in range(25)]
    neighbors = topology(name, nodes)
    assert set(neighbors) == set(nodes)
    assert all(one in neighbors[other] for one in nodes for other in neighbors[one])


def test_topologies_have_the_edges_that_maelstroms_have() -> None:
    nodes = [f"n{number}" for number in range(5)]
    assert topology("line", nodes)["n1"] == ["n0", "n2"]
    assert topology("grid", nodes) == {
        "n0": ["n3", "n1"],
        "n1": ["n4", "n2", "n0"],
        "n2": ["n1"],
        "n3": ["n0", "n4"],
        "n4": ["n1", "n3"],
    }
    assert topology("tree4", nodes)["n0"] == ["n1", "n2", "n3", "n4"]
    assert topology("tree", nodes)["n1"] == ["n0", "n3", "n4"]
    assert len(topology("total", nodes)["n0"]) == 4
