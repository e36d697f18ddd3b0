"""What is promised of real processes: every row of the tables of local and group-wide services; who outlives whom.

Local rows are called on nodes in other processes, through ``comm.send``.
"""

import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests import samples
from tests.node_processes import PROBE, NodeProcess
from tests.waiting import DEADLINE_S, is_listening, is_running, wait_until
from trionet import (
    CallTimeout,
    CodeRefused,
    ConnectionLost,
    EmptyGroup,
    EncodeError,
    Group,
    GroupNotFound,
    MalformedRequest,
    Node,
    NodeAddress,
    NodeConfig,
    NodeUnreachable,
    Remote,
    RemoteError,
    Replies,
    ServiceDescription,
    ServiceNotFound,
    SpawnError,
    UnknownKey,
    open_node,
)

StartNode = Callable[..., Awaitable[Node]]
StartProcess = Callable[..., Awaitable[NodeProcess]]
Workers = tuple[Node, dict[str, NodeProcess]]

pytestmark = pytest.mark.slow

LAUNCHERS = ["forkserver", "subprocess"]

PID = Remote(service="probe", method="pid")
GONE = (NodeUnreachable, ConnectionLost)
"""What a call to a process that was killed may meet: nobody there, or, at the very moment, a connection that breaks."""


async def _ask(caller: Node, node: NodeAddress, service: str, method: str, *args: Any, gid: str = "local") -> Any:
    """Return what `node` answers."""
    with trio.fail_after(DEADLINE_S):
        return await caller.local.comm.send(list(args), Remote(node=node, gid=gid, service=service, method=method))


def _by_sid(*nodes: NodeAddress) -> dict[str, NodeAddress]:
    return {node.sid: node for node in sorted(nodes, key=lambda node: node.sid)}


# ------------------------------------------------------------------------------------------------------- local services


async def test_status_get_tells_of_the_other_process(start_node: StartNode, start_process: StartProcess) -> None:
    caller, worker = await start_node(), await start_process()
    address = worker.address

    async def get(key: str) -> Any:
        return await _ask(caller, address, "status", "get", key)

    assert await get("counts") == 1
    assert await get("nid") == address.nid
    assert await get("sid") == address.sid
    assert await get("ip") == "127.0.0.1"
    assert await get("port") == address.port
    assert 0 < await get("heap_used") <= await get("heap_total")
    assert await get("counts") == 8
    with pytest.raises(UnknownKey, match="heap_total"):
        await get("nothing")
    assert await _ask(caller, address, "probe", "pid") == worker.pid != os.getpid()


async def test_status_stop_answers_first_and_then_connections_are_refused_and_the_process_ends(
    start_node: StartNode, start_process: StartProcess
) -> None:
    caller, worker = await start_node(), await start_process()
    assert await _ask(caller, worker.address, "status", "stop") == worker.address
    assert not await is_listening(worker.address.port)
    await wait_until(lambda: worker.process.poll() is not None)
    assert worker.process.returncode == 0


