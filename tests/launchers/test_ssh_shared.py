"""All nodes of a host share one login: a real sshd on the loopback interface, and what can go wrong with it."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.launchers.misfit import SERVICES, ask, ask_in_vain, sleep_at_start
from tests.launchers.ssh_server import SSHD, Server, open_sshd
from tests.node_processes import ROOT
from tests.waiting import DEADLINE_S, is_running, wait_until
from trionet import (
    ChildEnded,
    ChildRestarted,
    MalformedRequest,
    NodeConfig,
    ObservedStatus,
    Remote,
    SpawnError,
    SSHLauncher,
    open_node,
)
from trionet.launchers.base import KILL_AFTER_S
from trionet.launchers.connections import open_connections

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from tests.launchers.families import Family
    from trionet import Node, NodeAddress

MISFIT = NodeConfig(services=SERVICES, launcher="there", stop_grace_s=0.5)
NODE = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "trionet.cli.node"]
LONGEST_S = 0.5 + 3 * KILL_AFTER_S + 10
"""The bounds one after the other, and what a busy machine takes."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="openssh-server isn't installed"),
]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """An sshd of our own, which lets this user in with a key made for it."""
    with open_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def launcher_for(
    sshd: Server, command: Sequence[str] = NODE, *, options: Sequence[str] = (), **settings: Any
) -> SSHLauncher:
    """Return a launcher whose processes over there have the mark of the test's family, too."""
    mark = {name: value for name, value in os.environ.items() if name.startswith("TRIONET_TEST")}
    settings["env"] = mark | settings.get("env", {})
    host = f"{getpass.getuser()}@127.0.0.1"
    return SSHLauncher(host, command=command, options=[*options, *sshd.options], **settings)


def logins(sshd: Server) -> int:
    """Return how many there have been."""
    return (sshd.folder / "log").read_text(encoding="utf-8").count("Accepted publickey")


async def spawn_all(node: Node, count: int, config: NodeConfig = MISFIT, launcher: str = "there") -> list[NodeAddress]:
    """Start nodes at once."""
    addresses: list[NodeAddress] = []

    async def spawn() -> None:
        addresses.append(await node.local.status.spawn(config, launcher=launcher))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(spawn)
    return addresses


class Wrapped:
    """A launcher of a user's, around one of trionet's."""

    def __init__(self, inner: SSHLauncher) -> None:
        self._inner = inner

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        await self._inner.connect()
        return await self._inner.start(config, task_status=task_status)


async def test_equal_launchers_of_a_node_share_one_login_and_those_around_them_do_too(
    sshd: Server, family: Family
) -> None:
    before = logins(sshd)
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher_for(sshd))
            node.register_launcher("again", Wrapped(launcher_for(sshd)))
            addresses = await spawn_all(node, 4) + await spawn_all(node, 2, launcher="again")
            parents = {await ask(node, address, "parent") for address in addresses}
            assert len(parents) == 1
            assert logins(sshd) == before + 1
        assert not family.pids()


async def test_an_exit_that_the_helper_has_seen_is_proof(sshd: Server) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node, trio.open_nursery() as nursery:
            addresses: list[NodeAddress] = []
            statuses: list[int] = []

            class Status(trio.TaskStatus[Any]):
                def started(self, value: Any = None) -> None:
                    addresses.append(value)

            async def start() -> None:
                statuses.append(await launcher_for(sshd).start(MISFIT, task_status=Status()))

            nursery.start_soon(start)
            await wait_until(lambda: bool(addresses))
            await ask_in_vain(node, addresses[0], "exit", 3)
            await wait_until(lambda: bool(statuses))
            assert statuses == [3]
            assert isinstance(statuses[0], ObservedStatus)


HERE = """\
import os, sys
import trionet

class Here:
    @trionet.rpc
    def get(self) -> list[str]:
        return [os.getcwd(), os.environ["SHADE"], os.environ["PYTHONPATH"], sys.path[0]]
"""


