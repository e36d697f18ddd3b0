"""``trionet up`` as a person or a script sees it: always a process of its own."""

from __future__ import annotations

import os
import pty
import re
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from tests.launchers.families import Family, marked_family
from tests.ports import free_port
from tests.running_up import Start, open_ups
from tests.waiting import DEADLINE_S, is_listening, wait_until
from trionet import Node, NodeAddress, NodeConfig, Remote, TrionetError, open_node
from trionet.cli.up import main

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

PROBE = '{"services": {"probe": "tests.samples:Probe"}%s}'


@pytest.fixture(autouse=True)
def family() -> Generator[Family]:
    """The processes that the test has started; the test fails when one of them is left."""
    with marked_family() as found:
        yield found


@pytest.fixture
def up() -> Generator[Start]:
    """Start ``trionet up``."""
    with open_ups() as start:
        yield start


async def test_every_node_knows_all_of_them_so_that_a_call_to_any_ones_all_reaches_all(up: Start) -> None:
    command = up("5", "--json", "--config", PROBE % "")
    addresses = await command.addresses()
    assert len(set(addresses)) == 5
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            for address in addresses:
                get = Remote(node=address, gid="all", service="status", method="get")
                assert sorted((await node.local.comm.send(["port"], get)).value) == sorted(
                    each.port for each in addresses
                )
    command.process.terminate()
    assert await command.wait() == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
@pytest.mark.parametrize("launcher", ["forkserver", "subprocess", "in_process"])
async def test_a_signal_stops_all_nodes_with_status_0_and_nothing_said(
    up: Start, family: Family, how: signal.Signals, launcher: str
) -> None:
    command = up("2", "--launcher", launcher)
    lines = [await command.read_line() for _ in range(3)]
    found = [re.fullmatch(r"([0-9a-f]{10})  127\.0\.0\.1:(\d+)\n", line) for line in lines[:2]]
    assert lines[2] == "2 nodes are up; Ctrl-C stops them\n"
    for match in found:
        assert match is not None, lines
        assert NodeAddress("127.0.0.1", int(match[2])).sid == match[1]
        assert await is_listening(int(match[2]))
    assert len(family.pids()) == {"forkserver": 4, "subprocess": 3, "in_process": 1}[launcher]
    command.process.send_signal(how)
    assert await command.wait() == 0
    assert not family.pids()
    assert command.said() == ""


async def test_ports_count_up_from_the_first(up: Start) -> None:
    first = free_port(2)
    command = up("2", "--json", "--port-from", str(first))
    assert [address.port for address in await command.addresses()] == [first, first + 1]
    command.process.terminate()
    assert await command.wait() == 0


async def test_a_node_that_does_not_boot_is_one_line_and_status_1_and_the_others_are_stopped(
    up: Start, family: Family
) -> None:
    async with open_node() as node:
        port = node.address.port
        command = up("2", "--port-from", str(port - 1))
        assert await command.wait() == 1
        assert not family.pids()
        said = command.said()
    assert said in {
        f"trionet up: the node did not boot: 127.0.0.1:{taken} is already in use\n" for taken in (port, port - 1)
    }


async def test_a_signal_while_they_start_ends_it_with_status_130(up: Start, family: Family) -> None:
    command = up("2", "--config", '{"on_start": "tests.launchers.misfit:sleep_at_start"}')
    await family.wait_for(4)
    command.process.send_signal(signal.SIGINT)
    assert await command.wait() == 130
    assert not family.pids()
    assert "Traceback" not in command.said()


async def test_a_second_signal_does_not_wait_and_leaves_no_node(up: Start, family: Family, tmp_path: Path) -> None:
    command = up("1", "--json", "--config", '{"services": {"misfit": "tests.launchers.misfit:Misfit"}}')
    (address,) = await command.addresses()
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node, trio.open_nursery() as nursery:
            remote = Remote(node=address, service="misfit", method="spin")
            nursery.start_soon(node.local.comm.send, [str(tmp_path / "pid")], remote)
            await wait_until((tmp_path / "pid").exists)
            nursery.cancel_scope.cancel()

    def is_gone() -> bool:
        command.process.send_signal(signal.SIGINT)  # two in quick succession are one to the system
        return command.process.poll() is not None

    await wait_until(is_gone)
    assert command.process.returncode == 130
    await family.wait_gone()


