"""What a spawner tells its cluster of the ends of its children."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.clusters import Cluster, changes, open_cluster, take
from tests.waiting import DEADLINE_S, wait_until
from trionet import ChildEnded, MemberFailed, MemberJoined, Node, NodeConfig, ObservedStatus, Remote, open_node

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trionet import Event, NodeAddress

AT_ONCE_S = 0.5
UNTIL_PROBES_FAIL_S = 20.0
GET, FACTS = Remote(service="watcher", method="get"), Remote(service="watcher", method="facts")
WATCH = "tests.watching:watch"


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


class Claim:
    """Claims that a node is its child; the test decides when, and with which status, it ends."""

    def __init__(self, node: Node) -> None:
        self._address = node.address
        self._ended = trio.Event()
        self._status: int = 0

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        task_status.started(self._address)
        await self._ended.wait()
        return self._status

    def end(self, status: int) -> None:
        self._status = status
        self._ended.set()


async def _claim(spawner: Node, child: Node) -> Claim:
    claim = Claim(child)
    spawner.register_launcher("claim", claim)
    await spawner.spawn(NodeConfig(launcher="claim"))
    return claim


def _is_end(event: Event) -> bool:
    return isinstance(event, ChildEnded)


async def test_an_observed_end_is_known_to_all_before_any_probe_fails(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(20)
    claim, watches = await _claim(nodes[0], nodes[7]), {node.sid: node.events() for node in nodes}
    rest = [node for node in nodes if node is not nodes[7]]
    cluster.kill(nodes[7])
    claim.end(ObservedStatus(-9))
    with trio.fail_after(AT_ONCE_S):
        await cluster.wait_members(rest)
    for node in rest:
        told = await take(watches[node.sid], lambda event: isinstance(event, MemberFailed))
        assert changes(told, nodes[7]) == ["MemberFailed"]


async def test_an_end_that_is_no_proof_is_left_to_the_probes(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(5)
    claim, events = await _claim(nodes[0], nodes[4]), nodes[0].events()
    cluster.kill(nodes[4])
    claim.end(-9)
    told = await take(events, lambda event: isinstance(event, MemberFailed))
    assert changes(told, nodes[4]) == ["MemberSuspected", "MemberFailed"]


async def test_a_wrong_end_is_refuted_and_heals(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(5)
    claim, events = await _claim(nodes[0], nodes[4]), nodes[0].events()
    claim.end(ObservedStatus(1))
    told = await take(events, lambda event: isinstance(event, MemberJoined))
    assert changes(told, nodes[4]) == ["MemberFailed", "MemberJoined"]
    await cluster.wait_members(nodes)


async def test_another_process_at_the_address_is_not_declared_failed(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(5)
    claim = await _claim(nodes[0], nodes[4])
    watches = [node.events() for node in nodes[:4]]
    cluster.kill(nodes[4])
    again = await cluster.start(port=nodes[4].address.port, join=[str(nodes[0].address)])
    for watch in watches:
        await take(watch, lambda event: isinstance(event, MemberJoined))
    told: list[Event] = []
    for node in nodes[:4]:
        node.listen(told.append)
    claim.end(ObservedStatus(-9))
    await trio.sleep(UNTIL_PROBES_FAIL_S)
    await cluster.wait_members([*nodes[:4], again])
    assert told == [ChildEnded(node=again.address, status=-9)]


async def test_a_child_that_has_left_has_not_failed(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    claim, events = await _claim(nodes[0], nodes[3]), nodes[0].events()
    nodes[3].stop()
    await cluster.wait_members(nodes[:3])
    claim.end(ObservedStatus(0))
    told = await take(events, _is_end)
    await trio.sleep(UNTIL_PROBES_FAIL_S)
    assert changes(told, nodes[3]) == ["MemberLeft"]


async def test_a_restarted_child_is_another_one_whose_end_is_told_too(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    events, port = nodes[0].events(), nodes[3].address.port
    child = nodes[3]
    for _ in range(3):
        claim = await _claim(nodes[0], child)
        cluster.kill(child)
        claim.end(ObservedStatus(-9))
        with trio.fail_after(AT_ONCE_S):
            await cluster.wait_members(nodes[:3])
        child = await cluster.start(port=port)
        await cluster.wait_members([*nodes[:3], child])
    told = await take(events, lambda event: isinstance(event, MemberJoined) and len(changes([event], child)) == 1)
    assert changes(told, child)[:2] == ["MemberFailed", "MemberJoined"]


async def test_a_child_that_boots_before_it_is_a_member_is_told_of_once_it_is_one(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    late = await cluster.start(join=None)
    claim = await _claim(nodes[0], late)
    await late.join([str(nodes[2].address)])
    await cluster.wait_members([*nodes, late])
    cluster.kill(late)
    claim.end(ObservedStatus(-9))
    with trio.fail_after(AT_ONCE_S):
        await cluster.wait_members(nodes)


@pytest.mark.parametrize("how", ["never joined", "has left", "another cluster"])
async def test_a_spawner_that_shares_no_cluster_with_its_child_tells_nobody(
    autojump_clock: MockClock, cluster: Cluster, how: str
) -> None:
    nodes = await cluster.start_many(3)
    spawner = await cluster.start(join=None if how == "never joined" else [])
    child = await cluster.start(join=None if how == "never joined" else [str(nodes[0].address)])
    if how == "has left":
        await spawner.join([str(nodes[0].address)])
    claim = await _claim(spawner, child)
    if how == "has left":
        await spawner.leave()
    sent = cluster.network.counts.get(spawner.address, 0)
    claim.end(ObservedStatus(1))
    await trio.sleep(AT_ONCE_S)
    assert cluster.network.counts.get(spawner.address, 0) == sent
    if how != "never joined":
        await cluster.wait_members([*nodes, child])


# ------------------------------------------------------------------------------------------------------- real processes


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["forkserver", "subprocess"])
async def test_a_killed_process_is_known_to_all_without_a_failed_probe(launcher: str) -> None:
    config: Any = {"on_start": WATCH}
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(join=[], **config)) as node:
            children = [await node.spawn(NodeConfig(launcher=launcher, **config)) for _ in range(4)]

            async def ask(remote: Remote) -> dict[str, Any]:
                return (await node.all.comm.send([], remote)).values

            facts: dict[str, Any] = {}
            while [count for _, count in facts.values()] != [5] * 5:
                facts = await ask(FACTS)
                await trio.sleep(0.01)
            os.kill(facts[children[2].sid][0], signal.SIGKILL)
            await wait_until(lambda: len(node.members()) == 4)
            while [count for _, count in facts.values()] != [4] * 4:
                facts = await ask(FACTS)
                await trio.sleep(0.01)
            noted = await ask(GET)
    victim = str(children[2])
    about_it = [[kind for kind, name, _ in found if name == victim] for found in noted.values()]
    assert [kinds[-1:] for kinds in about_it] == [["MemberFailed"]] * 4
    assert not any("MemberSuspected" in kinds for kinds in about_it)


@pytest.mark.slow
async def test_a_restarted_process_is_a_member_again_and_failed_only_once() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(join=[], on_start=WATCH)) as node:
            events = node.events()
            child = await node.spawn(NodeConfig(restart="on_failure", on_start=WATCH))
            for _ in range(2):
                pid, _ = await node.local.comm.send([], Remote(node=child, service="watcher", method="facts"))
                os.kill(pid, signal.SIGKILL)
                await take(events, lambda event: type(event).__name__ == "ChildRestarted")
            await trio.sleep(1)  # a wrong verdict would come at once
            assert [member.node for member in node.members() if member.node != node.address] == [child]
            noted = (await node.all.comm.send([], GET)).values[node.sid]
    told = [kind for kind, name, _ in noted if name == str(child)]
    assert told == ["MemberJoined", *["MemberFailed", "MemberJoined"] * 2]
