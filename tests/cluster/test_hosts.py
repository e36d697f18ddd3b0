"""``trionet up --hosts`` with a real sshd on the loopback interface, and with this machine in several parts."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.cluster.files import written
from tests.keyed_nodes import new_file, refusal_by
from tests.launchers.families import Family, marked_family
from tests.launchers.ssh_server import SSHD, Server, open_sshd
from tests.node_processes import ROOT
from tests.running_up import Start, open_ups
from tests.security.keys import key_of
from tests.test_service_manager import manager
from tests.waiting import DEADLINE_S, is_running, wait_until
from trionet import NodeAddress, NodeConfig, Remote, TrionetError, open_node
from trionet.protocols.link.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Generator

    from trionet import Node

pytestmark = pytest.mark.slow

needs_sshd = pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="openssh-server isn't installed")
FAMILY = "TRIONET_TEST_FAMILY"
LOCAL = '[hosts.{name}]\nlocal = true\nservices = {{probe = "tests.samples:Probe"}}\n'


@pytest.fixture(autouse=True)
def family() -> Generator[Family]:
    """The processes that the test has started, on whatever host; the test fails when one of them is left."""
    with marked_family() as found:
        yield found


@pytest.fixture
def up() -> Generator[Start]:
    with open_ups() as start:
        yield start


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """An sshd of our own, which lets this user in with a key made for it."""
    with open_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def far_file(sshd: Server, folder: Path, before: str = "", hosts: str = "") -> str:
    """Write a file of two hosts behind the sshd, ``one`` and ``two``, and `hosts`."""
    options = ", ".join(f'"{option}"' for option in sshd.options)
    user = getpass.getuser()
    text = f"""\
{before}
command = ["{sys.executable}", "-m", "trionet.cli.node"]
environment = {{PYTHONPATH = "{ROOT}", {FAMILY} = "{os.environ[FAMILY]}"}}
options = [{options}]
user = "{user}"
services = {{probe = "tests.samples:Probe"}}
directory = "{folder}"

[hosts.one]
address = "127.0.0.1"

[hosts.two]
address = "localhost"