@pytest.mark.parametrize(("config", "status"), [("", 0), (', "restart": "on_failure"', 0), (', "restart": "never"', 0)])
async def test_it_ends_when_all_nodes_have_been_stopped_by_calls(up: Start, config: str, status: int) -> None:
    # Without warnings: on a loaded machine there is one of lateness.
    command = up("2", "--json", "--log-level", "error", "--config", PROBE % config)
    addresses = await command.addresses()
    await stop_all(addresses)
    assert await command.wait() == status
    assert command.said() == "trionet up: all nodes have ended\n"


async def stop_all(addresses: list[NodeAddress]) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            for address in addresses:
                await node.local.comm.send([], Remote(node=address, service="status", method="stop"))


async def test_it_ends_with_status_1_when_the_last_node_has_crashed(up: Start) -> None:
    command = up("2", "--json", "--config", PROBE % "")
    stopped, killed = await command.addresses()
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            os.kill(await node.local.comm.send([], Remote(node=killed, service="probe", method="pid")), signal.SIGKILL)
    await stop_all([stopped])
    assert await command.wait() == 1
    said = command.said()
    assert f"the spawned node {killed} ended: signal 9" in said
    assert "Traceback" not in said


async def test_a_node_that_is_restarted_keeps_it_up(up: Start) -> None:
    command = up("1", "--json", "--config", PROBE % ', "restart": "always"')
    (address,) = await command.addresses()
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            remote = Remote(node=address, service="probe", method="pid")
            first = await node.local.comm.send([], remote)
            os.kill(first, signal.SIGKILL)
            await answer_from_another(node, address, first)
    assert command.process.poll() is None
    command.process.terminate()
    assert await command.wait() == 0


async def answer_from_another(node: Node, address: NodeAddress, pid: int) -> None:
    while True:
        with suppress(TrionetError):
            if await node.local.comm.send([], Remote(node=address, service="probe", method="pid")) != pid:
                return
        await trio.sleep(0.01)


async def test_progress_is_shown_on_a_terminal(up: Start) -> None:
    ours, theirs = pty.openpty()
    command = up("3", stderr=theirs)
    os.close(theirs)
    await command.read_line()
    command.process.terminate()
    assert await command.wait() == 0
    shown = b""
    with suppress(OSError):  # what Linux says at the end of a terminal
        while chunk := os.read(ours, 4096):
            shown += chunk
    os.close(ours)
    bars = re.findall(r"\r([#.]{30}) ([0-3]) of 3 nodes, [0-9.]+ per second\x1b\[K", shown.decode())
    assert bars[0] == ("." * 30, "0")
    assert bars[-1] == ("#" * 30, "3")
    assert [bar.count("#") for bar, _ in bars] == [10 * int(done) for _, done in bars]
    assert shown.endswith(b"\r\x1b[K")


REFUSED = {
    "an unknown launcher": (["1", "--launcher", "kubernetes"], "there is no 'kubernetes'"),
    "listening beyond loopback": (["1", "--config", '{"ip": "0.0.0.0"}'], "refusing to listen on 0.0.0.0"),
    "detached nodes": (["1", "--config", '{"detach": true}'], "detach"),
}

REFUSED_WHILE_READING = {
    "no number": ([], "N"),
    "a number that is none": (["some"], "N"),
    "no node": (["0"], "N is a positive number, not 0"),
    "an unknown flag": (["1", "--prot", "80"], "--prot"),
    "a port that is no number": (["1", "--port-from", "http"], "--port-from"),
    "a port out of range": (["1", "--port-from", "65536"], "65536"),
    "ports out of range": (["2", "--port-from", "65535"], "there are no 2 ports from 65535 on"),
    "an unknown key": (["1", "--config", '{"prot": 80}'], "prot"),
    "a missing file": (["1", "--config", "nowhere.toml"], "nowhere.toml"),
}


