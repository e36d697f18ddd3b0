"""Sockets that a service manager opened for a node: socket activation."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.node_processes import ROOT, clean_environment
from tests.waiting import DEADLINE_S
from trionet import NodeAddress, NodeConfig, Remote, open_node
from trionet.cli.passed_sockets import passed_sockets, usable_sockets
from trionet.errors import ConfigError
from trionet.transports.port import open_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# As systemd does between fork and exec.
PASSES = """
import fcntl, os, sys
numbers = [int(text) for text in sys.argv[1].split(",")]
copies = [fcntl.fcntl(number, fcntl.F_DUPFD, 100) for number in numbers]
for place, copy in enumerate(copies, 3):
    os.dup2(copy, place, inheritable=True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": "a:b"}
os.execv(sys.executable, [sys.executable, "-m", "trionet.cli.node", "--json", *sys.argv[2:]])
"""


def start(stack: ExitStack, socks: list[socket.socket], *arguments: str) -> subprocess.Popen[bytes]:
    numbers = [sock.fileno() for sock in socks]
    process = subprocess.Popen(
        [sys.executable, "-c", PASSES, ",".join(map(str, numbers)), *arguments],
        cwd=ROOT,
        env=clean_environment(),
        pass_fds=numbers,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def listening(ip: str = "127.0.0.1", port: int = 0) -> socket.socket:
    sock = socket.create_server((ip, port), family=socket.AF_INET6 if ":" in ip else socket.AF_INET)
    sock.listen(16)
    return sock


def for_datagrams(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", port))
    return sock


async def address_of(process: subprocess.Popen[bytes]) -> NodeAddress:
    assert process.stdout is not None
    with trio.fail_after(DEADLINE_S):
        ready: dict[str, Any] = msgspec.json.decode(await trio.to_thread.run_sync(process.stdout.readline))
    return NodeAddress(ready["ip"], ready["port"])


@pytest.mark.parametrize("with_datagrams", [True, False])
async def test_what_comes_while_no_node_runs_is_answered_by_the_next_one(*, with_datagrams: bool) -> None:
    with ExitStack() as stack:
        tcp = stack.enter_context(listening())
        port = tcp.getsockname()[1]
        socks = [tcp, stack.enter_context(for_datagrams(port))] if with_datagrams else [tcp]
        remote = Remote(node=NodeAddress("127.0.0.1", port), service="status", method="get")
        first = start(stack, socks)
        assert await address_of(first) == remote.node
        async with open_node(NodeConfig(join=[])) as caller:
            assert await caller.local.comm.send(["sid"], remote) == NodeAddress("127.0.0.1", port).sid
            first.terminate()
            assert await trio.to_thread.run_sync(first.wait) == 0
        async with await trio.open_tcp_stream("127.0.0.1", port) as waiting:
            await waiting.send_all(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            second = start(stack, socks)
            await address_of(second)
            with trio.fail_after(DEADLINE_S):
                assert (await waiting.receive_some(12)) == b"HTTP/1.1 200"
        async with open_node(NodeConfig(join=[str(remote.node)])) as member:
            assert len(member.members()) == 2


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ([partial(socket.socket, socket.AF_UNIX)], "is no TCP or UDP socket"),
        ([socket.socket], "is not listening"),
        ([partial(for_datagrams, 0)], "no TCP socket was passed"),
        ([listening, listening], "a node has one, for TCP and UDP"),
        ([listening, partial(for_datagrams, 0)], "a node has one, for TCP and UDP"),
        ([partial(open, os.devnull, "rb")], "is no socket"),
    ],
)
def test_what_a_node_can_not_use_is_refused_with_the_reason(made: list[Callable[[], IO[bytes]]], reason: str) -> None:
    with ExitStack() as stack:
        descriptors = [os.dup(stack.enter_context(make()).fileno()) for make in made]
        with pytest.raises(ConfigError, match=reason):
            usable_sockets(descriptors)
        for descriptor in descriptors:
            with suppress(OSError):  # it has been closed
                os.close(descriptor)


async def refused(*socks: socket.socket) -> str:
    """Return what a node says that can't use `socks`, and ends with status 2."""
    with ExitStack() as stack:
        for sock in socks:
            stack.enter_context(sock)
        process = start(stack, list(socks))
        with trio.fail_after(DEADLINE_S):
            _, errors = await trio.to_thread.run_sync(process.communicate)
        assert process.returncode == 2
        return errors.decode()


async def test_what_was_passed_is_closed_when_the_node_finds_no_address_to_advertise() -> None:
    everywhere = listening("0.0.0.0")
    datagrams = for_datagrams(0)
    config = NodeConfig(ip="0.0.0.0", insecure=True, join=["[::1]:9"])
    with pytest.raises(ConfigError, match="no route to any seed"):
        await open_port(config, [everywhere, datagrams], has_datagrams=True)
    assert (everywhere.fileno(), datagrams.fileno()) == (-1, -1)


async def test_an_open_address_needs_a_key_as_ever() -> None:
    with listening() as loopback:
        port = loopback.getsockname()[1]
        everywhere = socket.socket(socket.AF_INET6)
        everywhere.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        everywhere.bind(("::", port))
        everywhere.listen(16)
        assert "refusing to listen on :: without a key" in await refused(loopback, everywhere)


ANOTHER = f"{2**22 + 1}"
"""Of a process that Linux never has."""


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LISTEN_PID": ANOTHER, "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": ""},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1000000"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "\u0661"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1" * 5000},
    ],
)
def test_what_is_announced_for_another_process_or_malformed_is_left_alone(variables: dict[str, str]) -> None:
    environment = {"PATH": "/bin"} | variables
    assert passed_sockets(environment) == []
    assert environment == {"PATH": "/bin"}


async def test_the_variables_reach_no_program_that_a_node_starts(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text('on_start = "tests.samples:note_environment"\n', encoding="utf-8")
    note = tmp_path / "environment"
    with ExitStack() as stack:
        tcp = stack.enter_context(listening())
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("TEST_NOTE", str(note))
        await address_of(start(stack, [tcp], "--config", str(config)))
        assert not [name for name in msgspec.json.decode(note.read_bytes()) if name.startswith("LISTEN_")]
