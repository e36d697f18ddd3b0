"""Advertised addresses that don't work in a cluster: loopback among others, and addresses that others can't reach."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.clusters import take
from tests.waiting import DEADLINE_S, wait_until
from trionet import (
    AddressUnreachable,
    ConfigError,
    Event,
    MalformedRequest,
    MemberJoined,
    NodeAddress,
    NodeConfig,
    NodeUnreachable,
    Remote,
    open_node,
)
from trionet.message import PACKET
from trionet.protocols.packets import VERSION
from trionet.protocols.statements import Statement
from trionet.protocols.swim_messages import SyncDigest
from trionet.services.dial_back import DialBack
from trionet.services.loopback import are_apart, separates
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from trionet import Node

    StartNode = Callable[..., Awaitable[Node]]

ELSEWHERE = "10.1.2.3"
NOBODY_IP = "127.0.0.2"
"""A loopback address on which the nodes here don't listen."""

QUIET_S = 1.0


def _dialed(node: Node) -> str:
    return f"127.0.0.1:{node.address.port}"


def _lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [line for line in caplog.messages if text in line]


async def _join(node: Node, *seeds: str) -> None:
    with trio.fail_after(DEADLINE_S):
        await node.join(seeds)


# ------------------------------------------------------------------------------------------------------------- loopback


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("127.0.0.1", "10.1.2.3", True),
        ("127.200.0.9", "10.1.2.3", True),
        ("::1", "fd00::1", True),
        ("localhost", "10.1.2.3", True),
        ("seed.localhost", "seed.example", True),
        ("::ffff:127.0.0.1", "10.1.2.3", True),
        ("127.0.0.1", "::1", False),
        ("localhost", "127.0.0.1", False),
        ("10.1.2.3", "seed.example", False),
        ("::ffff:10.1.2.3", "10.1.2.4", False),
        ("localhost.example", "10.1.2.3", False),
    ],
)
def test_two_addresses_are_apart_if_just_one_is_a_loopback_address(one: str, other: str, expected: bool) -> None:
    addresses = NodeAddress.of({"ip": one, "port": 1}), NodeAddress.of({"ip": other, "port": 2})
    assert are_apart(*addresses) == are_apart(*reversed(addresses)) == expected
    assert separates(addresses[0], str(addresses[1])) == expected
    assert not separates(addresses[0], "no address")


@pytest.mark.parametrize("elsewhere", ["the seed", "the newcomer"])
async def test_a_node_of_a_loopback_address_and_another_one_refuse_each_other(
    start_node: StartNode, caplog: pytest.LogCaptureFixture, elsewhere: str
) -> None:
    caplog.set_level(logging.WARNING)
    ips = (ELSEWHERE, None) if elsewhere == "the seed" else (None, ELSEWHERE)
    seed = await start_node(NodeConfig(join=[], advertise_ip=ips[0]))
    newcomer = await start_node(NodeConfig(advertise_ip=ips[1]))
    local = newcomer if elsewhere == "the seed" else seed
    with pytest.raises(ConfigError) as caught:
        await _join(newcomer, _dialed(seed))
    text = caught.value.text
    assert text.startswith(
        f"{newcomer.address} and {seed.address} can't be in one cluster: {local.address} is a loopback"
    )
    assert f"Set advertise_ip (--advertise-ip) of {local.address}" in text
    assert _lines(caplog, f"refused {newcomer.address} as a member: ")
    await trio.sleep(QUIET_S)
    for node in (seed, newcomer):
        assert [member.node for member in node.members()] == [node.address]
        assert list(node.all.members().values()) == [node.address]


async def test_the_error_travels_to_a_caller_elsewhere_and_a_later_join_of_another_seed_works(
    start_node: StartNode,
) -> None:
    seed, newcomer = await start_node(NodeConfig(join=[], advertise_ip=ELSEWHERE)), await start_node()
    join = Remote(node=newcomer.address, service="membership", method="join")
    caller, other = await start_node(), await start_node(NodeConfig(join=[]))
    with pytest.raises(ConfigError, match="can't be in one cluster"):
        await caller.local.comm.send([[_dialed(seed)]], join)
    await caller.local.comm.send([[_dialed(seed), str(other.address)]], join)
    assert {member.node for member in newcomer.members()} == {newcomer.address, other.address}


