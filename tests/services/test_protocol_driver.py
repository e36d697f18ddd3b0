"""What carries the protocols' packets: by datagram, by call, and not at all."""

from __future__ import annotations

import socket
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing

from tests.clusters import COUNT, Cluster, Counter, open_cluster
from tests.waiting import DEADLINE_S, wait_until
from trionet import Node, NodeAddress, NodeConfig, NodeUnreachable, Remote
from trionet.nesting import PACKETS
from trionet.profiles import LAN
from trionet.protocols.effects import Send
from trionet.protocols.mux import Packet, ProtocolMux
from trionet.protocols.swim import Swim
from trionet.protocols.swim_messages import Ping
from trionet.services.protocol_driver import ProtocolDriver, address_of
from trionet.transports.clock import TrioClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    StartNode = Callable[..., Awaitable[Node]]

ME, OTHER = "127.0.0.1:1", "127.0.0.1:2"


class Calls:
    """Stands for `comm`: notes the calls, and does with each as it is told."""

    def __init__(self) -> None:
        self.made: list[tuple[NodeAddress, bytes]] = []
        self.outcome: Callable[[], Awaitable[Any]] = trio.lowlevel.checkpoint

    def prepare(
        self, args: list[Any], kwargs: dict[str, Any], remote: Remote, *, depth: int, is_own: bool = False
    ) -> bytes:
        assert (remote.service, remote.method, kwargs, depth) == ("membership", "packet", {}, PACKETS)
        packet: bytes = args[0]
        return packet

    async def call_unrecorded(self, node: NodeAddress, request: bytes) -> Any:
        self.made.append((node, request))
        return await self.outcome()


class Sent:
    """Stands for datagrams: takes those that go to an IP address."""

    def __init__(self) -> None:
        self.made: list[tuple[NodeAddress, bytes]] = []

    def send_nowait(self, to: NodeAddress, data: bytes) -> bool:
        if to.ip == "a.name":
            return False
        self.made.append((to, data))
        return True

    async def serve(self, handle: Callable[[bytes], None]) -> None:
        await trio.sleep_forever()

    def close(self) -> None:
        pass


class Watched(ProtocolMux):
    """Notes whom it is told to be unreachable."""

    def __init__(self) -> None:
        super().__init__(ME, [Swim(ME, LAN, Random(1), trio.current_time(), boot_id=1)])
        self.lost: list[str] = []

    def unreachable(self, to: str, now: float) -> list[Packet]:
        self.lost.append(to)
        return super().unreachable(to, now)


class Setting:
    """A driver and its surroundings."""

    def __init__(self, nursery: trio.Nursery, *, with_datagrams: bool = True) -> None:
        self.calls, self.sent, self.mux = Calls(), Sent(), Watched()
        comm: Any = self.calls
        clock, datagrams = TrioClock(), self.sent if with_datagrams else None
        nursery.start_soon(clock.run)
        self.driver = ProtocolDriver(self.mux, comm, datagrams, clock, nursery, lambda _: None)


def _send(setting: Setting, to: str, *, is_reliable: bool = False) -> None:
    setting.driver.act([Send(to, Ping(5), is_reliable=is_reliable)])


