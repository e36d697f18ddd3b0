"""A process that user code forks holds nothing of a node's: all ends as if it weren't there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trio

from tests.launchers.families import Family, marked_family
from tests.launchers.misfit import SERVICES, ask, fork_and_exit, spin_file
from tests.node_processes import ROOT, clean_environment
from tests.waiting import DEADLINE_S, is_running, wait_until
from trionet import NodeConfig, NodeUnreachable, Remote, SpawnError, open_node
from trionet.forks import keep_from_forks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform can't fork")]


@pytest.fixture(autouse=True)
def family() -> Generator[Family]:
    """The processes that the test has started; the test fails when one of them is left."""
    with marked_family() as found:
        yield found


@contextmanager
def forked(work: Callable[[], object] = signal.pause) -> Generator[int]:
    """Fork a process as `multiprocessing` does; it is killed with the block."""
    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    assert worker.pid is not None
    try:
        yield worker.pid
    finally:
        worker.kill()
        worker.join()


def sockets_of(pid: int | str) -> set[str]:
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return {link for link in found if link.startswith(("socket:", "pipe:"))}


async def test_a_port_is_free_and_refuses_when_its_node_has_closed_though_a_forked_process_lives() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as caller:
            async with open_node() as node:
                address = node.address
                assert await caller.local.comm.send(["port"], Remote(node=address, service="status", method="get"))
                with forked():
                    node.stop()
                    await trio.sleep_forever()
            with forked():
                async with open_node(NodeConfig(port=address.port)):
                    pass
                with pytest.raises(NodeUnreachable, match="refused"):
                    await caller.local.comm.send(["port"], Remote(node=address, service="status", method="get"))


async def test_a_forked_process_holds_no_socket_that_a_node_has_made() -> None:
    with trio.fail_after(DEADLINE_S):
        before = sockets_of("self")  # Trio's own are among them
        async with open_node() as one, open_node() as two:
            for launcher in ("forkserver", "subprocess"):
                address = await one.local.status.spawn(NodeConfig(services=SERVICES, launcher=launcher))
                assert await ask(two, address, "pid")
            await one.local.comm.send(["port"], Remote(node=two.address, service="status", method="get"))
            async with await trio.open_tcp_stream(two.address.ip, two.address.port) as http:
                await http.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert await http.receive_some()
                ours = sockets_of("self") - before
                client = os.readlink(f"/proc/self/fd/{http.socket.fileno()}")
                assert len(ours) > 10
                with forked() as pid:
                    await wait_until(lambda: not (sockets_of(pid) & ours) - {client})


async def test_nor_one_to_a_peer_that_it_calls_over_http() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(transport="http")) as caller, open_node() as peer:
            before = sockets_of("self")
            await caller.local.comm.send(["port"], Remote(node=peer.address, service="status", method="get"))
            ours = sockets_of("self") - before
            assert len(ours) == 2  # both ends
            with forked() as pid:
                await wait_until(lambda: not sockets_of(pid) & ours)


async def test_what_a_forked_process_does_at_its_end_is_not_felt_by_the_node() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node, open_node() as peer:
            to_peer = Remote(node=peer.address, service="status", method="get")
            child = await node.local.status.spawn(NodeConfig(services=SERVICES))
            pid = await ask(node, child, "pid")
            await node.local.comm.send(["port"], to_peer)

            def close_all() -> None:
                node.stop()
                for number in range(3, 64):
                    with suppress(OSError):
                        os.close(number)

            with forked(close_all) as worker:
                await wait_until(lambda: not is_running(worker))
            assert await node.local.comm.send(["port"], to_peer) == peer.address.port
            assert await peer.local.comm.send(["port"], Remote(node=node.address, service="status", method="get"))
            assert await ask(peer, child, "pid") == pid


@pytest.mark.parametrize("launcher", ["forkserver", "subprocess"])
async def test_a_node_that_ends_while_it_boots_has_ended_though_a_process_that_it_forked_lives(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pid"
    for name, value in spin_file(file).items():
        monkeypatch.setenv(name, value)
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            try:
                with pytest.raises(SpawnError, match="ended before it had booted: exit status 7"):
                    await node.local.status.spawn(NodeConfig(on_start=fork_and_exit, launcher=launcher))
            finally:
                os.kill(int(file.read_text(encoding="ascii")), signal.SIGKILL)


@pytest.mark.parametrize("launcher", ["forkserver", "subprocess"])
@pytest.mark.parametrize("method", ["terminate_worker", "terminate_worker_of_thread"])
async def test_a_process_that_a_handler_has_forked_ends_by_sigterm(launcher: str, method: str) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            address = await node.local.status.spawn(NodeConfig(services=SERVICES, launcher=launcher))
            assert await ask(node, address, method) == -signal.SIGTERM


PROGRAM = """
import multiprocessing, os, signal, sys, trio, trionet

async def main():
    async with trionet.open_node() as node:
        for _ in range(2):
            await node.local.status.spawn(trionet.NodeConfig(launcher=sys.argv[1]))
        worker = multiprocessing.get_context("fork").Process(target=signal.pause)
        worker.start()
        print(worker.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.parametrize("launcher", ["forkserver", "subprocess"])
async def test_spawned_nodes_end_with_a_spawner_that_is_killed_though_a_process_that_it_forked_lives(
    family: Family, launcher: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, launcher]
    environment = clean_environment() | {name: os.environ[name] for name in os.environ if "_TEST_" in name}
    spawner = await trio.lowlevel.open_process(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    assert spawner.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        line += await spawner.stdout.receive_some()
    worker = int(line)
    spawner.kill()
    try:
        await spawner.wait()
        await wait_until(lambda: family.pids() == {worker})
    finally:
        os.kill(worker, signal.SIGKILL)
        await spawner.stdout.aclose()


FORKING = """
import os, sys, trio, trionet

class Forking:
    @trionet.rpc
    def fork(self) -> int:
        if not (pid := os.fork()):
            sys.exit(0)
        return pid

async def main(node):
    await node.local.routes.put(Forking(), "forking")
    child = await node.local.status.spawn(trionet.NodeConfig())
    async with trionet.open_node() as peer:
        fork = trionet.Remote(node=node.address, service="forking", method="fork")
        pid = await peer.local.comm.send([], fork)
        await trio.to_thread.run_sync(os.waitpid, pid, 0)
        for address in (child, node.address):
            get = trionet.Remote(node=address, service="status", method="get")
            assert await peer.local.comm.send(["port"], get) == address.port
        print("as before")

trionet.run(main)
"""


def test_a_forked_process_that_goes_on_in_the_event_loop_does_not_disturb_the_nodes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (done.returncode, done.stdout) == (0, "as before\n"), done.stderr


def test_a_number_stays_taken_so_that_who_closes_it_later_closes_nothing_else(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    keep_from_forks(ours)
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                number = ours.fileno()
                with (tmp_path / "file").open("wb") as file:
                    ours.close()
                    is_apart = file.fileno() != number
                    file.write(b"whole")
                status = 0 if is_apart else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        ours.send(b"as before")
        assert theirs.recv(16) == b"as before"
    assert (tmp_path / "file").read_bytes() == b"whole"
