"""Simulated nodes with a cluster key: the same services, links and protocols, sealed."""

from __future__ import annotations

from contextlib import AsyncExitStack
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.clusters import COUNT, Counter
from tests.security.keys import key_of, node_keys
from tests.simulation.services import busy
from tests.waiting import wait_until
from trionet import KeyMismatch, NodeConfig, Remote, open_node
from trionet.security.key_file import new_key_file
from trionet.security.noise_channel import REKEY_S, NoiseChannel
from trionet.simulation import SCENARIOS, first_difference, open_cluster, run
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from trionet import Node
    from trionet.security.datagram_opener import RefusalCounts
    from trionet.simulation import Trace
    from trionet.transports.memory import Message, Verdict

MARKER = "this text goes by in secret"
DURATION_S = 15.0
CONVERGED_S = 120.0


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "key"
    new_key_file(str(path), key_of(1))
    return str(path)


async def _live_through(seed: int, n: int, key_file: str | None) -> tuple[Trace, int]:
    """Let busy nodes live through faults; return the trace, and the number of refused datagrams."""
    faults: Any = SCENARIOS["anything"](n, DURATION_S, Random(f"{seed} faults"))
    config = NodeConfig(key_file=key_file)
    async with open_cluster(n, seed=seed, config=config, faults=faults) as sim:
        async with trio.open_nursery() as nursery:
            for index in range(n):
                nursery.start_soon(busy, sim, index, seed)
            await trio.sleep(DURATION_S)
            nursery.cancel_scope.cancel()
        with trio.fail_after(CONVERGED_S):
            await sim.wait_converged()
        refused = sum(node.statistics().datagrams_refused for node in sim.up)
    assert sim.trace is not None
    return sim.trace, refused


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (2, 3))])
def test_a_sealed_cluster_survives_faults_and_a_seed_gives_the_same_trace_twice(seed: int, key_file: str) -> None:
    (one, refused), (other, _) = (run(_live_through, seed, 4, key_file, seed=seed) for _ in range(2))
    assert first_difference(one, other) is None
    assert refused == 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_thousand_sealed_clusters_survive_faults(key_file: str) -> None:
    for seed in range(1000):
        _, refused = run(_live_through, seed, 3 + seed % 4, key_file, seed=seed)
        assert refused == 0, f"seed {seed}"


class _Spy:
    """A rule that keeps all bytes."""

    def __init__(self) -> None:
        self.seen = b""

    def __call__(self, message: Message, _: Random) -> Verdict:
        self.seen += message.data
        return 0.001


async def _seen(keys: Any) -> bytes:
    spy, fabric = _Spy(), MemoryFabric()
    fabric.add_rules(spy)
    async with (
        open_node(NodeConfig(join=[], tags={"text": MARKER}), fabric=fabric, keys=keys) as one,
        open_node(NodeConfig(join=[str(one.address)]), fabric=fabric, keys=keys) as other,
    ):
        counter = Counter()
        await other.local.routes.put(counter, "counter")
        await one.local.routes.put(Counter(), "counter")
        await wait_until(lambda: len(one.all.members()) == len(other.all.members()) == 2)
        await one.local.comm.send([MARKER], Remote(node=other.address, service="counter", method="count"))
        await one.all.gossip.send([MARKER], COUNT)
        await wait_until(lambda: len(counter.notes) == 2)
    return spy.seen


async def test_nothing_of_a_sealed_cluster_is_readable_on_its_way(autojump_clock: MockClock) -> None:
    plain, sealed = await _seen(None), await _seen(node_keys())
    for text in (MARKER, "counter", "127.0.0.1:"):
        assert text.encode() in plain
        assert text.encode() not in sealed


async def test_clusters_of_one_key_and_two_names_on_one_network_stay_two(autojump_clock: MockClock) -> None:
    fabric = MemoryFabric()
    async with AsyncExitStack() as stack:
        nodes: dict[str, list[Node]] = {"red": [], "blue": []}
        for name, members in nodes.items():
            for _ in range(3):
                config = NodeConfig(join=[str(each.address) for each in members])
                keys = node_keys(cluster=name)
                members.append(await stack.enter_async_context(open_node(config, fabric=fabric, keys=keys)))
        red, blue = nodes["red"], nodes["blue"]
        for one, other in ((red[0], blue[0]), (blue[1], red[2])):
            with pytest.raises(KeyMismatch, match="another name"):
                await one.local.membership.join([other.address])
        await trio.sleep(60)
        for members in nodes.values():
            sids = {node.sid for node in members}
            assert all(node.all.members().keys() == sids for node in members)


async def test_a_call_that_outlives_the_hour_goes_on_under_new_keys(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rekeyed, change = list[float](), NoiseChannel.rekey

    def note(channel: NoiseChannel, now: float) -> None:
        rekeyed.append(now)
        change(channel, now)

    async def wait(seconds: float) -> str:
        await trio.sleep(seconds)
        return MARKER

    monkeypatch.setattr(NoiseChannel, "rekey", note)
    fabric = MemoryFabric()
    async with open_node(fabric=fabric, keys=node_keys()) as one, open_node(fabric=fabric, keys=node_keys()) as other:
        await other.local.routes.put({"wait": wait}, "slow")
        remote = Remote(node=other.address, service="slow", method="wait")
        assert await one.local.comm.send([REKEY_S - 100], remote) == MARKER
        assert rekeyed == []
        assert await one.local.comm.send([REKEY_S + 100], remote) == MARKER
        assert len(rekeyed) >= 2  # each side changes its own


async def test_a_datagram_goes_to_nobody_else_and_a_recorded_one_is_not_delivered_twice(
    autojump_clock: MockClock,
) -> None:
    fabric, recorded = MemoryFabric(), list[Any]()

    def record(message: Message, _: Random) -> Verdict:
        if message.kind == "datagram":
            recorded.append(message)
        return 0.001

    fabric.add_rules(record)
    async with (
        open_node(NodeConfig(join=[]), fabric=fabric, keys=node_keys()) as one,
        open_node(NodeConfig(join=[str(one.address)]), fabric=fabric, keys=node_keys()) as other,
        open_node(NodeConfig(join=[str(one.address)]), fabric=fabric, keys=node_keys()) as third,
    ):
        await wait_until(lambda: all(len(node.all.members()) == 3 for node in (one, other, third)))
        await trio.sleep(10)
        of_one = [message for message in recorded if message.target == one.address]
        to_other = [message for message in recorded if message.target == other.address]
        before = _counts(one)
        for message in of_one:
            fabric.datagrams[one.address].put(message.data, message.source)
        replayed = _counts(one)
        assert replayed.replayed - before.replayed == len(of_one)
        packets = [message for message in to_other if message.data[0] == 1]
        for message in packets:
            fabric.datagrams[one.address].put(message.data, message.source)
        assert _counts(one).forged + _counts(one).replayed - replayed.replayed >= len(packets)


def _counts(node: Node) -> RefusalCounts:
    agent: Any = node._agent  # noqa: SLF001  what strangers can't see
    counts: RefusalCounts = agent.datagram_refusals
    return msgspec.structs.replace(counts)
