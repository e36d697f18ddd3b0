"""How the process of a node ends, whatever its threads do; and a node that is the first process of a container."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trio

from tests.launchers.families import Family, marked_family
from tests.launchers.loud import LOUD
from tests.node_processes import ROOT
from tests.waiting import DEADLINE_S, wait_until
from trionet import ChildEnded, NodeAddress, NodeConfig, Remote, TrionetError, open_node

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from trionet import Node

pytestmark = [pytest.mark.slow]

HELD_UP = ["start_thread", "hang_at_exit"]


@pytest.fixture(autouse=True)
def family() -> Generator[Family]:
    """The processes that the test has started; the test fails when one of them is left."""
    with marked_family() as found:
        yield found


@pytest.mark.parametrize("launcher", ["forkserver", "subprocess"])
@pytest.mark.parametrize("held_up_by", HELD_UP)
async def test_a_spawned_node_that_is_stopped_ends_with_status_0_whatever_it_has_begun(
    launcher: str, held_up_by: str
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            events = node.events()
            address = await node.local.status.spawn(NodeConfig(services=LOUD, launcher=launcher))
            await node.local.comm.send([], Remote(node=address, service="loud", method=held_up_by))
            await node.local.comm.send([], Remote(node=address, service="status", method="stop"))
            assert await anext(events) == ChildEnded(node=address, status=0)


@pytest.mark.parametrize("held_up_by", HELD_UP)
async def test_sigterm_ends_the_command_whatever_it_has_begun(held_up_by: str) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            command = await start([sys.executable, "-m", "trionet.cli.node"])
            await node.local.comm.send([], Remote(node=command.address, service="loud", method=held_up_by))
            command.process.terminate()
            assert await command.process.wait() == 0


@asynccontextmanager
async def working_in_thread(caller: Node, address: NodeAddress, file: Path, seconds: float) -> AsyncGenerator[None]:
    """Have a handler of the node at `address` work in a thread, from before the block begins."""

    async def work() -> None:
        with suppress(TrionetError):
            remote = Remote(node=address, service="loud", method="work_in_thread")
            await caller.local.comm.send([str(file), seconds], remote)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await wait_until(file.exists)
        yield


@pytest.mark.parametrize("launcher", ["forkserver", "subprocess"])
async def test_a_spawned_node_that_is_stopped_does_not_wait_for_handlers_in_threads(
    launcher: str, tmp_path: Path
) -> None:
    config = NodeConfig(services=LOUD, launcher=launcher, stop_grace_s=0.2)
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            events = node.events()
            address = await node.local.status.spawn(config)
            async with working_in_thread(node, address, tmp_path / "begun", 600):
                await node.local.comm.send([], Remote(node=address, service="status", method="stop"))
                assert await anext(events) == ChildEnded(node=address, status=0)


async def test_nor_does_the_command_after_one_signal_but_its_own_nodes_end_first(tmp_path: Path) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            command = await start([sys.executable, "-m", "trionet.cli.node"])
            config = NodeConfig(services=LOUD, launcher="subprocess", stop_grace_s=30)
            child = await node.local.comm.send([config], Remote(node=command.address, service="status", method="spawn"))
            async with (
                working_in_thread(node, command.address, tmp_path / "begun", 600),
                working_in_thread(node, child, tmp_path / "in the child", 5),
            ):
                command.process.terminate()
                assert await command.process.wait() == 0
            assert os.listdir(tmp_path) == ["begun"]


async def test_a_second_signal_does_not_wait_for_a_handler_in_a_thread(tmp_path: Path) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            command = await start([sys.executable, "-m", "trionet.cli.node"])
            async with working_in_thread(node, command.address, tmp_path / "begun", 600):
                command.process.terminate()
                await wait_until(lambda: not can_connect(command.address))
                command.process.terminate()
                assert await command.process.wait() == 130


def can_connect(address: NodeAddress) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((address.ip, address.port)) == 0


class Command(NamedTuple):
    """A running command, and the node that it has told of."""

    process: trio.Process
    address: NodeAddress


async def start(words: list[str]) -> Command:
    """Start a command that runs a node."""
    process = await trio.lowlevel.open_process(
        [*words, "--json", "--config", json.dumps({"services": LOUD})], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        chunk = await process.stdout.receive_some()
        assert chunk, "it has ended"
        line += chunk
    ready = json.loads(line)
    ready = ready["nodes"][0] if "nodes" in ready else ready
    return Command(process, NodeAddress(ready["ip"], ready["port"]))


# -------------------------------------------------------------------------------------------------- the first process

CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_unshare() -> bool:
    """Whether a process can be the first one of a namespace here."""
    return bool(shutil.which("unshare")) and not subprocess.run([*CONTAINER, "true"], check=False).returncode


in_a_container = pytest.mark.skipif(not can_unshare(), reason="no namespace for processes can be made here")


class Process(NamedTuple):
    """One below a command, as ``/proc`` tells."""

    pid: int
    state: str
    command: str


def below(pid: int) -> list[Process]:
    """Return the processes below `pid`, its children first."""
    children: dict[int, list[Process]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended since
            state, parent = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            children.setdefault(int(parent), []).append(Process(int(folder.name), state, command))
    found, level = list[Process](), [pid]
    while level:
        following = [process for parent in level for process in children.get(parent, [])]
        found += following
        level = [process.pid for process in following]
    return found


@pytest.fixture
async def container() -> AsyncGenerator[Command]:
    """``trionet-node`` as the first process of a namespace."""
    with trio.fail_after(DEADLINE_S):
        command = await start([*CONTAINER, sys.executable, "-m", "trionet.cli.node"])
    try:
        yield command
    finally:
        command.process.kill()
        with trio.CancelScope(shield=True):
            await command.process.wait()


@in_a_container
async def test_the_first_process_of_a_container_reaps_the_nodes_of_a_fork_server_that_was_killed(
    container: Command,
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as caller:
            spawn = Remote(node=container.address, service="status", method="spawn")
            for _ in range(3):
                await caller.local.comm.send([NodeConfig()], spawn)
            server = next(process for process in below(container.process.pid) if "forkserver" in process.command)
            os.kill(server.pid, signal.SIGKILL)
            await wait_until(lambda: len(below(container.process.pid)) == 2)
            assert await caller.local.comm.send([NodeConfig()], spawn)  # and the node has its children's statuses
            events = below(container.process.pid)
            assert not [process for process in events if process.state == "Z"]


@in_a_container
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_passes_on_signals_and_ends_as_the_node_does(container: Command, number: signal.Signals) -> None:
    with trio.fail_after(DEADLINE_S):
        os.kill(below(container.process.pid)[0].pid, number)
        assert await container.process.wait() == 0


@in_a_container
async def test_it_ends_as_a_shell_says_when_the_node_is_killed(container: Command) -> None:
    with trio.fail_after(DEADLINE_S):
        os.kill(below(container.process.pid)[1].pid, signal.SIGKILL)
        assert await container.process.wait() == 128 + signal.SIGKILL


@in_a_container
@pytest.mark.parametrize("arguments", ["node --port -1", "up 0"])
def test_a_failure_keeps_its_status(arguments: str) -> None:
    command = [*CONTAINER, sys.executable, "-m", "trionet", *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


@in_a_container
async def test_a_supervised_node_in_a_container_is_told_to_stop_by_its_launcher() -> None:
    from trionet.launchers.subprocess import supervise
    from trionet.launchers.supervised import Boot

    command = [*CONTAINER, sys.executable, "-m", "trionet.cli.node", "--supervised"]
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery, open_node() as caller:
            boot = Boot(NodeConfig(services=LOUD))
            address = await nursery.start(lambda task_status: supervise(command, boot, task_status))
            nid = Remote(node=address, service="status", method="get")
            assert await caller.local.comm.send(["nid"], nid) == address.nid
            nursery.cancel_scope.cancel()