async def test_a_short_packet_goes_as_a_datagram(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    setting = Setting(nursery)
    _send(setting, OTHER)
    assert [(str(to), len(data) < 1400) for to, data in setting.sent.made] == [(OTHER, True)]
    assert setting.calls.made == []


@pytest.mark.parametrize(
    ("to", "is_reliable", "with_datagrams"),
    [(OTHER, True, True), ("a.name:5", False, True), (OTHER, False, False)],
    ids=["reliable", "to a name", "without datagrams"],
)
async def test_what_cannot_go_as_a_datagram_goes_as_a_call(
    autojump_clock: MockClock, nursery: trio.Nursery, to: str, is_reliable: bool, with_datagrams: bool
) -> None:
    setting = Setting(nursery, with_datagrams=with_datagrams)
    _send(setting, to, is_reliable=is_reliable)
    await trio.testing.wait_all_tasks_blocked()
    assert [str(node) for node, _ in setting.calls.made] == [to]
    assert setting.sent.made == []


async def test_the_core_is_told_that_a_reliable_packet_did_not_arrive_and_of_no_other(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    setting = Setting(nursery, with_datagrams=False)

    async def fail() -> None:
        raise NodeUnreachable("nobody there")

    setting.calls.outcome = fail
    _send(setting, OTHER)
    await trio.testing.wait_all_tasks_blocked()
    assert setting.mux.lost == []
    _send(setting, OTHER, is_reliable=True)
    await trio.testing.wait_all_tasks_blocked()
    assert setting.mux.lost == [OTHER]


async def test_a_call_that_hangs_is_given_up(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    setting = Setting(nursery)
    setting.calls.outcome = trio.sleep_forever
    begun = trio.current_time()
    _send(setting, OTHER, is_reliable=True)
    await wait_until(lambda: setting.mux.lost == [OTHER])
    assert trio.current_time() - begun < 11


async def test_only_so_many_packets_are_on_their_way_by_call(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    setting = Setting(nursery, with_datagrams=False)
    setting.calls.outcome = trio.sleep_forever
    for _ in range(600):
        _send(setting, OTHER)
    await trio.testing.wait_all_tasks_blocked()
    assert (len(setting.calls.made), setting.driver.lost) == (512, 88)
    await trio.sleep(11)  # the first ones are given up
    _send(setting, OTHER)
    await trio.testing.wait_all_tasks_blocked()
    assert len(setting.calls.made) == 513


async def test_a_name_that_is_no_address_is_sent_nothing(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    setting = Setting(nursery)
    for name in ("nonsense", "", "127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:02", "[127.0.0.1]:2", "::1:2"):
        assert address_of(name) is None
        _send(setting, name, is_reliable=True)
    await trio.testing.wait_all_tasks_blocked()
    assert setting.calls.made == setting.sent.made == []


async def test_only_so_many_bytes_are_on_their_way_by_call(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    setting = Setting(nursery)
    setting.calls.outcome = trio.sleep_forever
    long = Packet(OTHER, (), bytes(20 * 1024 * 1024), is_reliable=True)
    for _ in range(4):
        setting.driver.send(long)
    await trio.testing.wait_all_tasks_blocked()
    assert (len(setting.calls.made), setting.driver.lost) == (3, 1)
    await trio.sleep(11)  # these are given up
    setting.driver.send(Packet(OTHER, (), bytes(65 * 1024 * 1024), is_reliable=True))  # by itself it may be any size
    await trio.testing.wait_all_tasks_blocked()
    assert len(setting.calls.made) == 4


# ---------------------------------------------------------------------------------------------- what comes from outside


def _encoded(version: int, source: str, *messages: Any) -> bytes:
    return msgspec.msgpack.encode((version, source, messages))


def _garbage(to: Node, from_member: Node) -> list[bytes]:
    random = Random(7)
    mine, others = str(to.address), str(from_member.address)
    whole = _encoded(1, others, Ping(5))
    return [
        b"",
        b"\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        *[random.randbytes(random.randrange(1400)) for _ in range(200)],
        *[whole[:size] for size in range(len(whole))],
        bytes(60_000),
        _encoded(1, others, *[Ping(5)] * 600),  # over 1,400 bytes
        _encoded(2, others, Ping(5)),
        _encoded(1, mine, Ping(5)),
        _encoded(1, "", Ping(5)),
        _encoded(1, others, {"type": "nobody knows this"}),
        _encoded(1, "nonsense", Ping(5)),
        _encoded(1, "x" * 1000, Ping(5)),
        b"\x93" * 1400,
        b"\xc1" * 100,
    ]


async def test_garbage_is_dropped_and_the_node_lives_on_in_memory(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(3)
        for data in _garbage(nodes[0], nodes[1]):
            cluster.network.carry(nodes[0].address, data)
            with trio.fail_after(10):
                await trio.sleep(0.01)
        await _still_works(cluster, nodes)


async def _still_works(cluster: Cluster, nodes: list[Node]) -> None:
    await trio.sleep(20)
    await cluster.wait_members(nodes)
    await nodes[0].all.gossip.send([], COUNT)
    await cluster.wait_totals(nodes, 1)


async def test_garbage_by_a_call_is_dropped_too(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(3)
        packet = Remote(node=nodes[0].address, service="membership", method="packet")
        for data in _garbage(nodes[0], nodes[1]):
            assert await nodes[2].local.comm.send([data], packet) is None
        await _still_works(cluster, nodes)


@pytest.mark.slow
async def test_garbage_on_the_udp_port_is_dropped_and_the_node_lives_on(start_node: StartNode) -> None:
    a = await start_node(NodeConfig(join=[]))
    b = await start_node(NodeConfig(join=[str(a.address)]))
    await wait_until(lambda: len(a.members()) == len(b.members()) == 2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for data in _garbage(a, b):
            sock.sendto(data, (a.address.ip, a.address.port))
    counter = Counter()
    await a.local.routes.put(counter, "counter")
    with trio.fail_after(DEADLINE_S):
        receipt = await b.all.gossip.send([], COUNT)
        assert (await receipt.wait_spread()).known == 2
    await wait_until(lambda: counter.ids == [receipt.id])
    assert len(a.members()) == 2


@pytest.mark.slow
async def test_nodes_gossip_over_udp_and_over_tcp_alone(start_node: StartNode) -> None:
    for datagrams in (True, False):
        first = await start_node(NodeConfig(join=[], datagrams=datagrams))
        rest = [await start_node(NodeConfig(join=[str(first.address)], datagrams=datagrams)) for _ in range(4)]
        nodes = [first, *rest]
        counters = [Counter() for _ in nodes]
        for node, counter in zip(nodes, counters, strict=True):
            await node.local.routes.put(counter, "counter")
        await wait_until(lambda nodes=nodes: all(len(node.members()) == 5 for node in nodes))  # type: ignore[misc]
        with trio.fail_after(DEADLINE_S):
            for size in (0, 100_000):
                receipt = await first.all.gossip.send([bytes(size)], COUNT)
                assert (await receipt.wait_spread()).known == 5
        await wait_until(lambda counters=counters: all(len(each.ids) == 2 for each in counters))  # type: ignore[misc]
        for node in nodes:
            node.stop()