@pytest.mark.parametrize("detach", [False, True])
async def test_nodes_have_the_directory_and_the_environment_that_were_asked_for(
    sshd: Server, tmp_path: Path, family: Family, detach: bool
) -> None:
    (tmp_path / "here_there.py").write_text(HERE, encoding="utf-8")
    secret = "a shade, 'of' \"green\"\nand \\ ö"
    launcher = launcher_for(sshd, cwd=tmp_path, env={"SHADE": secret, "PYTHONPATH": f"{ROOT}:/nowhere"})
    config = NodeConfig(launcher="there", detach=detach, services={"here": "here_there:Here", **SERVICES})
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher)
            address = await node.local.status.spawn(config)
            found = await node.local.comm.send([], Remote(node=address, service="here", method="get"))
            assert found == [str(tmp_path), secret, f"{ROOT}:/nowhere", str(tmp_path)]
            assert not [line for line in family.command_lines().values() if "shade" in line]
            await node.local.comm.send([], Remote(node=address, service="status", method="stop"))
        await family.wait_gone()


@pytest.mark.parametrize("detach", [False, True])
async def test_a_directory_that_is_not_there_is_the_reason(sshd: Server, detach: bool) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher_for(sshd, cwd="/no/such"))
            with pytest.raises(SpawnError, match="can't change to the working directory '/no/such': No such file"):
                await node.local.status.spawn(MISFIT, detach=detach)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("value", ["x" * 200_000, "\ud800"])
async def test_an_environment_that_python_can_t_have_is_the_reason(sshd: Server, detach: bool, value: str) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher_for(sshd, env={"A": value}))
            with pytest.raises(SpawnError, match="can't begin again with that environment: "):
                await node.local.status.spawn(NodeConfig(launcher="there", detach=detach))


def with_version(version: str) -> list[str]:
    """Return a command of a trionet of that version."""
    patch = f"import trionet.version as v; v.__version__ = '{version}'; from trionet.cli.node import main; main()"
    return [*NODE[:2], sys.executable, "-c", patch]


OLD = r"""case "$*" in *--version*) echo trionet-node {version};; *) echo usage >&2; exit 2;; esac"""


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (with_version("7.8.9"), r"^trionet is 7\.8\.9 on .*127.* and 0\.1\.0 here.*: install trionet==0\.1\.0 there"),
        (["sh", "-c", OLD.format(version="0.0.4"), "x"], r"exit status 2; trionet is 0\.0\.4 on .* and 0\.1\.0 here"),
        (["sh", "-c", OLD.format(version="0.1.0"), "x"], r"2; trionet 0\.1\.0 on .* can't start several nodes"),
        ([sys.executable, "-ISm", "trionet", "node"], r"1; .*No module named trionet; install trionet==0\.1\.0 there"),
        (["sh", "-c", "echo out of luck >&2; exit 4"], r"exit status 4; out of luck$"),
    ],
)
async def test_a_far_trionet_of_another_version_or_none_is_a_clear_error(
    sshd: Server, command: list[str], reason: str
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher_for(sshd, command))
            with pytest.raises(SpawnError, match=reason):
                await node.local.status.spawn(MISFIT)


async def test_after_a_broken_connection_the_restart_policy_opens_another(sshd: Server, family: Family) -> None:
    before = logins(sshd)
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher_for(sshd))
            addresses = set(await spawn_all(node, 3, NodeConfig(services=SERVICES, restart="on_failure")))
            events = node.events()
            (client,) = [pid for pid, line in family.command_lines().items() if line.startswith("ssh ")]
            os.kill(client, signal.SIGKILL)
            seen = [await anext(events) for _ in range(6)]
            assert {event.node for event in seen if isinstance(event, ChildEnded)} == addresses
            assert {event.node for event in seen if isinstance(event, ChildRestarted)} == addresses
            assert not [event for event in seen if isinstance(getattr(event, "status", None), ObservedStatus)]
            assert logins(sshd) == before + 2