@pytest.mark.parametrize(("arguments", "reason"), REFUSED.values(), ids=list(REFUSED))
async def test_wrong_usage_is_one_line_and_status_2(up: Start, arguments: list[str], reason: str) -> None:
    command = up(*arguments)
    assert await command.wait() == 2
    (line,) = command.said().splitlines()
    assert line.startswith("trionet up: ")
    assert reason in line
    assert await command.read_line() == ""


@pytest.mark.parametrize(("arguments", "reason"), REFUSED_WHILE_READING.values(), ids=list(REFUSED_WHILE_READING))
def test_what_is_refused_while_it_is_read_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)  # in this process, which is much faster; it comes no further than the arguments
    output, errors = capsys.readouterr()
    assert (caught.value.code, output) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith("trionet up: ")
    assert reason in line


async def test_the_nodes_are_one_cluster_which_sees_one_fail(up: Start) -> None:
    command = up("3", "--json", "--config", PROBE % ', "profile": "local"')
    addresses = await command.addresses()
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:

            async def wait_for(expected: list[NodeAddress], of: list[NodeAddress]) -> None:
                remotes = [Remote(node=each, service="membership", method="members") for each in of]
                while True:
                    seen = [await node.local.comm.send([], remote) for remote in remotes]
                    if all({member.node for member in members} == set(expected) for members in seen):
                        return
                    await trio.sleep(0.05)

            await wait_for(addresses, addresses)
            pid = await node.local.comm.send([], Remote(node=addresses[0], service="probe", method="pid"))
            os.kill(pid, signal.SIGKILL)
            await wait_for(addresses[1:], addresses[1:])


async def test_with_join_the_nodes_become_members_of_a_cluster(up: Start) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(join=[])) as node:
            command = up("2", "--json", "--join", str(node.address))
            addresses = await command.addresses()
            expected = sorted([node.sid, *(address.sid for address in addresses)])
            await wait_until(lambda: [member.sid for member in node.members()] == expected)
            command.process.terminate()
            assert await command.wait() == 0
            await wait_until(lambda: [member.sid for member in node.members()] == [node.sid])


async def test_services_are_named_by_their_class_or_by_the_option_and_lines_by_their_node(up: Start) -> None:
    services = ["--service", "tests.samples:Talker", "--service", "other=tests.samples:Talker"]
    command = up("2", "--json", *services)
    addresses = await command.addresses()
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            for address in addresses:
                for name in ("talker", "other"):
                    remote = Remote(node=address, service=name, method="say")
                    assert await node.local.comm.send(["good morning"], remote) == 12
    command.process.terminate()
    assert await command.wait() == 0
    lines = command.said().splitlines()
    for address in addresses:
        assert lines.count(f"[{address.sid} {address}] good morning") == 2, lines


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--service", "nowhere.at.all:Class"], "can't import 'nowhere.at.all'"),
        (["--service", "tests.samples:nothing"], "'tests.samples' has no 'nothing'"),
        (["--service", "tests.samples"], "expected 'package.module:name'"),
        (["--service", "tests.samples:make_talker"], "use NAME=tests.samples:make_talker"),
        (
            ["--service", "tests.samples:Talker", "--service", "tests.samples:Talker"],
            "two services are called 'talker'",
        ),
        (["--service", "status=tests.samples:Talker"], "'status' is a built-in service"),
        (["--join", "nonsense"], "nonsense"),
    ],
)
async def test_an_option_that_can_t_be_used_is_one_line(up: Start, words: list[str], text: str) -> None:
    command = up("1", *words)
    assert await command.wait() in (1, 2)
    (line,) = command.said().splitlines()
    assert line.startswith("trionet up: ")
    assert text in line
