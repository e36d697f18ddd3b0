"""The effects of each fault on calls, datagrams and nodes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel

from tests.simulation.services import CONFIG, COUNT, NUMBERS, WORK, Counter
from trionet import ConfigError, ConnectionLost, Node, NodeUnreachable, Remote, open_node
from trionet.simulation import (
    Crash,
    Degrade,
    Isolate,
    Leave,
    Network,
    OneWay,
    Partition,
    Pause,
    Ring,
    Simulation,
    Skew,
    Slow,
    decode_schedule,
    encode_schedule,
    open_cluster,
)
from trionet.simulation.rules import cut, lose, only
from trionet.transports.link.outgoing import LinkClient
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from trio.testing import MockClock

    from trionet.simulation.fault import Fault

QUICK = Network(latency="constant", latency_s=0.01)


@pytest.fixture
async def sim() -> AsyncGenerator[Simulation]:
    """Four nodes, a hundredth of a second from each other."""
    async with open_cluster(4, seed=1, network=QUICK, config=CONFIG) as sim:
        yield sim


def on(remote: Remote, node: Node) -> Remote:
    return Remote(node=node.address, service=remote.service, method=remote.method)


@contextmanager
def lasting(sim: Simulation, fault: Fault) -> Generator[None]:
    undo = fault.begin(sim)
    yield
    if undo is not None:
        undo()


async def took_s(sim: Simulation, one: int, other: int) -> float:
    """Return the duration of a call."""
    begun = sim.now
    await sim.nodes[one].local.comm.send([], on(COUNT, sim.nodes[other]))
    return sim.now - begun


async def call_and_cancel(sim: Simulation) -> None:
    """Begin a long call, and cancel it; not by a deadline, which the handler would have, too."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sim.nodes[0].local.comm.send, [1000.0], on(WORK, sim.nodes[1]))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()


async def test_a_call_lasts_one_round_trip_and_the_first_one_two(autojump_clock: MockClock, sim: Simulation) -> None:
    first = sim.nodes[0]
    for peer in sim.nodes[1:]:
        await first.local.comm.send([], on(COUNT, peer))
    assert await took_s(sim, 0, 1) == pytest.approx(0.02)
    new = await sim.start()
    await sim.wait_converged()
    assert await took_s(sim, 1, sim.nodes.index(new)) in (pytest.approx(0.02), pytest.approx(0.04))


async def test_behind_a_partition_a_new_call_waits_for_the_connect_timeout(
    autojump_clock: MockClock, sim: Simulation
) -> None:
    with lasting(sim, Partition(at_s=0, sides=[[0, 1], [2, 3]])):
        link_free = await sim.start()  # on neither side, it reaches all
        assert await took_s(sim, 4, 0) < 0.1
        assert await took_s(sim, 4, 2) < 0.1
    with sim.rule(cut([link_free.address], [sim.address(3)])), pytest.raises(NodeUnreachable, match="within 5 s"):
        await took_s(sim, 4, 3)


async def test_a_partition_is_silence_and_a_call_in_progress_is_lost_after_thirty_seconds(
    autojump_clock: MockClock, sim: Simulation
) -> None:
    begun = sim.now
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def call() -> None:
            with pytest.raises(ConnectionLost, match="no sign of life"):
                await sim.nodes[0].local.comm.send([1000.0], on(WORK, sim.nodes[1]))

        await trio.sleep(1)
        undo = Partition(at_s=0, sides=[[0], [1]]).begin(sim)
    assert 30 < sim.now - begun < 35
    assert undo is not None
    undo()


async def test_messages_arrive_after_a_short_partition(autojump_clock: MockClock, sim: Simulation) -> None:
    await took_s(sim, 0, 1)
    sim.play([Isolate(at_s=0, duration_s=3.0, node=1)])
    await trio.lowlevel.checkpoint()
    assert 3.0 <= await took_s(sim, 0, 1) < 7.0


async def test_a_crash_resets_connections_and_the_node_is_unreachable_then(
    autojump_clock: MockClock, sim: Simulation
) -> None:
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def call() -> None:
            begun = sim.now
            with pytest.raises(ConnectionLost):
                await sim.nodes[0].local.comm.send([1000.0], on(WORK, sim.nodes[1]))
            assert sim.now - begun == pytest.approx(1.01)

        await trio.sleep(1)
        sim.play([Crash(at_s=0, node=1)])
    with pytest.raises(NodeUnreachable, match="no node listens"):
        await took_s(sim, 0, 1)
    assert not sim.is_up(1)