async def test_a_login_that_is_given_up_leaves_no_client(family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        with trio.socket.socket() as mute:
            await mute.bind(("127.0.0.1", 0))
            mute.listen()
            options = ["-F", "none", "-p", f"{mute.getsockname()[1]}", "-o", "ConnectTimeout=600"]
            async with open_node() as node:
                node.register_launcher("there", SSHLauncher("127.0.0.1", options=options))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(spawn_all, node, 3)
                    await family.wait_for(1)
                    nursery.cancel_scope.cancel()
                assert not family.pids()


async def test_a_spawn_that_is_cancelled_during_the_boot_leaves_no_node(sshd: Server, family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher_for(sshd))
            await node.local.status.spawn(MISFIT)
            before = family.pids()
            async with trio.open_nursery() as nursery:
                stuck = NodeConfig(on_start=sleep_at_start, stop_grace_s=0.5)
                nursery.start_soon(spawn_all, node, 2, stuck)
                await family.wait_for(len(before) + 2)
                nursery.cancel_scope.cancel()
            assert family.pids() == before


async def test_a_frozen_helper_holds_up_nobody_and_is_gone_with_its_nodes(sshd: Server, family: Family) -> None:
    with trio.fail_after(DEADLINE_S + LONGEST_S):
        async with open_node() as node:
            node.register_launcher("there", launcher_for(sshd))
            first = await node.local.status.spawn(MISFIT)
            helper, pid = await ask(node, first, "parent"), await ask(node, first, "pid")
            os.kill(helper, signal.SIGSTOP)
            events = node.events()
            with trio.fail_after(LONGEST_S):
                with trio.move_on_after(0.1) as scope:
                    await node.local.status.spawn(MISFIT)
                assert scope.cancelled_caught
            event = await anext(events)
            assert isinstance(event, ChildEnded)
            assert event.node == first
            await wait_until(lambda: not is_running(helper) and not is_running(pid))
            again = await node.local.status.spawn(MISFIT)
            assert await ask(node, again, "parent") != helper
        assert not family.pids()


async def test_who_waits_for_one_login_shares_its_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "ssh"
    script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/count\nexec sleep 0.5\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    failures = []
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:

            async def spawn() -> None:
                with pytest.raises(SpawnError, match="ended before it had booted") as raised:
                    await node.local.status.spawn(NodeConfig(launcher="ssh:attic"))
                failures.append(raised.value)

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(spawn)
            assert len(failures) == 20
            assert len(set(map(id, failures))) == 20
            login_and_question = 2
            assert (tmp_path / "count").read_text(encoding="ascii").count("x") == login_and_question


async def test_a_start_beyond_any_node_has_a_connection_of_its_own() -> None:
    async with open_connections() as first, open_connections() as second:
        assert first is not second
    async with open_node() as node:
        with node._children._launchers.passed():  # noqa: SLF001
            async with open_connections() as first, open_connections() as second:
                assert first is second


def test_the_command_line_can_be_shown() -> None:
    line = SSHLauncher("attic", options=["-4"], env={"A": "secret"}, cwd="/srv").command_line
    assert line[:3] == ["ssh", "-4", "-T"]  # no terminal, whatever the options say
    assert line[-3:] == ["--", "attic", "trionet-node --supervised-many"]
    assert not re.search("secret", repr(line))
    assert "secret" not in repr(SSHLauncher("attic", env={"A": "secret"})._login)  # noqa: SLF001


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["attic"], "'attic' is neither"),
        (["-p", "22", "attic"], "'attic' is neither"),
        (["-4", "--"], "'--' is neither"),
        (["-4", "--", "attic"], "'attic' is neither"),
        (["-p"], "-p is the last one, and lacks its argument"),
        (["-4o"], "-o is the last one, and lacks its argument"),
        (["-4N"], "with -N ssh runs no command there"),
        (["-W", "x:1"], "with -W ssh runs no command there"),
        (["-f", "-p", "22"], "with -f ssh runs no command there"),
        (["-o", "SessionType=none"], "with -o SessionType=none ssh runs no command there"),
        (["-4osessiontype None"], "with -o sessiontype None ssh runs"),
        (["-o", 'StdinNull = "yes"'], "with -o StdinNull = "),
        (["-oForkAfterAuthentication=yes"], "with -o ForkAfterAuthentication=yes ssh runs"),
    ],
)
def test_options_with_which_ssh_would_do_something_else_are_refused(options: list[str], said: str) -> None:
    with pytest.raises(MalformedRequest, match=f"options: .*{said}"):
        SSHLauncher("attic", options=options)


@pytest.mark.parametrize(
    "options",
    [
        ["-p22"],
        ["-4p", "22"],
        ["-o", "-N"],
        ["-o", "ProxyCommand=nc %h %p"],
        ["-o", "SessionType=default", "-oStdinNull no"],
        ["-t"],
        ["-@"],
        ["--new"],
        [],
    ],
)
def test_options_that_say_how_ssh_logs_in_are_passed_on(options: list[str]) -> None:
    assert SSHLauncher("attic", options=options).command_line[1 : 1 + len(options)] == options


async def test_a_command_between_that_passes_input_and_output_on_will_do(sshd: Server, family: Family) -> None:
    command = ["sh", "-c", 'cat | "$@" | cat', "sh", *NODE]
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher_for(sshd, command))
            assert len(set(await spawn_all(node, 3))) == 3
        await family.wait_gone()
