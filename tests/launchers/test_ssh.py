"""Nodes started through a real sshd on the loopback interface, with keys and configuration made for the test."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.keyed_nodes import KEEPER, new_file, refusal_by, told
from tests.launchers.misfit import SERVICES, ask, ask_in_vain, fail_to_start
from tests.launchers.ssh_server import SSHD, Server, open_sshd
from tests.ports import free_port
from tests.security.keys import key_of
from tests.waiting import DEADLINE_S, is_running, wait_until
from trionet import ChildEnded, ConnectionLost, NodeConfig, NodeUnreachable, Remote, SpawnError, SSHLauncher, open_node
from trionet.protocols.link.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tests.launchers.families import Family
    from trionet import Node, NodeAddress

ROOT = Path(__file__).parents[2]
MISFIT = NodeConfig(services=SERVICES, launcher="there", stop_grace_s=0.5)
NODE = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "trionet.cli.node"]
"""What starts ``trionet-node`` over there, where it isn't installed."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="openssh-server isn't installed"),
]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """An sshd of our own, which lets this user in with a key made for it."""
    with open_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def launcher(sshd: Server) -> SSHLauncher:
    return launcher_for(sshd)


def launcher_for(
    sshd: Server, host: str = "127.0.0.1", *, command: Sequence[str] = NODE, options: Sequence[str] = ()
) -> SSHLauncher:
    return SSHLauncher(f"{getpass.getuser()}@{host}", command=command, options=[*options, *sshd.options])


async def pid_of(node: Node, address: NodeAddress) -> int:
    pid: int = await ask(node, address, "pid")
    return pid


async def test_a_node_answers_and_has_stopped_when_the_block_is_left(launcher: SSHLauncher, family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher)
            address = await node.local.status.spawn(MISFIT)
            pid = await pid_of(node, address)
            assert await ask(node, address, "parent") not in family.pids()  # but the server's
            assert len(family.pids()) == 1  # the client
        assert not family.pids()
        await wait_until(lambda: not is_running(pid))


async def test_what_the_login_prints_without_the_end_of_a_line_is_passed_over(sshd: Server) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher_for(sshd._replace(options=sshd.options_with("greeted"))))
            address = await node.local.status.spawn(MISFIT)
            assert await pid_of(node, address)


async def test_the_configuration_is_on_no_command_line(launcher: SSHLauncher) -> None:
    secret = "open-sesame"
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher)
            services = SERVICES | {secret: SERVICES["misfit"]}
            address = await node.local.status.spawn(NodeConfig(services=services, launcher="there"))
            lines = [line for line in every_command_line() if secret in line]
            assert not lines
            methods = await node.local.comm.send([secret], Remote(node=address, service="routes", method="get"))
            assert methods.name == secret


async def test_the_key_travels_through_the_connection_and_the_path_of_its_file_does_not(
    launcher: SSHLauncher, tmp_path: Path
) -> None:
    secret = key_of(1).reveal()
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(key_file=new_file(tmp_path), cluster="shop")) as node:
            node.register_launcher("there", launcher)
            address = await node.local.status.spawn(KEEPER, launcher="there")
            assert not [line for line in every_command_line() if secret in line]
            settings = await told(node, address, "settings")
            assert (settings["key_file"], settings["cluster"]) == (None, "shop")
            assert await trio.to_thread.run_sync(refusal_by, address) is Refusal.PLAIN


def every_command_line() -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


async def test_nodes_are_started_at_once(launcher: SSHLauncher) -> None:
    addresses: list[NodeAddress] = []
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher)

            async def spawn() -> None:
                addresses.append(await node.local.status.spawn(MISFIT))

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(spawn)
            await node.local.groups.put("there", addresses)
            pids = await node.group("there").comm.send([], Remote(service="misfit", method="pid"))
            assert len(set(pids.values.values())) == 3


async def test_killing_the_client_stops_the_node_and_is_seen(launcher: SSHLauncher, family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher)
            address = await node.local.status.spawn(MISFIT)
            pid, events = await pid_of(node, address), node.events()
            (client,) = family.pids()
            os.kill(client, signal.SIGKILL)
            assert await anext(events) == ChildEnded(node=address, status=-signal.SIGKILL)
            await wait_until(lambda: not is_running(pid))