async def test_a_silent_crash_resets_no_connection(autojump_clock: MockClock, sim: Simulation) -> None:
    begun = sim.now
    sim.crash(1, is_silent=True)
    with pytest.raises((ConnectionLost, NodeUnreachable)):
        await took_s(sim, 0, 1)
    assert sim.now - begun > 4


async def test_a_crashed_node_is_suspected_and_a_stopped_one_leaves(autojump_clock: MockClock, sim: Simulation) -> None:
    assert sim.trace is not None
    sim.play([Crash(at_s=0, node=3), Leave(at_s=0, node=2)])
    await trio.sleep(15)
    assert {event.what for event in sim.trace.select("state", peer="n3")} >= {"MemberSuspected", "MemberFailed"}
    assert sim.trace.select("state", peer="n2", what="MemberLeft")
    assert not sim.trace.select("state", peer="n2", what="MemberFailed")


async def test_a_node_starts_again_with_the_same_identity_and_joins(autojump_clock: MockClock, sim: Simulation) -> None:
    before = sim.nodes[2]
    sim.play([Crash(at_s=0, duration_s=5, node=2)])
    await trio.sleep(1)
    assert not sim.is_up(2)
    await trio.sleep(10)
    await sim.wait_converged()
    assert sim.nodes[2] is not before
    assert sim.nodes[2].nid == before.nid
    assert await took_s(sim, 0, 2) < 1


async def test_a_paused_node_resumes(autojump_clock: MockClock, sim: Simulation) -> None:
    await took_s(sim, 0, 1)
    sim.play([Pause(at_s=0, duration_s=2.0, node=1)])
    await trio.lowlevel.checkpoint()
    assert await took_s(sim, 0, 1) == pytest.approx(2.01, abs=0.02)
    assert sim.trace is not None
    taken = sim.trace.select("deliver", node="n1", since=sim.now - 1.9, until=sim.now - 0.02)
    assert taken == []


async def test_the_connections_of_a_paused_node_that_is_killed_break(
    autojump_clock: MockClock, sim: Simulation
) -> None:
    await took_s(sim, 0, 1)
    sim.play([Pause(at_s=0, node=1), Crash(at_s=1, node=1)])
    await trio.lowlevel.checkpoint()
    begun = sim.now
    with pytest.raises(ConnectionLost):
        await took_s(sim, 0, 1)
    assert sim.now - begun < 2


async def test_an_exception_of_a_rule_ends_the_cluster(autojump_clock: MockClock) -> None:
    def judge(*_: object) -> None:
        raise ZeroDivisionError

    async def simulate() -> None:
        async with open_cluster(2, seed=1) as sim:
            with sim.rule(judge):
                await trio.sleep(10)

    with pytest.raises(ExceptionGroup) as caught:
        await simulate()
    assert caught.group_contains(ZeroDivisionError)


async def test_a_slow_node_answers_late(autojump_clock: MockClock, sim: Simulation) -> None:
    await took_s(sim, 0, 1)
    with lasting(sim, Slow(at_s=0, node=1, lag_s=0.3)):
        times = [await took_s(sim, 0, 1) for _ in range(20)]
    assert 0.1 < sum(times) / 20 < 1.0
    assert sum([await took_s(sim, 0, 1) for _ in range(20)]) / 20 < 0.2


async def test_a_skewed_clock_affects_one_node_and_its_cluster_stays_whole(
    autojump_clock: MockClock, sim: Simulation
) -> None:
    sim.play([Skew(at_s=0, duration_s=20, node=1, forward_s=100, rate=1.2)])
    await trio.sleep(10)
    assert sim.nodes[0].current_time() == trio.current_time()
    assert sim.nodes[1].current_time() - trio.current_time() == pytest.approx(102, abs=0.1)
    await trio.sleep(30)
    assert sim.nodes[1].current_time() - trio.current_time() == pytest.approx(104, abs=0.1)
    assert sim.is_converged()


