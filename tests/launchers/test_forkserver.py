from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import trio

from tests.launchers.misfit import SERVICES, ask, sleep_at_start, speak_up, spin_at_start, spin_file
from tests.waiting import DEADLINE_S, wait_until
from trionet import ChildEnded, Node, NodeAddress, NodeConfig, Remote, SpawnError, open_node
from trionet.launchers import forkserver
from trionet.launchers.forked import RECORD
from trionet.launchers.supervised import Report, boot_for, decode_line, encode_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from tests.launchers.families import Family
    from trionet.errors import TrionetError

pytestmark = [pytest.mark.slow]

MISFIT = NodeConfig(services=SERVICES)
STUCK = NodeConfig(services=SERVICES, on_start=sleep_at_start)
"""It never boots."""


@pytest.fixture
async def parent(start_node: Callable[..., Awaitable[Node]]) -> AsyncGenerator[Node]:
    """A node in this process, for as long as the test lasts."""
    with trio.fail_after(2 * DEADLINE_S):
        yield await start_node()


async def test_the_fork_server_starts_with_the_first_spawn_and_forks_all_nodes(parent: Node, family: Family) -> None:
    assert not family.pids()
    first = await parent.local.status.spawn(MISFIT)
    second = await parent.local.status.spawn(MISFIT)
    server = await ask(parent, first, "parent")
    assert server == await ask(parent, second, "parent") != os.getpid()
    assert family.pids() == {server, await ask(parent, first, "pid"), await ask(parent, second, "pid")}


async def test_prewarm_starts_it_ahead_of_time_and_once(parent: Node, family: Family) -> None:
    await parent.prewarm()
    (server,) = family.pids()
    await parent.prewarm()
    address = await parent.local.status.spawn(MISFIT)
    assert await ask(parent, address, "parent") == server
    assert len(family.pids()) == 2


async def test_it_runs_no_threads(parent: Node, family: Family) -> None:
    await parent.local.status.spawn(MISFIT)
    assert set(family.threads().values()) == {1}


async def test_what_it_has_imported_stays_out_of_its_nodes_garbage_collections(parent: Node) -> None:
    address = await parent.local.status.spawn(MISFIT)
    is_enabled, frozen = await ask(parent, address, "frozen")
    assert is_enabled
    assert frozen > 30_000


IMPORTED = """
import sys
from trionet.services.base import rpc

def use(node):
    node.all.members()
    node.calls.dump()
    node.launcher("subprocess")

class Imported:
    @rpc
    def modules(self) -> list[str]:
        return sorted(sys.modules)
"""

PREPARED = """
import sys
from trionet.cli.forkserver import prepare
from trionet.launchers.needs import Needs
prepare(Needs(has_http={}), "warning")
print(*sys.modules)
"""
WEB = {"trionet.transports.web", "trionet.transports.http"}


async def prepared_modules(*, has_http: bool) -> set[str]:
    """Return the modules of a fork server."""
    done = await trio.run_process([sys.executable, "-c", PREPARED.format(has_http)], capture_stdout=True)
    return set(done.stdout.decode().split())


