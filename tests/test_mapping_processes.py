"""Maps over real processes: one is killed, one is stopped, one comes late, and one has frozen."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio

from tests.samples import Probe
from tests.waiting import DEADLINE_S, is_running
from trionet import ConnectionLost, Node, NodeConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.node_processes import NodeProcess

    StartNode = Callable[..., Awaitable[Node]]
    StartProcess = Callable[..., Awaitable[NodeProcess]]

SERVICES = {"probe": "tests.samples:Probe"}


async def start_workers(start_process: StartProcess, caller: Node, count: int) -> list[NodeProcess]:
    config = NodeConfig(services=SERVICES, join=[str(caller.address)], tags={"role": "worker"}, profile="local")
    workers = []
    async with trio.open_nursery() as nursery:

        async def start_one() -> None:
            workers.append(await start_process(config))

        for _ in range(count):
            nursery.start_soon(start_one)
    return workers


@pytest.mark.slow
async def test_idempotent_items_survive_a_killed_and_a_frozen_process_and_use_a_late_one(
    start_node: StartNode, start_process: StartProcess
) -> None:
    caller = await start_node(NodeConfig(join=[], profile="local"))
    await caller.local.groups.put("workers", where={"role": "worker"})
    killed, frozen, steady = await start_workers(start_process, caller, 3)
    done = []
    with trio.fail_after(DEADLINE_S):
        async with caller.group("workers").map(
            Probe.sleep, [0.05] * 200, per_member=2, retries=5, idempotent=True
        ) as results:
            async for each in results:
                done.append(each)
                if len(done) == 20:
                    os.kill(killed.pid, signal.SIGKILL)
                if len(done) == 40:
                    os.kill(frozen.pid, signal.SIGSTOP)
                if len(done) == 60:
                    (late,) = await start_workers(start_process, caller, 1)
    os.kill(frozen.pid, signal.SIGCONT)
    assert sorted(each.index for each in done) == list(range(200))
    assert [each.error for each in done if each.error is not None] == []
    by = Counter(each.sid for each in done)
    assert by[killed.address.sid] < 30
    assert min(by[steady.address.sid], by[late.address.sid]) > 10
    assert sum(each.attempts > 1 for each in done) >= 2


def in_flight(caller: Node, worker: NodeProcess) -> int:
    return sum(each.node == str(worker.address) for each in caller.calls.report().requests)


@pytest.mark.slow
async def test_of_a_killed_process_the_items_in_flight_come_out_and_no_others_fail(
    start_node: StartNode, start_process: StartProcess
) -> None:
    caller = await start_node(NodeConfig(join=[], profile="local"))
    await caller.local.groups.put("workers", where={"role": "worker"})
    killed, _ = await start_workers(start_process, caller, 2)
    done = []
    with trio.fail_after(DEADLINE_S):
        async with caller.group("workers").map(Probe.sleep, [0.1] * 40, per_member=3) as results:
            async for each in results:
                done.append(each)
                if len(done) == 10:
                    os.kill(killed.pid, signal.SIGSTOP)  # what it has not answered by now stays in flight
                if len(done) >= 12 and is_running(killed.pid) and in_flight(caller, killed):
                    os.kill(killed.pid, signal.SIGKILL)
    assert sorted(each.index for each in done) == list(range(40))
    failed = [each for each in done if each.error is not None]
    assert {(type(each.error), each.sid) for each in failed} == {(ConnectionLost, killed.address.sid)}
    assert 1 <= len(failed) <= 3