async def test_a_node_that_is_paused_twice_resumes_after_both_pauses(
    autojump_clock: MockClock, sim: Simulation
) -> None:
    await took_s(sim, 0, 1)
    sim.play([Pause(at_s=0, duration_s=5.0, node=1), Pause(at_s=1, duration_s=2.0, node=1)])
    await trio.lowlevel.checkpoint()
    assert await took_s(sim, 0, 1) == pytest.approx(5.01, abs=0.02)
    assert await took_s(sim, 0, 1) == pytest.approx(0.02, abs=0.001)


async def test_the_lags_of_a_node_add_up(autojump_clock: MockClock, sim: Simulation) -> None:
    await took_s(sim, 0, 1)

    async def mean_s() -> float:
        return sum([await took_s(sim, 0, 1) for _ in range(100)]) / 100

    with lasting(sim, Slow(at_s=0, node=1, lag_s=0.5)):
        with lasting(sim, Slow(at_s=0, node=1, lag_s=0.1)):
            both_s = await mean_s()
        one_s = await mean_s()
    assert one_s > 0.4
    assert both_s > one_s + 0.05
    await trio.sleep(10)  # it handles the delayed messages
    assert await took_s(sim, 0, 1) == pytest.approx(0.04, abs=0.001)  # a ping first, after the silence
    assert await took_s(sim, 0, 1) == pytest.approx(0.02, abs=0.001)


async def test_the_rates_of_a_clock_multiply(autojump_clock: MockClock, sim: Simulation) -> None:
    clock = sim.nodes[1].current_time

    async def rate() -> float:
        begun, begun_by_it = trio.current_time(), clock()
        await trio.sleep(1)
        return (clock() - begun_by_it) / (trio.current_time() - begun)

    with lasting(sim, Skew(at_s=0, node=1, rate=1.5)):
        with lasting(sim, Skew(at_s=0, node=1, rate=1.2)):
            assert await rate() == pytest.approx(1.8)
        assert await rate() == pytest.approx(1.5)
    assert await rate() == pytest.approx(1.0)


async def test_one_way_and_ring_cut_their_links_only(autojump_clock: MockClock, sim: Simulation) -> None:
    def reaches(one: int, other: int) -> bool:
        with sim.fabric.rule():
            endpoint = sim.fabric.endpoints[sim.address(one)]
            message = sim.fabric.new_message(endpoint.address, sim.address(other), "datagram", b"", 0.0, 0)
            return sim.fabric.judge(message, endpoint.random_to[message.target]) < 1

    with lasting(sim, OneWay(at_s=0, sources=[0], targets=[1, 2])):
        assert [reaches(0, 1), reaches(1, 0), reaches(0, 3)] == [False, True, True]
    with lasting(sim, Ring(at_s=0)):
        assert [reaches(0, other) for other in (1, 2, 3)] == [True, False, True]
    assert reaches(0, 1)


async def test_a_degraded_network_loses_duplicates_and_delays_datagrams(
    autojump_clock: MockClock, sim: Simulation
) -> None:
    assert sim.trace is not None
    with lasting(sim, Degrade(at_s=0, loss=0.3, duplicates=0.3, latency_s=0.1)):
        begun = sim.now
        await trio.sleep(60)
        sent = sim.trace.select("send", what="datagram", since=begun)
        lost = sim.trace.select("drop", what="datagram", since=begun)
        taken = sim.trace.select("deliver", what="datagram", since=begun)
        assert 0.15 < len(lost) / len(sent) < 0.45
        assert len({event.number for event in taken}) < len(taken)
        assert sim.is_converged()
    with lasting(sim, Degrade(at_s=0, bytes_per_s=200.0)):
        assert await took_s(sim, 0, 1) > 0.1


async def test_a_cancelled_call_is_cancelled_remotely_and_confirmed(autojump_clock: MockClock, sim: Simulation) -> None:
    assert sim.trace is not None
    await took_s(sim, 0, 1)
    await call_and_cancel(sim)
    assert [event.node for event in sim.trace.select("deliver", what="cancel")] == ["n1"]
    assert [event.node for event in sim.trace.select("deliver", what="cancelled")] == ["n0"]
    assert not sim.trace.select("state", what="OrphanedCall")
    assert sim.nodes[0].statistics().calls_orphaned == 0