async def test_a_configured_join_says_the_reason_once_and_gets_in_when_the_seed_has_another_address(
    start_node: StartNode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with open_node(NodeConfig(join=[], advertise_ip=ELSEWHERE)) as seed:
        port = seed.address.port
        begun = trio.current_time()
        newcomer = await start_node(NodeConfig(join=[_dialed(seed)], connect_timeout_s=30))
        assert trio.current_time() - begun < 30  # it does not wait for what can't come
        await trio.sleep(2.5)
    async with open_node(NodeConfig(join=[], port=port)) as seed:
        await wait_until(lambda: len(newcomer.members()) == 2 == len(seed.members()))
    assert len(_lines(caplog, "this node is in no cluster, and goes on trying to join one: ")) == 1
    assert not _lines(caplog, "none of")


async def test_a_third_node_does_not_bring_them_together(start_node: StartNode) -> None:
    first = await start_node(NodeConfig(join=[]))
    second = await start_node(NodeConfig(join=[str(first.address)]))
    apart = await start_node(NodeConfig(advertise_ip=ELSEWHERE))
    told: list[Event] = []
    for node in (first, second):
        node.listen(told.append)
    for seed in (first, second):
        with pytest.raises(ConfigError):
            await _join(apart, _dialed(seed))
    await trio.sleep(QUIET_S)
    assert told == []
    assert len(first.members()) == len(second.members()) == 2


async def test_a_node_that_is_started_again_with_another_advertised_address_is_a_member(start_node: StartNode) -> None:
    seed = await start_node(NodeConfig(join=[]))
    async with open_node(NodeConfig(advertise_ip=ELSEWHERE)) as node:
        port = node.address.port
        with pytest.raises(ConfigError):
            await _join(node, _dialed(seed))
    async with open_node(NodeConfig(port=port, join=[_dialed(seed)])) as node:
        assert len(node.members()) == 2


async def test_a_join_ends_if_all_seeds_refuse_and_waits_for_one_that_does_not_answer(start_node: StartNode) -> None:
    seeds = [await start_node(NodeConfig(join=[], advertise_ip=ELSEWHERE)) for _ in range(2)]
    newcomer = await start_node()
    with pytest.raises(ConfigError) as caught:
        await _join(newcomer, *map(_dialed, seeds))
    assert all(str(seed.address) in caught.value.text for seed in seeds)
    with trio.move_on_after(QUIET_S) as scope:
        await _join(newcomer, _dialed(seeds[0]), f"{NOBODY_IP}:9")
    assert scope.cancelled_caught


async def test_simulated_addresses_mean_nothing() -> None:
    fabric = MemoryFabric()
    async with open_node(NodeConfig(join=[]), fabric=fabric) as seed:
        config = NodeConfig(ip=ELSEWHERE, insecure=True, port=5, join=[str(seed.address)])
        async with open_node(config, fabric=fabric) as node:
            assert len(node.members()) == 2


def _packet(source: str, *messages: Any) -> bytes:
    return msgspec.msgpack.encode([VERSION, source, list(messages)])


async def test_a_strangers_packet_from_an_address_apart_is_answered_by_its_call_alone(start_node: StartNode) -> None:
    node, stranger = await start_node(NodeConfig(join=[])), await start_node()
    with socket.socket() as listener, socket.socket(type=socket.SOCK_DGRAM) as inbox:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        inbox.bind(listener.getsockname())
        inbox.setblocking(False)
        packet = _packet(f"{ELSEWHERE}:9", Statement("10.1.2.3:9", 1, 0, 1), SyncDigest((0,) * 64, is_join=True))
        for _ in range(3):
            call = Remote(node=node.address, service=PACKET.service, method=PACKET.method)
            assert await stranger.local.comm.send([packet], call) == {"refused_by": str(node.address)}
            inbox.sendto(packet, (node.address.ip, node.address.port))
        await trio.sleep(0.2)
        with pytest.raises(BlockingIOError):
            listener.accept()
        with pytest.raises(BlockingIOError):
            inbox.recv(2000)
    assert len(node.members()) == 1
    assert len(node.all.members()) == 1


async def test_gossip_in_a_listed_group_needs_no_cluster_and_so_no_common_kind_of_address(
    start_node: StartNode,
) -> None:
    counted: list[int] = []
    one, other = await start_node(NodeConfig(advertise_ip=ELSEWHERE)), await start_node()
    await other.local.routes.put({"count": lambda: counted.append(1)}, "counter")
    for node in (one, other):
        await node.local.groups.put("g", [one.address, other.address])
    receipt = await one.group("g").gossip.send([], Remote(service="counter", method="count"))
    assert receipt.values == {other.sid: True}
    await wait_until(lambda: counted == [1])


# --------------------------------------------------------------------------------------------------------- out of reach


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_an_advertised_address_out_of_reach_is_reported_at_both_ends(
    start_node: StartNode, caplog: pytest.LogCaptureFixture, transport: Any
) -> None:
    caplog.set_level(logging.WARNING)
    seed = await start_node(NodeConfig(join=[]))
    told, told_seed = list[Event](), seed.events()
    config = NodeConfig(
        advertise_ip=NOBODY_IP,
        join=[_dialed(seed)],
        transport=transport,
        connect_timeout_s=0.1,
        on_start=lambda node: node.listen(told.append),
    )
    async with open_node(config) as newcomer:
        expected = AddressUnreachable(node=newcomer.address, by=seed.address)
        found = await take(told_seed, lambda event: isinstance(event, AddressUnreachable))
        await wait_until(lambda: expected in told)
        assert found[-1] == expected
        port = newcomer.address.port
    start = (
        f"{seed.address} can't reach {newcomer.address}, which this node advertises: set advertise_ip (--advertise-ip)"
    )
    assert len(_lines(caplog, start)) == 1
    start = f"{seed.address}, this node, can't reach {newcomer.address}, which that node advertises: set advertise_ip"
    assert len(_lines(caplog, start)) == 1
    async with open_node(NodeConfig(port=port, join=[_dialed(seed)])) as again:
        found = await take(told_seed, lambda event: isinstance(event, MemberJoined) and event.node == again.address)
        await trio.sleep(QUIET_S)
        seed.stop()
        found += [event async for event in told_seed]
    assert not any(isinstance(event, AddressUnreachable) for event in found)


async def test_a_seed_that_advertises_an_address_out_of_reach_is_reported_at_both_ends(
    start_node: StartNode, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    monkeypatch.setattr("trionet.services.dial_back._PATIENCE_S", 0.1)
    seed, dead, newcomer = [await start_node(NodeConfig(advertise_ip=ip)) for ip in (NOBODY_IP, None, None)]
    dead.stop()
    told: list[list[Event]] = [[], []]
    for node, events in zip((seed, newcomer), told, strict=True):
        node.listen(events.append)
    nursery.start_soon(newcomer.join, [_dialed(dead), _dialed(seed)])
    expected = AddressUnreachable(node=seed.address, by=newcomer.address)
    with trio.fail_after(DEADLINE_S):
        await wait_until(lambda: all(expected in events for events in told))
    nursery.cancel_scope.cancel()


async def test_members_in_reach_are_not_reported_when_they_join_crash_and_start_again(start_node: StartNode) -> None:
    seed = await start_node(NodeConfig(join=[]))
    told: list[Event] = []
    seed.listen(told.append)
    port = 0
    for stops_at_once in (True, False, True, False):
        config = NodeConfig(port=port, join=[str(seed.address)], stop_grace_s=0)
        async with open_node(config) as node:
            port = node.address.port
            if not stops_at_once:
                await trio.sleep(0.2)
    await trio.sleep(QUIET_S)
    assert any(isinstance(event, MemberJoined) for event in told)
    assert not any(isinstance(event, AddressUnreachable) for event in told)


class Reached:
    """A network and calls for a `DialBack`: the test decides what each connection and each call comes to."""

    def __init__(self, *outcomes: bool) -> None:
        self.outcomes = list(outcomes)
        self.own = NodeAddress("127.0.0.1", 1)
        self.called: list[str] = []
        self.failure: NodeUnreachable | None = None

    async def can_connect(self, node: NodeAddress) -> bool:
        await trio.sleep(0.1)
        return self.outcomes.pop(0)

    def prepare(self, args: list[Any], kwargs: dict[str, Any], remote: Remote, *, is_own: bool = False) -> str:
        return remote.method

    async def call_unrecorded(self, node: NodeAddress, request: str) -> None:
        await trio.sleep(0.1)
        self.called.append(request)
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize(
    ("outcomes", "answers", "called", "is_reported"),
    [
        ([True], True, [], False),
        ([False, False], True, ["get", "unreachable"], True),
        ([False, True], True, ["get"], False),  # it was cut off for a while
        ([False], False, ["get"], False),  # it has crashed
    ],
)
async def test_a_node_is_out_of_reach_if_it_answers_between_two_failed_connections(
    autojump_clock: MockClock,
    nursery: trio.Nursery,
    outcomes: list[bool],
    answers: bool,
    called: list[str],
    is_reported: bool,
) -> None:
    reached: Any = Reached(*outcomes)
    reached.failure = None if answers else NodeUnreachable("gone")
    check, reported = DialBack(reached, reached, nursery), list[NodeAddress]()
    node = NodeAddress("127.0.0.1", 2)
    for _ in range(3):
        check.check_soon(node, reported.append)  # once in a while only
        await trio.sleep(1)
    assert (reached.called, reported, reached.outcomes) == (called, [node] * is_reported, [])


async def test_few_checks_run_at_a_time_and_a_node_is_checked_again_after_a_while(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    reached: Any = Reached(*[True] * 100)
    check = DialBack(reached, reached, nursery)
    for port in range(1, 100):
        check.check_soon(NodeAddress("127.0.0.1", port), lambda _: None)
    await trio.sleep(1)
    assert len(reached.outcomes) == 84
    await trio.sleep(60)
    check.check_soon(NodeAddress("127.0.0.1", 1), lambda _: None)
    await trio.sleep(1)
    assert len(reached.outcomes) == 83


async def test_strangers_who_claim_that_a_node_is_out_of_reach_cause_few_events(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fabric, told = MemoryFabric(), list[Event]()
    async with open_node(fabric=fabric) as node, open_node(fabric=fabric) as stranger:
        node.listen(told.append)
        claim = Remote(node=node.address, service="membership", method="unreachable")
        for port in range(1, 100):
            await stranger.local.comm.send([NodeAddress("10.0.0.1", port)], claim)
        assert len(told) == 32
        await stranger.local.comm.send([NodeAddress("10.0.0.1", 1)], claim)
        await trio.sleep(61)
        await stranger.local.comm.send([NodeAddress("10.0.0.1", 1)], claim)
        assert told[32:] == [AddressUnreachable(node=node.address, by=NodeAddress("10.0.0.1", 1))]
        with pytest.raises(MalformedRequest):
            await stranger.local.comm.send(["nowhere"], claim)


# ------------------------------------------------------------------------------------------------------------- children


class RecordingLauncher:
    """Starts nothing, and keeps the configurations."""

    def __init__(self) -> None:
        self.configs: list[NodeConfig] = []

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        self.configs.append(config)
        task_status.started(NodeAddress(config.ip, 1))
        return 0


@pytest.mark.parametrize(
    ("launcher", "settings", "expected"),
    [
        ("subprocess", {}, ("127.0.0.1", ELSEWHERE, True)),
        ("subprocess", {"ip": NOBODY_IP}, (NOBODY_IP, None, False)),
        ("subprocess", {"advertise_ip": "10.1.2.4"}, ("127.0.0.1", "10.1.2.4", False)),
        ("another", {}, ("127.0.0.1", None, False)),
    ],
)
async def test_a_child_on_the_machine_of_its_spawner_listens_and_advertises_where_that_does(
    start_node: StartNode, launcher: str, settings: dict[str, Any], expected: tuple[str, str | None, bool]
) -> None:
    recording = RecordingLauncher()
    for join, wanted in (([], expected), (None, ("127.0.0.1", None, False))):
        node = await start_node(NodeConfig(join=join, advertise_ip=ELSEWHERE, insecure=True))
        node.register_launcher(launcher, recording)
        await node.local.status.spawn(NodeConfig(launcher=launcher, **settings))
        config = recording.configs.pop()
        if join is not None or not settings:
            assert (config.ip, config.advertise_ip, config.insecure) == wanted
