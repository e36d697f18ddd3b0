"""A trionet node inside of a Maelstrom node: services, groups and gossip, called by nodes and by clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.maelstrom.network import Network, Refused
from trionet import ConnectionLost, Node, NodeConfig, NodeUnreachable, Remote, rpc
from trionet.maelstrom import Envelope, MaelstromFabric, MaelstromNode, address_of, open_maelstrom_node
from trionet.maelstrom.transport import MaelstromTransport
from trionet.transports.base import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio.testing import MockClock

COUNT = Remote(service="counter", method="count")


class Counter:
    """A service as anywhere else."""

    def __init__(self) -> None:
        self.total = 0

    @rpc
    def count(self, by: int = 1) -> int:
        """Count up."""
        self.total += by
        return self.total

    @rpc
    async def fail(self) -> None:
        """Fail."""
        raise LookupError("nothing here")


class Inside:
    """Makes Maelstrom nodes with a trionet node each, all of them one group."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def build(self) -> MaelstromNode:
        maelstrom = MaelstromNode()
        fabric = MaelstromFabric(maelstrom)

        @maelstrom.background
        async def live() -> None:
            async with open_maelstrom_node(fabric, NodeConfig(datagrams=False)) as node:
                self.nodes[maelstrom.id] = node
                await node.local.routes.put(Counter(), "counter")
                await node.local.groups.put("team", [address_of(name) for name in maelstrom.node_ids])
                await trio.sleep_forever()

        @maelstrom.on("total")
        async def total(message: Envelope) -> dict[str, Any]:
            counted = await self.nodes[maelstrom.id].group("team").comm.send([0], COUNT)
            return {"value": sum(counted.values.values()), "errors": len(counted.errors)}

        return maelstrom


@pytest.fixture
async def inside(nursery: trio.Nursery) -> tuple[Inside, Network]:
    inside = Inside()
    network = Network(inside.build, 3, latency_s=0.01)
    await nursery.start(network.run)
    await trio.sleep(5)
    return inside, network


async def test_a_client_calls_services_and_nodes_call_each_other(
    autojump_clock: MockClock, inside: tuple[Inside, Network]
) -> None:
    _, network = inside
    for number, name in enumerate(network.names):
        body = {"type": "counter/count", "args": [number + 1]}
        assert await network.call(name, body) == {"value": number + 1}
    assert await network.call("n1", {"type": "total"}) == {"value": 6, "errors": 0}


async def test_errors_of_services_are_maelstroms(autojump_clock: MockClock, inside: tuple[Inside, Network]) -> None:
    _, network = inside
    codes = {"counter/fail": 13, "counter/none": 10, "none/none": 10, "dance": 12}
    for kind, code in codes.items():
        with pytest.raises(Refused) as caught:
            await network.call("n0", {"type": kind})
        assert caught.value.code == code
    with pytest.raises(Refused) as caught:
        await network.call("n0", {"type": "counter/count", "args": ["x"]})
    assert caught.value.code == 12


async def test_a_node_that_is_cut_off_is_waited_for_until_the_deadline(
    autojump_clock: MockClock, inside: tuple[Inside, Network]
) -> None:
    nodes, network = inside[0].nodes, inside[1]
    remote = Remote(node=address_of("n1"), service="counter", method="count")
    assert await nodes["n0"].local.comm.send([], remote) == 1
    network.partition(["n0"], ["n1", "n2"])
    with pytest.raises(trio.TooSlowError), trio.fail_after(1):
        await nodes["n0"].local.comm.send([], remote)
    with pytest.raises(NodeUnreachable):
        await nodes["n0"].local.comm.send([], Remote(node=address_of("n9"), service="counter", method="count"))


async def test_a_rumor_is_carried_out_by_every_node(autojump_clock: MockClock, inside: tuple[Inside, Network]) -> None:
    nodes, network = inside[0].nodes, inside[1]
    await nodes["n2"].group("team").gossip.send([10], COUNT)
    await trio.sleep(30)
    assert await network.call("n0", {"type": "total"}) == {"value": 30, "errors": 0}


CALL = {"call": 1, "gid": "local", "service": "counter", "method": "count", "id": "x", "args": [0]}


@pytest.mark.parametrize("kind", ["trionet_call", "trionet_stream"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"call": []},
        {"gid": ["all"]},
        {"gid": None},
        {"service": {}},
        {"method": 5},
        {"id": None},
        {"args": 5},
        {"args": {"$tuple": 5}},
        {"args": None},
        {"kwargs": [1]},
        {"kwargs": "x"},
        {"timeout_s": "soon"},
    ],
    ids=str,
)
async def test_a_malformed_call_of_a_node_is_refused_and_the_node_continues(
    autojump_clock: MockClock, inside: tuple[Inside, Network], kind: str, wrong: dict[str, Any]
) -> None:
    _, network = inside
    try:
        answer = await network.call("n0", {"type": kind, **CALL, **wrong}, "c9")
    except Refused as exc:
        answer = {"error": exc.body}
    assert answer["error"]["code"] == 12
    assert (await network.call("n0", {"type": "counter/count", "args": [0]}))["value"] == 0


@pytest.mark.parametrize("args", [5, "x", None, {"by": 1}, True], ids=str)
async def test_arguments_of_a_client_that_are_no_list_are_refused(
    autojump_clock: MockClock, inside: tuple[Inside, Network], args: object
) -> None:
    _, network = inside
    with pytest.raises(Refused) as refused:
        await network.call("n0", {"type": "counter/count", "args": args})
    assert refused.value.code == 12
    assert (await network.call("n0", {"type": "counter/count", "args": [0]}))["value"] == 0


class _Untravelling:
    """Returns a value that can't be encoded, after it has counted."""

    total = 0

    @rpc
    def count(self) -> object:
        self.total += 1
        return object()


async def test_a_value_that_cannot_travel_is_a_crash_for_a_client(
    autojump_clock: MockClock, inside: tuple[Inside, Network]
) -> None:
    nodes, network = inside
    service = _Untravelling()
    await nodes.nodes["n0"].local.routes.put(service, "odd")
    with pytest.raises(Refused) as refused:
        await network.call("n0", {"type": "odd/count"})
    assert (refused.value.code, service.total) == (13, 1)


@pytest.mark.parametrize(
    "error", [None, 5, [], {}, {"code": "x"}, {"code": 12, "text": 5}, {"code": None, "text": "x"}], ids=str
)
async def test_an_answer_that_is_no_error_is_never_definite(error: object) -> None:
    node = MaelstromNode()
    node.node_ids = ("n0", "n1")
    transport = MaelstromTransport(node, NodeConfig())

    async def answer(dest: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"type": "trionet_call_ok", "error": error}

    node.rpc = answer  # type: ignore[method-assign]
    request = Request("local", "counter", "count", b"[]", None, "x", address_of("n0"))
    with pytest.raises(ConnectionLost):
        await transport.call(address_of("n1"), request)