async def test_a_cancel_that_is_lost_makes_an_orphan_after_the_grace(
    autojump_clock: MockClock, sim: Simulation
) -> None:
    assert sim.trace is not None
    await took_s(sim, 0, 1)
    with sim.rule(only(lose(1.0), kinds=["cancel"])):
        await call_and_cancel(sim)
    (orphan,) = sim.trace.select("state", what="OrphanedCall")
    assert (orphan.node, orphan.peer) == ("n0", "n1")
    (cancel,) = sim.trace.select("cancel", what="local/counter/work")
    assert cancel.at == orphan.at


async def test_a_handler_is_cancelled_when_its_callers_host_dies_even_if_its_own_node_makes_no_calls(
    autojump_clock: MockClock,
) -> None:
    counter, fabric = Counter(), MemoryFabric()
    async with open_node(fabric=fabric) as here, open_node(fabric=fabric) as there, trio.open_nursery() as nursery:
        await there.local.routes.put(counter, "counter")

        @nursery.start_soon
        async def call() -> None:
            with pytest.raises(ConnectionLost):
                await here.local.comm.send([1000.0], on(WORK, there))

        await trio.sleep(1)
        assert counter.in_progress == 1
        fabric.crash(here.address, is_silent=True)
        await trio.sleep(40)
        assert counter.in_progress == 0


async def test_a_stream_is_in_the_trace_as_a_call_is(autojump_clock: MockClock, sim: Simulation) -> None:
    assert sim.trace is not None
    begun = sim.now
    async with sim.nodes[0].local.comm.stream([], on(NUMBERS, sim.nodes[1])) as numbers:
        async for number in numbers:
            if number == 3:
                break
    await trio.sleep(1)
    events = [
        (event.kind, event.node)
        for event in sim.trace
        if event.at >= begun and event.what == "local/counter/numbers" and event.kind != "send"
    ]
    assert events == [("call", "n0"), ("begin", "n1"), ("end", "n1"), ("answer", "n0")]