{hosts}
"""
    return written(folder, text)


async def ask(node: Node, address: NodeAddress, service: str, method: str) -> object:
    answer: object = await node.local.comm.send([], Remote(node=address, service=service, method=method))
    return answer


async def hosts_of_members(node: Node, address: NodeAddress) -> dict[NodeAddress, str]:
    """Return the tag ``host`` of each member that the node at `address` knows."""
    members = await node.local.comm.send([], Remote(node=address, service="membership", method="members"))
    return {member.node: member.tags["host"] for member in members if member.status == "alive"}


@needs_sshd
async def test_hosts_are_one_cluster_with_the_key_and_tags_and_nothing_is_left_when_the_command_is_killed(
    up: Start, sshd: Server, family: Family, tmp_path: Path
) -> None:
    key_file = new_file(tmp_path)
    name = os.path.basename(key_file)  # relative to the cluster file
    before = f'key_file = "{name}"\ncluster = "shop"\nnodes = 4\nslots = 2'
    logins_before = logins(sshd)
    command = up("--json", "--hosts", far_file(sshd, tmp_path, before, LOCAL.format(name="here")))
    with trio.fail_after(DEADLINE_S):
        nodes = dict(await command.hosts())
        assert logins(sshd) - logins_before == 2, "one for each host"
        assert list(nodes.values()) == ["one", "one", "two", "here"]
        assert key_of(1).reveal().encode() not in every_command_line()
        async with open_node(NodeConfig(key_file=key_file, cluster="shop")) as node:
            for address in nodes:
                while await hosts_of_members(node, address) != nodes:  # noqa: ASYNC110  another process sets no event
                    await trio.sleep(0.05)
                assert await trio.to_thread.run_sync(refusal_by, address) is Refusal.PLAIN
            pids = {int(str(await ask(node, address, "probe", "pid"))): host for address, host in nodes.items()}
        for pid, host in pids.items():
            assert (os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)) is (host != "here")
        command.process.kill()
        await command.wait()
        await wait_until(lambda: not family.pids())
    assert not any(map(is_running, pids))
    first, *others = command.said().splitlines()
    assert first == "trionet up: 4 nodes of cluster shop by spread: one 2, two 1, here 1"
    assert not [line for line in others if line.startswith("trionet up")]


def logins(server: Server) -> int:
    return (server.folder / "log").read_text(encoding="utf-8").count("Accepted publickey")


def every_command_line() -> bytes:
    found = b""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += file.read_bytes()
    return found


HERE_AND_GONE = (
    '[hosts.gone]\naddress = "127.0.0.1"\noptions = ["-F", "none", "-p", "1"]\n' + "[hosts.here]\nlocal = true\n"
)


@needs_sshd
async def test_a_host_that_can_t_be_reached_is_reported_while_the_others_start_and_min_decides(
    up: Start, family: Family, tmp_path: Path
) -> None:
    path = written(tmp_path, HERE_AND_GONE)
    command = up("--json", "--hosts", path, "--min", "1")
    with trio.fail_after(DEADLINE_S):
        assert [host for _, host in await command.hosts()] == ["here"]
        command.process.terminate()
        assert await command.wait() == 0
    first, failure = command.said().splitlines()
    assert first.endswith(": gone 1, here 1")
    assert failure.startswith("trionet up: gone: ")
    assert "ssh: connect to host 127.0.0.1 port 1" in failure
    command = up("--json", "--hosts", path)
    with trio.fail_after(DEADLINE_S):
        assert await command.wait() == 1
    assert command.said().splitlines()[-1] == (
        "trionet up: 1 of 2 nodes have started, and 2 are needed: stopped; --min 1 would go on with those that have"
    )
    assert not family.pids()


async def test_systemd_is_told_and_a_node_that_ends_starts_again_and_joins_the_others_also_the_first_one(
    up: Start, family: Family, tmp_path: Path
) -> None:
    text = 'restart = "on_failure"\n' + LOCAL.format(name="a") + LOCAL.format(name="b")
    with manager(str(tmp_path / "notify")) as systemd, trio.fail_after(DEADLINE_S):
        command = up("--json", "--hosts", written(tmp_path, text), **systemd.environment)
        nodes = dict(await command.hosts())
        (*_, ready) = await systemd.until("READY")
        assert ready["STATUS"] == "2 nodes are up"
        async with open_node() as node:
            for address in nodes:
                pid = int(str(await ask(node, address, "probe", "pid")))
                os.kill(pid, signal.SIGKILL)
                while not await is_back(node, address, pid, nodes):  # noqa: ASYNC110  another process
                    await trio.sleep(0.02)
        command.process.send_signal(signal.SIGHUP)
        await systemd.until("RELOADING")
        command.process.terminate()
        await systemd.until("STOPPING")
        assert await command.wait() == 0
        await wait_until(lambda: not family.pids())


async def is_back(node: Node, address: NodeAddress, pid: int, nodes: dict[NodeAddress, str | None]) -> bool:
    """Whether another process than `pid` is at an address, and knows all `nodes`."""
    try:
        return await ask(node, address, "probe", "pid") != pid and await hosts_of_members(node, address) == nodes
    except TrionetError:
        return False


@pytest.mark.soak
async def test_a_node_whose_policy_is_never_is_not_started_again_and_the_last_ends_the_command(
    up: Start, tmp_path: Path
) -> None:
    command = up("--json", "--hosts", written(tmp_path, LOCAL.format(name="a") + LOCAL.format(name="b")))
    with trio.fail_after(DEADLINE_S):
        addresses = await command.addresses()
        async with open_node() as node:
            for address in addresses:
                os.kill(int(str(await ask(node, address, "probe", "pid"))), signal.SIGKILL)
        assert await command.wait() == 1
    assert command.said().endswith("trionet up: all nodes have ended\n")


async def test_a_signal_while_they_start_leaves_nothing(up: Start, family: Family, tmp_path: Path) -> None:
    text = 'on_start = "tests.cluster.files:never_ready"\n' + "".join(LOCAL.format(name=name) for name in "abc")
    command = up("--hosts", written(tmp_path, text))
    with trio.fail_after(DEADLINE_S):
        await wait_until(lambda: len(family.pids()) > 2)
        command.process.send_signal(signal.SIGTERM)
        assert await command.wait() == 130
        await wait_until(lambda: not family.pids())
