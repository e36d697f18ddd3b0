"""What a cluster keeps, on real processes: late ones and restarted ones have it, and HTTP is enough to ask for it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.waiting import DEADLINE_S, wait_until
from trionet import Node, NodeAddress, NodeConfig, Remote, TrionetError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    StartNode = Callable[..., Awaitable[Node]]

pytestmark = pytest.mark.slow

PROBE = "tests.samples:Probe"


async def _pid_of(node: Node, address: NodeAddress, other_than: int | None = None) -> int:
    """Return the pid of a node once it serves the probe, in another process than this one."""
    remote = Remote(node=address, service="probe", method="pid")
    with trio.fail_after(DEADLINE_S):
        while True:
            try:
                pid: int = await node.local.comm.send([], remote)
            except TrionetError:
                pid = -1
            if pid not in (-1, other_than):
                return pid
            await trio.sleep(0.05)


async def _put_over_http(
    node: Node, gid: str, service: str, arguments: list[Any], query: str = "", status: int = 200
) -> Any:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.put(f"http://{node.address}/{gid}/{service}/put{query}", json=arguments)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_spawned_nodes_serve_what_the_cluster_keeps_also_after_a_kill(start_node: StartNode) -> None:
    node = await start_node(NodeConfig(join=[], profile="lan"))
    child = await node.spawn(NodeConfig(restart="always"))
    await wait_until(lambda: len(node.members()) == 2)
    answer = await _put_over_http(node, "all", "routes", [PROBE, "probe"], "?keep=true")
    assert answer == {"values": dict.fromkeys(sorted((node.sid, child.sid)), "probe"), "errors": {}}
    await _put_over_http(node, "all", "settings", ["limit", 5])
    pid = await _pid_of(node, child)
    os.kill(pid, signal.SIGKILL)
    late = await node.spawn(NodeConfig())
    assert await _pid_of(node, late) not in (pid, os.getpid())
    assert await _pid_of(node, child, other_than=pid) != pid
    for address in (late, child):
        remote = Remote(node=address, gid="all", service="settings", method="wait")
        with trio.fail_after(DEADLINE_S):
            assert await node.local.comm.send(["limit"], remote) == 5


async def test_a_group_by_rule_reaches_late_processes(start_node: StartNode) -> None:
    node = await start_node(NodeConfig(join=[], profile="lan"))
    await _put_over_http(node, "all", "groups", ["workers"], '?where={"role":"worker"}')
    await _put_over_http(node, "workers", "routes", [PROBE, "probe"], "?keep=true")
    workers = [await node.spawn(NodeConfig(tags={"role": "worker"})) for _ in range(2)]
    for worker in workers:
        await _pid_of(node, worker)
    assert set(node.group("workers").members().values()) == set(workers)
    remote = Remote(node=workers[0], service="groups", method="get")
    with trio.fail_after(DEADLINE_S):
        while set(await node.local.comm.send(["workers"], remote)) != {worker.sid for worker in workers}:  # noqa: ASYNC110  there is no event for it
            await trio.sleep(0.05)


@pytest.mark.parametrize(
    ("service", "arguments", "query", "reason"),
    [
        ("routes", [PROBE, "probe"], "?keep=5", "'keep' of put"),
        ("routes", [PROBE, "probe"], "?keep=perhaps", "'keep' of put"),
        ("routes", [PROBE, "status"], "?keep=true", "built-in"),
        ("routes", ["probe", "probe"], "?keep=true", "import path"),
        ("groups", ["workers"], "?where=5", "where"),
        ("groups", ["workers"], '?where={"role":5}', "where"),
        ("groups", ["workers"], "?where=tests.nowhere:rule", "tests.nowhere"),
        ("groups", ["workers"], "", "give one"),
    ],
)
async def test_what_can_not_be_kept_is_refused_over_http(
    start_node: StartNode, service: str, arguments: list[Any], query: str, reason: str
) -> None:
    node = await start_node(NodeConfig(join=[]))
    answer = await _put_over_http(node, "all", service, arguments, query, status=400)
    assert reason in answer["error"]["text"]


async def test_a_node_without_a_cluster_says_over_http_how_to_begin_one(start_node: StartNode) -> None:
    node = await start_node()
    for service, arguments, query in (("routes", [PROBE, "probe"], "?keep=true"), ("groups", ["workers"], "?where={}")):
        answer = await _put_over_http(node, "all", service, arguments, query, status=400)
        assert "start it with join=[]" in answer["error"]["text"]