async def test_a_second_stop_is_harmless_and_a_call_in_progress_is_answered(
    start_node: StartNode, start_process: StartProcess
) -> None:
    caller = await start_node()
    worker = await start_process(NodeConfig(services=PROBE, stop_grace_s=30))
    await _ask(caller, worker.address, "probe", "pid")
    answers = []

    async def sleep() -> None:
        answers.append(await _ask(caller, worker.address, "probe", "sleep", 0.5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await _ask(caller, worker.address, "status", "stop") == worker.address
        with contextlib.suppress(*GONE):  # it need not answer any more
            assert await _ask(caller, worker.address, "status", "stop") == worker.address
    assert answers == ["slept"]
    await wait_until(lambda: worker.process.poll() is not None)
    assert worker.process.returncode == 0


@pytest.mark.parametrize("launcher", LAUNCHERS)
async def test_status_spawn_returns_the_address_of_a_process_whose_on_start_has_ended(
    start_node: StartNode, launcher: str
) -> None:
    node = await start_node()
    config = NodeConfig(on_start=samples.put_counter, services=PROBE, launcher=launcher)
    address = await node.local.status.spawn(config)
    assert await _ask(node, address, "counter", "add", 3) == 3
    assert await _ask(node, address, "status", "get", "nid") == address.nid
    pid = await _ask(node, address, "probe", "pid")
    assert pid != os.getpid()
    await _ask(node, address, "status", "stop")
    await wait_until(lambda: not is_running(pid))
    # What user code prints there doesn't get between the lines that the two processes exchange.
    address = await node.local.status.spawn(NodeConfig(on_start="tests.samples:print_noise"), launcher=launcher)
    assert await _ask(node, address, "status", "get", "sid") == address.sid


@pytest.mark.parametrize("launcher", LAUNCHERS)
async def test_a_node_that_fails_to_boot_is_an_error_with_its_own_reason(start_node: StartNode, launcher: str) -> None:
    node = await start_node()
    failures = {
        "exit status 7": NodeConfig(on_start=samples.exit_at_once),
        f"{node.address} is already in use": NodeConfig(port=node.address.port),
        "LookupError: no plan for 127.0.0.1": NodeConfig(on_start=samples.fail_to_start),
        "can't import 'tests.nowhere'": NodeConfig(on_start="tests.nowhere:begin"),
        "'tests.samples' has no 'nothing'": NodeConfig(on_start="tests.samples:nothing"),
        "refusing to listen on 0.0.0.0": NodeConfig(ip="0.0.0.0"),
        "'tests.samples' has no 'Nothing'": NodeConfig(services={"nothing": "tests.samples:Nothing"}),
    }
    for reason, config in list(failures.items())[: None if launcher == "forkserver" else 3]:  # seconds, otherwise
        with pytest.raises(SpawnError) as caught:
            await node.local.status.spawn(config, launcher=launcher)
        assert reason in caught.value.text


async def test_an_on_start_without_an_import_path_goes_to_an_own_child_and_to_no_other(start_node: StartNode) -> None:
    node, other = await start_node(), await start_node()
    with pytest.raises(EncodeError, match="code does not travel"):
        await _ask(node, other.address, "status", "spawn", NodeConfig(on_start=lambda _: None))


async def test_another_process_can_be_asked_to_spawn_and_gives_the_reason_when_it_fails(
    start_node: StartNode, start_process: StartProcess
) -> None:
    caller, worker = await start_node(), await start_process()
    address = await _ask(caller, worker.address, "status", "spawn", NodeConfig(services=PROBE))
    assert await _ask(caller, address, "probe", "pid") not in (worker.pid, os.getpid())
    with pytest.raises(SpawnError, match="already in use"):
        await _ask(caller, worker.address, "status", "spawn", NodeConfig(port=address.port))


async def test_groups_of_another_process(worker_group: Workers) -> None:
    caller, workers = worker_group
    node = next(iter(workers.values())).address
    a, b = NodeAddress("127.0.0.1", 1), NodeAddress("127.0.0.1", 2)

    async def groups(method: str, *args: Any) -> Any:
        return await _ask(caller, node, "groups", method, *args)

    assert (await groups("get", "all"))[node.sid] == node
    assert await groups("get", "local") == _by_sid(node)
    for unknown in ("get", "del"):
        with pytest.raises(GroupNotFound):
            await groups(unknown, "atlas")
    for fixed in ("all", "local"):
        with pytest.raises(MalformedRequest):
            await groups("put", fixed, [a])
    assert await groups("put", "atlas", {"wrong key": a}) == _by_sid(a)
    assert await groups("add", "atlas", b) == _by_sid(a, b)
    assert await groups("rem", "atlas", a.sid) == _by_sid(b)
    assert await groups("rem", "atlas", a.sid) == _by_sid(b)
    assert await groups("add", "nowhere", a) == {}
    assert await groups("put", "atlas", [node]) == _by_sid(node)
    assert (await _ask(caller, node, "status", "get", "sid", gid="atlas")).value == [node.sid]
    assert {a.sid, b.sid} <= set(await groups("get", "all"))
    assert await groups("del", "atlas") == _by_sid(node)
    with pytest.raises(GroupNotFound):
        await _ask(caller, node, "status", "get", "sid", gid="atlas")
    for sid in (a.sid, b.sid):
        await groups("rem", "all", sid)


async def test_routes_of_another_process(worker_group: Workers) -> None:
    caller, workers = worker_group
    node = next(iter(workers.values())).address

    async def routes(method: str, *args: Any) -> Any:
        return await _ask(caller, node, "routes", method, *args)

    assert await routes("put", "tests.samples:Counter", "tally") == "tally"
    assert await routes("get", "tally") == ServiceDescription("tally", ["add", "total"])
    assert [await _ask(caller, node, "tally", "add") for _ in range(2)] == [1, 2]
    await routes("put", "tests.samples:Counter", "tally")
    assert await _ask(caller, node, "tally", "add") == 1
    with pytest.raises(MalformedRequest, match="built-in"):
        await routes("put", "tests.samples:Counter", "status")
    assert await routes("rem", "tally") is True
    with pytest.raises(ServiceNotFound):
        await routes("get", "tally")
    with pytest.raises(ServiceNotFound):
        await _ask(caller, node, "tally", "add")


async def test_comm_of_another_process(start_node: StartNode, processes: list[NodeProcess]) -> None:
    caller = await start_node()
    first, second = (worker.address for worker in processes[:2])
    relayed = await _ask(caller, first, "comm", "send", [], Remote(node=second, service="probe", method="pid"))
    assert relayed == processes[1].pid
    with pytest.raises(RemoteError, match="out of tea") as caught:
        await _ask(caller, first, "probe", "fail", "out of tea")
    assert (caught.value.type_name, caught.value.node) == ("ValueError", str(first))
    counts = await _ask(caller, first, "status", "get", "counts")
    refused: list[tuple[Any, Remote]] = [
        ("no list", Remote(node=first, service="probe", method="pid")),
        ([], Remote(service="probe", method="pid")),
        ([], Remote(node=first, method="pid")),
        ([], Remote(node=first, service="probe")),
    ]
    for args, remote in refused:
        with pytest.raises(MalformedRequest):
            await caller.local.comm.send(args, remote)
    assert await _ask(caller, first, "status", "get", "counts") == counts + 1


async def test_another_process_makes_a_group_wide_call_itself_when_the_gid_names_a_group(
    worker_group: Workers,
) -> None:
    caller, workers = worker_group
    node = next(iter(workers.values())).address
    members = [worker.address for worker in workers.values()]
    await _ask(caller, node, "groups", "put", "crew", members)
    replies = await _ask(caller, node, "comm", "send", [], PID, gid="crew")
    assert replies == Replies({sid: worker.pid for sid, worker in workers.items()}, {})
    total = await _ask(caller, node, "status", "get", "heap_used", gid="crew")
    assert total.value == sum(total.values.values()) > 0
    await _ask(caller, node, "groups", "del", "crew")


# -------------------------------------------------------------------------------------------------- group-wide services


async def _spawn_group(node: Node, gid: str, size: int) -> tuple[Group, dict[str, int]]:
    """Return a group of so many new processes, and their pids by SID."""
    await node.local.groups.put(gid, [])
    group = node.group(gid)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            for _ in range(size):
                nursery.start_soon(group.status.spawn, NodeConfig(services=PROBE))
        pids = await group.comm.send([], PID)
    pids.raise_errors()
    assert len(set(pids.values.values())) == size
    return group, pids.values


async def test_every_group_wide_call_with_one_process_killed(start_node: StartNode) -> None:
    node = await start_node()
    group, pids = await _spawn_group(node, "workers", 4)
    members = group.members()
    assert (await group.groups.get("workers")).values == dict.fromkeys(members, members)

    lost = next(iter(members))
    os.kill(pids[lost], signal.SIGKILL)
    await wait_until(lambda: not is_running(pids[lost]))
    left = [sid for sid in members if sid != lost]
    atlas = _by_sid(node.address, NodeAddress("127.0.0.1", 1))

    def check(replies: Replies[Any], values: dict[str, Any] | None = None) -> None:
        assert list(replies.values) == left
        assert list(replies.errors) == [lost]
        assert isinstance(replies.errors[lost], GONE)
        assert replies.errors[lost].node == str(members[lost])
        if values is not None:
            assert replies.values == values

    with trio.fail_after(DEADLINE_S):
        check(await group.comm.send([], PID), {sid: pids[sid] for sid in left})
        async with group.comm.stream([], PID) as answers:
            outcomes = {sid: outcome async for sid, outcome in answers}
        assert {sid: outcomes[sid] for sid in left} == {sid: pids[sid] for sid in left}
        assert isinstance(outcomes[lost], GONE)

        for key in ("counts", "heap_total", "heap_used"):
            total = await group.status.get(key)
            check(total)
            assert total.value == sum(total.values.values()) > 0
        nids = await group.status.get("nid")
        check(nids)
        assert nids.value == [members[sid].nid for sid in left]

        check(await group.groups.put("atlas", [node.address]), dict.fromkeys(left, _by_sid(node.address)))
        check(await group.groups.add("atlas", NodeAddress("127.0.0.1", 1)), dict.fromkeys(left, atlas))
        check(await group.groups.get("atlas"), dict.fromkeys(left, atlas))
        assert await node.local.groups.get("atlas") == atlas
        check(await group.groups.rem("atlas", node.sid), dict.fromkeys(left, _by_sid(NodeAddress("127.0.0.1", 1))))
        check(await group.groups.del_("atlas"))

        check(await group.routes.put("tests.samples:Counter", "tally"), dict.fromkeys(left, "tally"))
        check(await group.routes.get("tally"), dict.fromkeys(left, ServiceDescription("tally", ["add", "total"])))
        check(await group.comm.send([2], Remote(service="tally", method="add")), dict.fromkeys(left, 2))
        check(await group.routes.rem("tally"), dict.fromkeys(left, True))
        refused = await group.routes.put(samples.Counter(), "tally")
        assert [type(refused.errors[sid]) for sid in left] == [CodeRefused] * len(left)

        address = await group.status.spawn(NodeConfig())
        expected = _by_sid(*members.values(), address)
        assert group.members() == expected
        for sid in (*left, address.sid):
            assert await _ask(node, expected[sid], "groups", "get", "workers") == expected


async def test_a_group_without_members_is_an_error(worker_group: Workers) -> None:
    caller, _ = worker_group
    group = caller.group("workers")
    await caller.local.groups.put("workers", [])
    with pytest.raises(EmptyGroup):
        await group.comm.send([], PID)


async def test_first_a_quorum_or_a_stream_of_the_answers_of_processes(worker_group: Workers) -> None:
    caller, workers = worker_group
    comm = caller.group("workers").comm
    pids = {sid: worker.pid for sid, worker in workers.items()}
    with trio.fail_after(DEADLINE_S):
        for wait, count in (("first", 1), (3, 3), ("all", 4)):
            replies = await comm.send([], PID, wait=wait)  # type: ignore[arg-type]  # of a mixed list
            assert len(replies.values) == count
            assert replies.values.items() <= pids.items()
            assert not replies.errors
        async with comm.stream([], PID) as answers:
            assert {sid: outcome async for sid, outcome in answers} == pids


async def test_a_process_that_is_halted_delays_nobodys_result_past_the_deadline(
    start_node: StartNode, start_process: StartProcess, processes: list[NodeProcess]
) -> None:
    caller, halted = await start_node(), await start_process()
    running = processes[:2]
    await caller.local.groups.put("workers", [worker.address for worker in (*running, halted)])
    group = caller.group("workers")
    pids = {worker.address.sid: worker.pid for worker in (*running, halted)}
    assert (await group.comm.send([], PID)).values == pids
    halted.process.send_signal(signal.SIGSTOP)
    try:
        replies = Replies[int]({}, {})
        for deadline_s in (0.5, 2, 8, 32):  # a busy machine needs some time even for those that do run
            with trio.fail_after(deadline_s):
                replies = await group.comm.send([], PID, partial=True)
            assert type(replies.errors[halted.address.sid]) is CallTimeout
            if len(replies.errors) == 1:
                break
        assert replies.values == {worker.address.sid: worker.pid for worker in running}
        with trio.move_on_after(0.2) as scope:
            await group.comm.send([], PID)
        assert scope.cancelled_caught
    finally:
        halted.process.send_signal(signal.SIGCONT)
    with trio.fail_after(DEADLINE_S):
        assert (await group.comm.send([], PID)).values == pids


async def test_status_stop_stops_every_process_and_then_the_caller() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            group, pids = await _spawn_group(node, "workers", 3)
            members = group.members()
            assert await group.status.stop() == Replies(members, {})
            await trio.sleep_forever()
    assert not [pid for pid in pids.values() if is_running(pid)]
    assert not await is_listening(node.address.port)


async def test_a_template_of_the_configuration_is_in_every_group_of_the_process_and_called_over_http(
    start_process: StartProcess, processes: list[NodeProcess]
) -> None:
    config = NodeConfig(services=PROBE, templates={"census": "tests.samples:Census"})
    worker = await start_process(config)
    async with httpx.AsyncClient(base_url=f"http://{worker.address}", timeout=DEADLINE_S, trust_env=False) as client:
        nodes = [{"ip": "127.0.0.1", "port": each.address.port} for each in (worker, processes[0])]
        put = await client.put("/local/groups/put", json=["crew", nodes])
        assert put.status_code == 200
        answer = await client.put("/crew/census/pids", json=[])
        where = await client.put("/all/census/where", json=[])
    assert answer.json() == {
        "values": {each.address.sid: each.pid for each in (worker, processes[0])},
        "errors": {},
    }
    assert where.json() == {"value": "all"}


# --------------------------------------------------------------------------------------------------- who outlives whom


@pytest.mark.parametrize("launcher", LAUNCHERS)
async def test_spawned_nodes_have_stopped_when_the_block_of_their_spawner_has_ended(launcher: str) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            config = NodeConfig(services=PROBE, launcher=launcher)
            addresses = [await node.local.status.spawn(config) for _ in range(2)]
            pids = [await _ask(node, address, "probe", "pid") for address in addresses]
            assert all(map(is_running, pids))
    assert not [pid for pid in pids if is_running(pid)]
    assert not [address for address in addresses if await is_listening(address.port)]


async def test_an_exception_of_the_block_of_a_spawner_comes_out_as_it_is_and_its_nodes_stop() -> None:
    pids = []

    async def fail() -> None:
        async with open_node() as node:
            address = await node.local.status.spawn(NodeConfig(services=PROBE))
            pids.append(await _ask(node, address, "probe", "pid"))
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fail()
    assert not is_running(pids[0])


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
async def test_spawned_nodes_stop_with_their_parent_whatever_ends_it(
    start_node: StartNode, start_process: StartProcess, launcher: str, how: signal.Signals
) -> None:
    caller, parent = await start_node(), await start_process()
    config = NodeConfig(services=PROBE, launcher=launcher)
    children = [await _ask(caller, parent.address, "status", "spawn", config)]
    if how == signal.SIGKILL:
        children.append(await _ask(caller, children[0], "status", "spawn", config))
    pids = [await _ask(caller, node, "probe", "pid") for node in children]
    assert all(map(is_running, pids))
    parent.process.send_signal(how)
    await wait_until(lambda: not any(map(is_running, pids)))
    for node in children:
        assert not await is_listening(node.port)
    await wait_until(lambda: parent.process.poll() is not None)
    assert parent.process.returncode == (-how if how == signal.SIGKILL else 0)


@pytest.mark.parametrize("launcher", LAUNCHERS)
async def test_spawned_nodes_stop_with_a_parent_that_is_told_to_stop(
    start_node: StartNode, start_process: StartProcess, launcher: str
) -> None:
    caller, parent = await start_node(), await start_process()
    child = await _ask(caller, parent.address, "status", "spawn", NodeConfig(services=PROBE, launcher=launcher))
    pid = await _ask(caller, child, "probe", "pid")
    await _ask(caller, parent.address, "status", "stop")
    await wait_until(lambda: parent.process.poll() is not None)
    assert not is_running(pid)


@pytest.mark.parametrize("launcher", LAUNCHERS)
async def test_a_node_whose_on_start_blocks_for_good_dies_with_its_parent(
    start_node: StartNode, start_process: StartProcess, tmp_path: Path, launcher: str
) -> None:
    pid_file = tmp_path / "pid"
    caller = await start_node()
    parent = await start_process(None, **{samples.PID_FILE_VARIABLE: str(pid_file)})
    config = NodeConfig(on_start="tests.samples:block_forever", launcher=launcher, stop_grace_s=0)
    lost = []

    async def spawn() -> None:
        with pytest.raises(ConnectionLost) as caught:
            await _ask(caller, parent.address, "status", "spawn", config)
        lost.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(spawn)
        await wait_until(lambda: pid_file.exists() and pid_file.read_text(encoding="ascii").endswith("\n"))
        pid = int(pid_file.read_text(encoding="ascii"))
        assert is_running(pid)
        parent.process.kill()
    assert lost
    await wait_until(lambda: not is_running(pid))


@pytest.mark.parametrize("launcher", LAUNCHERS)
async def test_a_node_whose_handler_blocks_for_good_dies_with_its_parent(
    start_node: StartNode, start_process: StartProcess, launcher: str
) -> None:
    caller, parent = await start_node(), await start_process()
    config = NodeConfig(services=PROBE, launcher=launcher, stop_grace_s=0)
    child = await _ask(caller, parent.address, "status", "spawn", config)
    pid = await _ask(caller, child, "probe", "pid")
    async with trio.open_nursery() as nursery:

        async def block() -> None:
            with pytest.raises(ConnectionLost):
                await _ask(caller, child, "probe", "block")

        nursery.start_soon(block)
        is_blocked = False
        while not is_blocked:
            with trio.move_on_after(0.5) as scope:
                await _ask(caller, child, "status", "get", "sid")
            is_blocked = scope.cancelled_caught
        parent.process.kill()
    await wait_until(lambda: not is_running(pid))


async def test_a_spawn_that_is_cancelled_leaves_no_process_behind(
    start_node: StartNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "pid"
    monkeypatch.setenv(samples.PID_FILE_VARIABLE, str(pid_file))
    node = await start_node()
    for launcher in LAUNCHERS:
        pid_file.unlink(missing_ok=True)
        config = NodeConfig(on_start=samples.block_forever, launcher=launcher, stop_grace_s=0)
        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.local.status.spawn, config)
                await wait_until(lambda: pid_file.exists() and pid_file.read_text(encoding="ascii").endswith("\n"))
                nursery.cancel_scope.cancel()
        pid = int(pid_file.read_text(encoding="ascii"))
        await wait_until(lambda pid=pid: not is_running(pid))  # type: ignore[misc]  # its type cannot be inferred
