"""Clusters of real processes, over UDP and TCP: gossip, kills, stops, restarts, frozen nodes, and ``--join``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.clusters import changes, take
from tests.crowd import Member, open_crowd
from tests.node_processes import ROOT, NodeProcess, clean_environment, wait_ready
from tests.waiting import DEADLINE_S, wait_until
from trionet import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    Node,
    NodeAddress,
    NodeConfig,
    Remote,
    SettingChanged,
    TrionetError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    StartNode = Callable[..., Awaitable[Node]]
    StartProcess = Callable[..., Awaitable[NodeProcess]]

pytestmark = pytest.mark.slow

COUNTER = {"counter": "tests.clusters:Counter"}
COUNT = Remote(service="counter", method="count")
TOTAL = Remote(service="counter", method="total")
CROWD = 10


def _config(*seeds: Node, **settings: Any) -> NodeConfig:
    joined = [str(seed.address) for seed in seeds]
    return NodeConfig(join=joined, profile="lan", services=COUNTER, **settings)


@pytest.fixture
async def seed(start_node: StartNode) -> Node:
    """A node of this process that begins a cluster."""
    return await start_node(_config())


@pytest.fixture
async def crowd(seed: Node) -> AsyncGenerator[list[Member]]:
    """Ten node processes that have joined it."""
    opened: ExitStack = ExitStack()
    try:
        members = await trio.to_thread.run_sync(lambda: opened.enter_context(open_crowd(CROWD, _config(seed))))
        await wait_until(lambda: len(seed.members()) == CROWD + 1)
        yield members
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(opened.close)


async def _ask(node: Node, address: NodeAddress, service: str, method: str, *args: Any) -> Any:
    return await node.local.comm.send(list(args), Remote(node=address, service=service, method=method))


async def _wait_seen(asker: Node, addresses: list[NodeAddress], expected: set[NodeAddress]) -> None:
    """Wait until each of the nodes sees exactly these members."""

    async def is_seen(address: NodeAddress) -> bool:
        return {member.node for member in await _ask(asker, address, "membership", "members")} == expected

    for address in addresses:
        await _wait_answer(is_seen, address)


async def _totals(asker: Node, addresses: list[NodeAddress]) -> list[int]:
    return [await _ask(asker, address, "counter", "total") for address in addresses]


async def _wait_totals(asker: Node, addresses: list[NodeAddress], total: int) -> None:
    async def is_reached(address: NodeAddress) -> bool:
        return await _totals(asker, [address]) == [total]

    for address in addresses:
        await _wait_answer(is_reached, address)


async def _wait_answer(predicate: Callable[..., Awaitable[bool]], *args: Any) -> None:
    """Return once ``await predicate(*args)`` is true."""
    with trio.fail_after(DEADLINE_S):
        while not await predicate(*args):  # noqa: ASYNC110  other processes set no trio.Event
            await trio.sleep(0.02)


async def test_rumors_run_once_in_every_process(seed: Node, crowd: list[Member]) -> None:
    addresses = [member.address for member in crowd]
    everybody = {seed.address, *addresses}
    await _wait_seen(seed, addresses, everybody)
    for _ in range(10):
        receipt = await seed.all.gossip.send(["news"], COUNT)
        with trio.fail_after(DEADLINE_S):
            assert (await receipt.wait_spread()).known == CROWD + 1
    from_a_member = Remote(node=addresses[0], gid="all", service="gossip", method="send")
    await seed.local.comm.send([[bytes(50_000)], COUNT], from_a_member)  # too long for a datagram
    await _wait_totals(seed, [seed.address, *addresses], 11)
    replies = await seed.all.comm.send([], TOTAL)
    assert list(replies.values.values()) == [11] * (CROWD + 1)


async def test_every_survivor_knows_of_killed_processes_and_their_groups_do_too(
    seed: Node, crowd: list[Member]
) -> None:
    killed, survivors = crowd[:3], [member.address for member in crowd[3:]]
    await _wait_seen(seed, survivors, {seed.address, *(member.address for member in crowd)})
    await seed.all.groups.put("workers", [member.address for member in crowd])
    watch = seed.events()
    for member in killed:
        os.kill(member.pid, signal.SIGKILL)
    await _wait_seen(seed, [seed.address, *survivors], {seed.address, *survivors})
    replies = await seed.all.groups.get("workers")
    assert replies.errors == {}
    assert all(sorted(members.values()) == sorted(survivors) for members in replies.values.values())
    gone = {member.address.sid for member in killed}
    told = await take(watch, lambda event: _seen(gone, event))
    assert all(changes(told, member.address).count("MemberFailed") == 1 for member in killed)
    assert [event for event in told if isinstance(event, MemberLeft)] == []
    await seed.all.gossip.send([], COUNT)
    await _wait_totals(seed, survivors, 1)


def _seen(gone: set[str], event: Any) -> bool:
    """Note that one more of `gone` has failed; whether all have."""
    if isinstance(event, MemberFailed):
        gone.discard(event.sid)
    return not gone


async def test_a_stopped_process_has_left_and_has_not_failed(seed: Node, crowd: list[Member]) -> None:
    by_call, by_signal, *rest = crowd
    watch = seed.events()
    await _ask(seed, by_call.address, "status", "stop")
    told = await take(watch, lambda event: isinstance(event, MemberLeft))
    assert changes(told, by_call.address) == ["MemberLeft"]
    expected = {seed.address, by_signal.address, *(member.address for member in rest)}
    await _wait_seen(seed, [member.address for member in rest], expected)


async def test_a_frozen_process_has_failed_and_returns_when_it_thaws(seed: Node, crowd: list[Member]) -> None:
    frozen = crowd[0]
    watch = seed.events()
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        with trio.fail_after(DEADLINE_S):
            await take(watch, lambda event: isinstance(event, MemberFailed) and event.sid == frozen.address.sid)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    with trio.fail_after(DEADLINE_S):
        told = await take(watch, lambda event: isinstance(event, MemberJoined) and event.sid == frozen.address.sid)
    assert changes(told, frozen.address) == ["MemberJoined"]
    everybody = {seed.address, *(member.address for member in crowd)}
    await _wait_seen(seed, [member.address for member in crowd], everybody)


async def test_a_process_killed_and_started_again_on_its_port_is_another_life(
    seed: Node, start_process: StartProcess
) -> None:
    other = await start_process(_config(seed))
    first = await start_process(_config(seed))
    await _wait_seen(seed, [seed.address, other.address], {seed.address, other.address, first.address})
    watch = seed.events()
    first.process.kill()
    await wait_until(lambda: first.process.poll() is not None)
    again = await start_process(_config(seed, port=first.address.port, tags={"life": "second"}))
    assert again.address == first.address

    def is_back(event: Any) -> bool:
        return isinstance(event, MemberJoined) and event.tags == {"life": "second"}

    with trio.fail_after(DEADLINE_S):
        told = await take(watch, is_back)
    assert [kind for kind in changes(told, first.address) if kind in ("MemberFailed", "MemberJoined")] == [
        "MemberFailed",
        "MemberJoined",
    ]
    await _wait_seen(seed, [other.address, again.address], {seed.address, other.address, first.address})


async def test_processes_that_a_node_spawns_join_its_cluster(seed: Node, start_process: StartProcess) -> None:
    other = await start_process(_config(seed))
    await seed.local.groups.put("workers", [])
    spawned = [await seed.group("workers").status.spawn(NodeConfig(services=COUNTER)) for _ in range(2)]
    everybody = {seed.address, other.address, *spawned}
    await _wait_seen(seed, [*everybody], everybody)
    await seed.group("workers").gossip.send([], COUNT)
    await _wait_totals(seed, spawned, 1)
    assert await _totals(seed, [other.address]) == [0]


async def test_without_datagrams_processes_find_out_the_same(seed: Node, start_node: StartNode) -> None:
    first = await start_node(_config(datagrams=False))
    with ExitStack() as stack:
        config = _config(first, datagrams=False)
        members = await trio.to_thread.run_sync(lambda: stack.enter_context(open_crowd(4, config)))
        addresses = [member.address for member in members]
        await _wait_seen(first, addresses, {first.address, *addresses})
        receipt = await first.all.gossip.send([], COUNT)
        with trio.fail_after(DEADLINE_S):
            assert (await receipt.wait_spread()).known == 5
        os.kill(members[0].pid, signal.SIGKILL)
        await _wait_seen(first, addresses[1:], {first.address, *addresses[1:]})


async def test_settings_reach_every_process_over_http_and_one_that_starts_later(
    seed: Node, start_process: StartProcess
) -> None:
    other = await start_process(_config(seed))
    await _wait_seen(seed, [seed.address, other.address], {seed.address, other.address})
    async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as client:

        async def ask(process: NodeProcess, method: str, *args: Any, status: int = 200) -> Any:
            url = f"http://{process.address}/all/settings/{method}"
            response = await client.put(url, json=list(args))
            assert response.status_code == status, response.text
            return response.json()

        receipt = await ask(other, "put", "limit", {"cpu": [1, 2]})
        assert set(receipt) == {"id", "values", "errors"}
        assert receipt["errors"] == {}
        assert await seed.all.settings.wait("limit") == {"cpu": [1, 2]}
        watch = seed.events()
        other.process.kill()
        late = await start_process(_config(seed))
        assert await ask(late, "wait", "limit") == {"value": {"cpu": [1, 2]}}
        assert await ask(late, "items") == {"value": {"limit": {"cpu": [1, 2]}}}
        await ask(late, "del", "limit")
        await ask(late, "get", "limit", status=404)
        await ask(late, "put", "", 1, status=400)
        await ask(late, "put", "k", "x" * 20_000, status=413)
    with trio.fail_after(DEADLINE_S):
        await take(watch, lambda event: isinstance(event, SettingChanged) and event.is_removed)


@pytest.fixture
def run_command() -> Generator[Callable[..., subprocess.Popen[bytes]]]:
    """Start ``trionet-node --json`` with more arguments; killed with the test."""
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "trionet.cli.node", "--json", *arguments]
            pipe = subprocess.PIPE
            process = stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdout=pipe, stderr=pipe)
            )
            stack.callback(process.kill)
            return process

        yield start


async def test_the_command_joins_by_its_option_by_name_and_with_unreachable_seeds_beside(
    seed: Node, run_command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    port = seed.address.port
    local = ("--config", '{"profile": "lan"}')
    ways = [
        ("--join", f"127.0.0.1:{port}"),
        ("--join", f"localhost:{port}"),
        ("--join", "127.0.0.1:1", "--join", f"127.0.0.1:2,127.0.0.1:{port}"),
    ]
    started = [run_command(*way, *local) for way in ways]
    nodes = [await trio.to_thread.run_sync(wait_ready, process) for process in started]
    everybody = {seed.address, *(node.address for node in nodes)}
    await _wait_seen(seed, [*everybody], everybody)
    watch = seed.events()
    started[0].send_signal(signal.SIGTERM)
    told = await take(watch, lambda event: isinstance(event, MemberLeft))
    assert changes(told, nodes[0].address) == ["MemberLeft"]
    await wait_until(lambda: started[0].poll() is not None)
    assert started[0].returncode == 0


async def test_the_command_refuses_a_seed_that_is_none(run_command: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = run_command("--join", "nonsense")
    _, said = await trio.to_thread.run_sync(process.communicate)
    assert process.returncode == 2
    assert said.decode().startswith("trionet-node: ")
    assert "join: not a node address: 'nonsense'" in said.decode()


async def test_a_periodic_task_of_a_process_is_ended_by_another_and_by_its_death(
    seed: Node, start_process: StartProcess
) -> None:
    owner, other = await start_process(_config(seed)), await start_process(_config(seed))
    await _wait_seen(seed, [owner.address, other.address], {seed.address, owner.address, other.address})

    async def start() -> str:
        at = Remote(node=owner.address, gid="all", service="gossip", method="at")
        task: str = await seed.local.comm.send([0.05, ([], COUNT)], at)
        return task

    task = await start()

    async def has_run() -> bool:
        return await _totals(seed, [other.address]) >= [3]

    await _wait_answer(has_run)
    delete = Remote(node=other.address, gid="all", service="gossip", method="del")
    assert await seed.local.comm.send([task], delete) is True
    assert all(tasks == [] for tasks in (await seed.all.gossip.tasks()).values.values())
    task = await start()
    owner.process.kill()
    with trio.fail_after(DEADLINE_S):
        while True:
            try:
                assert await seed.all.gossip.del_(task) is False
                break
            except TrionetError:  # it is not known to be dead yet
                await trio.sleep(0.05)


async def test_a_handler_that_blocks_a_thread_costs_its_node_nothing_in_the_cluster(
    seed: Node, start_process: StartProcess
) -> None:
    worker = await start_process(NodeConfig(join=[str(seed.address)], services={"sleeper": "tests.samples:Sleeper"}))
    await wait_until(lambda: len(seed.members()) == 2)
    events, answers = seed.events(), 0
    status = Remote(node=worker.address, service="status", method="get")
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            ended = trio.Event()

            async def block() -> None:
                remote = Remote(node=worker.address, service="sleeper", method="block_thread")
                assert await seed.local.comm.send([4.0], remote) == "rested"
                ended.set()

            nursery.start_soon(block)
            while not ended.is_set():
                assert await seed.local.comm.send(["port"], status) == worker.address.port
                answers += 1
                await trio.sleep(0.01)
    assert answers > 20
    assert len(seed.members()) == 2
    with trio.move_on_after(0.1):
        assert not isinstance(await anext(events), MemberFailed)