async def test_so_it_does_when_its_event_loop_is_blocked(launcher: SSHLauncher, family: Family, tmp_path: Path) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node, trio.open_nursery() as nursery:
            node.register_launcher("there", launcher)
            address = await node.local.status.spawn(MISFIT)
            pid = await pid_of(node, address)
            nursery.start_soon(ask_in_vain, node, address, "spin", str(tmp_path / "pid"))
            await wait_until((tmp_path / "pid").exists)
            (client,) = family.pids()
            os.kill(client, signal.SIGKILL)
            await wait_until(lambda: not is_running(pid))


async def test_a_node_that_ends_there_is_seen_here_with_its_status(launcher: SSHLauncher) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher)
            quitting, stopped = [await node.local.status.spawn(MISFIT) for _ in range(2)]
            events = node.events()
            await ask_in_vain(node, quitting, "exit", 3)
            assert await anext(events) == ChildEnded(node=quitting, status=3)
            await node.local.comm.send([], Remote(node=stopped, service="status", method="stop"))
            assert await anext(events) == ChildEnded(node=stopped, status=0)


async def test_a_detached_node_outlives_its_spawner(launcher: SSHLauncher, family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher)
            address = await node.local.status.spawn(MISFIT, detach=True)
            pid = await pid_of(node, address)
        for client in family.pids():
            os.kill(client, signal.SIGKILL)
        async with open_node() as node:
            assert await pid_of(node, address) == pid
            await node.local.comm.send([], Remote(node=address, service="status", method="stop"))
            await wait_until(lambda: not is_running(pid))


async def test_what_keeps_a_node_from_booting_there_is_the_reason(launcher: SSHLauncher) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher)
            with pytest.raises(SpawnError, match=r"did not boot: LookupError: no plan for 127\.0\.0\.1$"):
                await node.local.status.spawn(NodeConfig(launcher="there", on_start=fail_to_start))
            with pytest.raises(SpawnError, match=rf"did not boot: {node.address} is already in use$"):
                await node.local.status.spawn(NodeConfig(launcher="there", port=node.address.port))


def launcher_that_knows_another_key(sshd: Server) -> SSHLauncher:
    known = sshd.folder / "known"
    known.write_text(f"[127.0.0.1]:{sshd.port} {(sshd.folder / 'stranger.pub').read_text('ascii')}", encoding="ascii")
    return launcher_for(sshd, options=["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (launcher_that_knows_another_key, r" 255; WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!; .*; find out why"),
        (lambda sshd: launcher_for(sshd, "host.invalid"), r"Could not resolve hostname host\.invalid"),
        (lambda sshd: launcher_for(sshd, options=["-p", f"{free_port()}"]), "Connection refused"),
        (lambda sshd: launcher_for(sshd._replace(options=sshd.options_with("stranger"))), "Permission denied"),
        (lambda sshd: launcher_for(sshd, options=["-o", "StrictHostKeyChecking=yes"]), "Host key verification failed"),
        (lambda sshd: launcher_for(sshd, command=["/nowhere/node"]), r"127; /nowhere/node isn't on \S*127\S*: install"),
    ],
)  # fmt: skip
async def test_what_keeps_ssh_from_starting_it_is_the_reason(
    sshd: Server, change: Callable[[Server], SSHLauncher], reason: str
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", change(sshd))
            with pytest.raises(SpawnError, match=f"ended before it had booted: exit status.*{reason}"):
                await node.local.status.spawn(MISFIT)


async def test_a_host_that_does_not_answer_is_given_up(sshd: Server) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        silent = launcher_for(sshd, options=["-p", f"{mute.getsockname()[1]}", "-o", "ConnectTimeout=1"])
        with trio.fail_after(DEADLINE_S):
            async with open_node() as node:
                node.register_launcher("there", silent)
                with pytest.raises(SpawnError, match=r"exit status 255.*timed out"):
                    await node.local.status.spawn(MISFIT)


async def test_a_node_whose_server_is_killed_stops(launcher: SSHLauncher, family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher)
            address = await node.local.status.spawn(MISFIT)
            pid, events = await pid_of(node, address), node.events()
            os.kill(await ask(node, address, "parent"), signal.SIGKILL)
            assert await anext(events) == ChildEnded(node=address, status=255)
            await wait_until(lambda: not is_running(pid))
            with suppress(ConnectionLost, NodeUnreachable):  # the end of its link may not have been read yet
                await pid_of(node, address)
            with pytest.raises(NodeUnreachable):
                await pid_of(node, address)