async def test_a_link_that_forwards_no_cancel_shows_in_the_trace(
    autojump_clock: MockClock, sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(LinkClient, "cancel", forget)
    await call_and_cancel(sim)
    await trio.sleep(1)
    assert sim.trace is not None
    assert not sim.trace.select("deliver", what="cancel")


def test_a_schedule_is_data() -> None:
    schedule = [
        Partition(at_s=1.0, duration_s=2.0, sides=[[0], [1, 2]]),
        OneWay(at_s=1.0, sources=[0], targets=[1]),
        Ring(at_s=0.0),
        Isolate(at_s=0.0, node=1),
        Degrade(at_s=0.0, loss=0.5),
        Pause(at_s=0.0, duration_s=1.0, node=1),
        Slow(at_s=0.0, node=1, lag_s=0.5),
        Skew(at_s=0.0, node=1, rate=2.0),
        Crash(at_s=0.0, node=1, is_silent=True),
        Leave(at_s=0.0, duration_s=3.0, node=1),
    ]
    encoded = encode_schedule(schedule)
    assert decode_schedule(encoded) == schedule
    assert encoded.startswith(b'[{"fault":"partition","at_s":1.0,"duration_s":2.0,"sides":[[0],[1,2]]}')


NAN, ENDLESS = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        (Ring, {"at_s": -1}, "Ring: at_s is a number of seconds, at least 0, not -1"),
        (Ring, {"at_s": NAN}, "at_s"),
        (Ring, {"at_s": ENDLESS}, "at_s"),
        (Ring, {"at_s": "1"}, "at_s is a number of seconds, at least 0, not '1'"),
        (Ring, {"duration_s": -1}, "duration_s"),
        (Ring, {"duration_s": NAN}, "duration_s"),
        (Crash, {"node": -1}, "Crash: node is a node's place, 0 or more, not -1"),
        (Crash, {"node": "n1"}, "node"),
        (Crash, {"node": 0, "is_silent": 1}, "is_silent is True or False, not 1"),
        (Leave, {"node": 1.0}, "node"),
        (Isolate, {"node": True}, "node"),
        (Partition, {"sides": [0, 1]}, "sides"),
        (Partition, {"sides": [[0], [-1]]}, "sides"),
        (OneWay, {"sources": [0], "targets": 1}, "targets"),
        (OneWay, {"sources": [-2], "targets": [1]}, "sources"),
        (Skew, {"node": 0, "forward_s": -1}, "forward_s"),
        (Skew, {"node": 0, "rate": 0}, "rate is a number above 0, not 0"),
        (Skew, {"node": 0, "rate": NAN}, "rate"),
        (Slow, {"node": 0, "lag_s": -1}, "lag_s"),
        (Slow, {"node": 0, "lag_s": ENDLESS}, "lag_s"),
        (Degrade, {"loss": 2.0}, "Degrade: loss is a chance from 0 to 1, not 2.0"),
        (Degrade, {"duplicates": -0.1}, "duplicates"),
        (Degrade, {"reordered": NAN}, "reordered"),
        (Degrade, {"latency_s": -1}, "latency_s"),
        (Degrade, {"bytes_per_s": 0}, "bytes_per_s is a number above 0, not 0"),
        (Degrade, {"nodes": [-1]}, "nodes"),
        (Network, {"loss": -1}, "Network: loss is a chance"),
        (Network, {"latency_s": None}, "latency_s"),
        (Network, {"bytes_per_s": -3.0}, "bytes_per_s"),
        (Network, {"latency": "moon"}, "latency is one of constant, uniform, exponential, heavy_tail, not 'moon'"),
    ],
)
def test_an_invalid_field_is_refused_at_construction(kind: Any, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        kind(**({} if kind is Network else {"at_s": 1.0}) | fields)


def test_an_invalid_schedule_is_refused_when_it_is_decoded() -> None:
    with pytest.raises(ConfigError, match=r"no schedule: .*node is a node's place"):
        decode_schedule('[{"fault":"crash","at_s":1,"node":-1}]')
    with pytest.raises(ConfigError, match="no schedule: JSON is malformed"):
        decode_schedule("crash")
    with pytest.raises(ConfigError, match="bytes or a text, not 3"):
        decode_schedule(3)  # type: ignore[arg-type]
    for schedule in (3, [3], None):
        with pytest.raises(ConfigError, match="a schedule is a list of faults"):
            encode_schedule(schedule)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"n": "3"}, "0 nodes or more, not '3'"),
        ({"n": 2.5}, "0 nodes or more, not 2.5"),
        ({"n": -1}, "0 nodes or more, not -1"),
        ({"network": None}, "a network is a name or a Network, not None"),
        ({"network": "moon"}, "no network 'moon': there are perfect, lan"),
        ({"config": "x"}, "a configuration is a NodeConfig"),
        ({"faults": Crash(at_s=1, node=0)}, "a schedule is a list of faults, not Crash"),
        ({"faults": [{"fault": "crash"}]}, "a schedule is a list of faults, not {'fault': 'crash'}"),
    ],
)
async def test_an_invalid_cluster_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        async with open_cluster(**{"n": 2} | fields):
            pass


async def test_a_negative_place_is_no_node(autojump_clock: MockClock, sim: Simulation) -> None:
    assert not sim.crash(-1)
    assert not sim.stop(-1)
    assert (sim.pause(-1), sim.slow_down(-1, 1.0), sim.skew(-1, rate=2.0)) == (None, None, None)
    for refuses in (sim.address, sim.is_crashed, sim.restart_soon):
        with pytest.raises(ConfigError, match="a node's place is 0 or more, not -1"):
            refuses(-1)
    with pytest.raises(ConfigError, match="a node's place"):
        await sim.restart(-1)
    assert len(sim.up) == 4


async def test_faults_at_missing_nodes_are_ignored(autojump_clock: MockClock, sim: Simulation) -> None:
    sim.play([kind(at_s=0, duration_s=1, node=9) for kind in (Isolate, Pause, Skew, Crash, Leave)])
    sim.play([Slow(at_s=0, node=9, lag_s=1), Partition(at_s=0, duration_s=1, sides=[[9], [0, 12]])])
    await trio.sleep(5)
    assert sim.is_converged()


async def test_the_same_cluster_runs_in_real_time() -> None:
    async with open_cluster(3, seed=1, config=CONFIG) as sim:
        begun = trio.current_time()
        with trio.fail_after(5):
            answers = await sim.nodes[0].all.comm.send([], COUNT)
            await trio.sleep(0.01)
        assert sorted(answers.values.values()) == [1, 1, 1]
        assert trio.current_time() - begun < 5