async def test_a_node_that_is_used_has_imported_nothing_that_the_fork_server_had_not(
    parent: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = await prepared_modules(has_http=False)
    assert not WEB & prepared
    (tmp_path / "imported.py").write_text(IMPORTED, encoding="ascii")
    monkeypatch.syspath_prepend(tmp_path)
    address = await parent.local.status.spawn(
        NodeConfig(services={"imported": "imported:Imported"}, on_start="imported:use")
    )
    modules = await parent.local.comm.send([], Remote(node=address, service="imported", method="modules"))
    assert set(modules) - prepared == {"imported"}


async def test_it_imports_what_http_needs_where_its_nodes_call_each_other_over_http() -> None:
    assert await prepared_modules(has_http=True) >= WEB


async def test_nodes_that_boot_do_not_wait_for_each_other(parent: Node, family: Family) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(parent.local.status.spawn, STUCK)
        await family.wait_for(6)
        assert await ask(parent, await parent.local.status.spawn(MISFIT), "pid")
        nursery.cancel_scope.cancel()


async def test_standard_output_and_error_are_the_parents(capfd: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            await node.local.status.spawn(NodeConfig(on_start=speak_up, log_level="error"))
    said = capfd.readouterr()
    assert said.out == "said on standard output\n"
    assert said.err == "said on standard error\n"


@pytest.mark.parametrize("given_up_after_s", [0.0, 0.003, 0.03, 0.1])
async def test_a_spawn_can_be_given_up_while_the_fork_server_starts_and_the_next_one_works(
    parent: Node, given_up_after_s: float
) -> None:
    with trio.fail_after(DEADLINE_S):
        with trio.move_on_after(given_up_after_s):
            await parent.local.status.spawn(MISFIT)
        address = await parent.local.status.spawn(MISFIT)
        assert await ask(parent, address, "pid") != os.getpid()


async def test_when_it_is_killed_its_nodes_end_and_later_spawns_get_another_one(parent: Node, family: Family) -> None:
    booted = [await parent.local.status.spawn(MISFIT) for _ in range(3)]
    events = parent.events()
    server = await ask(parent, booted[0], "parent")
    reasons: list[str] = []

    async def be_in_flight() -> None:
        with pytest.raises(SpawnError) as caught:
            await parent.local.status.spawn(STUCK)
        reasons.append(caught.value.text)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(be_in_flight)
        await family.wait_for(1 + 3 + 20)
        os.kill(server, signal.SIGKILL)
    assert len(reasons) == 20
    assert set(reasons) == {"the node ended before it had booted: signal 9"}
    ended = [await anext(events) for _ in booted]
    assert sorted(ended, key=repr) == sorted((ChildEnded(node=node, status=-9) for node in booted), key=repr)
    await family.wait_gone()

    address = await parent.local.status.spawn(MISFIT)
    assert await ask(parent, address, "parent") not in (server, os.getpid())


@pytest.mark.parametrize("processes", [1, 8, 24])
async def test_when_it_is_killed_while_it_forks_every_spawn_ends_and_later_ones_work(
    parent: Node, family: Family, processes: int
) -> None:
    await parent.prewarm()
    (server,) = family.pids()
    booted, refused = list[NodeAddress](), list[str]()

    async def spawn() -> None:
        try:
            booted.append(await parent.local.status.spawn(MISFIT))
        except SpawnError as error:
            refused.append(error.text)

    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(spawn)
        await trio.lowlevel.checkpoint()
        await wait_until(lambda: len(family.pids()) >= processes)
        os.kill(server, signal.SIGKILL)
    assert len(booted) + len(refused) == 40  # some had not begun by then, and got another one
    assert not [reason for reason in refused if "Error" in reason]
    address = await parent.local.status.spawn(MISFIT)
    assert await ask(parent, address, "parent") not in (server, os.getpid())


async def test_when_it_is_killed_blocked_nodes_end_too(
    parent: Node, family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in spin_file(tmp_path / "pid").items():
        monkeypatch.setenv(name, value)
    async with trio.open_nursery() as nursery:

        async def fail() -> None:
            with pytest.raises(SpawnError, match="signal 9"):
                await parent.local.status.spawn(NodeConfig(services=SERVICES, on_start=spin_at_start))

        nursery.start_soon(fail)
        await wait_until((tmp_path / "pid").exists)
        node = int((tmp_path / "pid").read_text(encoding="ascii"))
        (server,) = family.pids() - {node}
        os.kill(server, signal.SIGKILL)
    await family.wait_gone()


async def test_when_it_is_killed_while_it_starts_nodes_are_started_without_it_and_the_next_ones_with_another(
    parent: Node, family: Family, caplog: pytest.LogCaptureFixture
) -> None:
    addresses: list[NodeAddress] = []

    async def spawn() -> None:
        addresses.append(await parent.local.status.spawn(MISFIT))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(spawn)
        (server,) = await family.wait_for(1)
        os.kill(server, signal.SIGKILL)
    assert await ask(parent, addresses[0], "parent") == os.getpid()
    assert "there is no fork server (the fork server ended before it was ready)" in caplog.text
    await spawn()
    assert await ask(parent, addresses[1], "parent") != os.getpid()


async def test_without_one_nodes_are_processes_of_their_own_and_that_is_said_once(
    parent: Node, family: Family, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver, "is_available", lambda: False)
    await parent.prewarm()
    assert not family.pids()
    for _ in range(2):
        address = await parent.local.status.spawn(MISFIT)
        assert await ask(parent, address, "parent") == os.getpid()
    said = [line for line in caplog.messages if "no fork server" in line]
    assert said == ["there is no fork server (this platform can't fork): nodes are started as processes of their own"]


async def test_a_fork_server_that_cannot_be_started_is_no_reason_not_to_spawn(
    parent: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(SpawnError, match="can't start the fork server: No such file or directory"):
        await parent.prewarm()
    with pytest.raises(SpawnError, match="can't start /nowhere/python: No such file or directory"):
        await parent.local.status.spawn(MISFIT)


async def test_it_ends_with_its_node(family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            await node.prewarm()
            assert len(family.pids()) == 1
        assert not family.pids()


# ------------------------------------------------------------------------------------------------------------ protocol


class Line:
    """The launcher's end of a fork server's control socket, blocking."""

    def __init__(self, stack: ExitStack, prologue: str = "") -> None:
        self.control, theirs = socket.socketpair()
        self.control.settimeout(DEADLINE_S)
        stack.enter_context(self.control)
        program = f"{prologue}\nfrom trionet.cli.forkserver import main; main({theirs.fileno()}, [])"
        with theirs:
            self.process = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", program], pass_fds=[theirs.fileno()])
            )
        stack.callback(self.process.kill)
        self._stack = stack

    def fork(self, number: int) -> socket.socket:
        """Ask for a node; return our end of its socket pair."""
        ours, theirs = socket.socketpair()
        ours.settimeout(DEADLINE_S)
        self._stack.enter_context(ours)
        with theirs:
            socket.send_fds(self.control, [RECORD.pack(b"F", number, 0)], [theirs.fileno()])
        return ours

    def hear(self) -> tuple[bytes, int, int]:
        kind, number, value = RECORD.unpack(self.control.recv(RECORD.size, socket.MSG_WAITALL))
        return kind, number, value


def boot(end: socket.socket) -> NodeAddress | TrionetError | None:
    """Tell a forked node to boot; return what it reports."""
    end.sendall(encode_line(boot_for(NodeConfig())))
    with end.makefile("rb") as lines:
        report = decode_line(lines.readline(), Report)
    return report.address or report.error


def test_a_record_asks_for_a_fork_and_others_tell_its_pid_and_its_end() -> None:
    with ExitStack() as stack:
        line = Line(stack)
        assert line.hear() == (b"R", 0, 0)
        first, second = line.fork(7), line.fork(8)
        (kind, number, pid), other = line.hear(), line.hear()
        assert (kind, number, other[:2]) == (b"P", 7, (b"P", 8))
        assert isinstance(boot(first), NodeAddress)
        assert isinstance(boot(second), NodeAddress)
        os.kill(pid, signal.SIGKILL)
        assert line.hear() == (b"X", 7, -signal.SIGKILL)
        line.control.sendall(RECORD.pack(b"K", 7, 0) + RECORD.pack(b"K", 8, 0))
        assert line.hear() == (b"X", 8, -signal.SIGKILL)
        line.control.shutdown(socket.SHUT_WR)
        assert line.process.wait(DEADLINE_S) == 0


def test_a_fork_that_fails_is_that_nodes_reason_and_the_server_goes_on() -> None:
    prologue = """
import errno, os
fork, forks = os.fork, []
def fork_but_the_first_time():
    forks.append(1)
    if len(forks) == 1:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
os.fork = fork_but_the_first_time
"""
    with ExitStack() as stack:
        line = Line(stack, prologue)
        assert line.hear() == (b"R", 0, 0)
        line.fork(1)
        assert line.hear() == (b"E", 1, errno.EAGAIN)
        assert isinstance(boot(line.fork(2)), NodeAddress)
