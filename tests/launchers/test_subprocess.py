from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.launchers.misfit import SERVICES, ask, ask_in_vain, crash_later, speak_up
from tests.waiting import DEADLINE_S, wait_until
from trionet import ChildEnded, NodeAddress, NodeConfig, SpawnError, open_node
from trionet.launchers.lineage import ORPHANED_S
from trionet.launchers.subprocess import supervise
from trionet.launchers.supervised import MAX_LINE_BYTES, Boot, Report, address_from, boot_for, encode_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.launchers.families import Family

LAUNCHERS = ["forkserver", "subprocess"]
MISFIT = NodeConfig(services=SERVICES, launcher="subprocess")
ADDRESS = NodeAddress("127.0.0.1", 8080)
MARK = encode_line(Report(address=ADDRESS)).partition(b",")[0]
"""How every report begins."""

slow = pytest.mark.slow


@slow
async def test_a_node_is_a_child_of_this_process_and_needs_no_fork_server(family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            address = await node.local.status.spawn(MISFIT)
            assert await ask(node, address, "parent") == os.getpid()
            assert family.pids() == {await ask(node, address, "pid")}


@slow
async def test_what_a_node_prints_goes_to_its_parents_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            await node.local.status.spawn(NodeConfig(on_start=speak_up, launcher="subprocess", log_level="error"))
    said = capfd.readouterr()
    assert said.out == ""
    assert sorted(said.err.splitlines()) == ["said on standard error", "said on standard output"]


@slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
async def test_no_command_line_shows_the_configuration(family: Family, launcher: str) -> None:
    secret = "sesame"
    config = NodeConfig(services={secret: SERVICES["misfit"]}, launcher=launcher)
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            await node.local.status.spawn(config)
            assert len(lines := family.command_lines()) == (2 if launcher == "forkserver" else 1)
            assert not [line for line in lines.values() if secret in line]


@slow
async def test_a_node_that_is_told_to_stop_has_all_the_time_of_its_grace(tmp_path: Path, family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as caller, trio.open_nursery() as nursery:
            async with open_node() as node:
                for launcher in LAUNCHERS:
                    config = NodeConfig(services=SERVICES, launcher=launcher, stop_grace_s=30)
                    address = await node.local.status.spawn(config)
                    file = str(tmp_path / launcher)
                    nursery.start_soon(ask_in_vain, caller, address, "linger", ORPHANED_S + 0.5, file)
                await wait_until(lambda: len(list(tmp_path.glob("* begun"))) == len(LAUNCHERS))
            assert not family.pids()
            assert all([(tmp_path / launcher).exists() for launcher in LAUNCHERS])  # noqa: C419  shows which


@slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
async def test_a_node_that_fails_once_it_has_booted_says_why(capfd: pytest.CaptureFixture[str], launcher: str) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            events = node.events()
            config = NodeConfig(services=SERVICES, launcher=launcher, on_start=crash_later)
            address = await node.local.status.spawn(config)
            assert await ask(node, address, "pid")
            assert await anext(events) == ChildEnded(node=address, status=1)
    said = capfd.readouterr().err
    assert "the node failed" in said
    assert "LookupError: a bug" in said


# ------------------------------------------------------------------------------------------------------------ protocol


async def test_a_command_that_is_not_there_is_the_reason() -> None:
    with pytest.raises(SpawnError, match="can't start /nowhere/node: No such file or directory"):
        await supervise(["/nowhere/node"], Boot(NodeConfig()), trio.TASK_STATUS_IGNORED)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("", "exit status 0"),
        ("import sys; sys.exit(4)", "exit status 4"),
        ("print('hello?')", "exit status 0"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("import os, time; os.close(1); time.sleep(600)", "signal 9"),
    ],
)
@slow
async def test_a_command_that_reports_nothing_is_one_that_ended(program: str, reason: str) -> None:
    with trio.fail_after(DEADLINE_S), pytest.raises(SpawnError, match=f"ended before it had booted: {reason}$"):
        await supervise([sys.executable, "-c", program], boot_for(NodeConfig()), trio.TASK_STATUS_IGNORED)


def saying(*chunks: bytes) -> Callable[[], Awaitable[bytes]]:
    left = [*chunks, b""]

    async def receive() -> bytes:
        await trio.lowlevel.checkpoint()
        return left.pop(0)

    return receive


async def has_ended() -> int:
    await trio.lowlevel.checkpoint()
    return 3


@pytest.mark.parametrize(
    "chunks",
    [
        [encode_line(Report(address=ADDRESS))],
        [bytes([byte]) for byte in encode_line(Report(address=ADDRESS))],
        [b"Welcome to this machine\n\n{}\n", encode_line(Report(address=ADDRESS))],
        [b"Last login: never\n" + encode_line(Report(address=ADDRESS)) + b"more"],
        [b"$ " + encode_line(Report(address=ADDRESS))],
        [b"\x1b[1mno end of line\x1b[0m\r", encode_line(Report(address=ADDRESS))],
        [b'\xff\x00\xfe{"$type":', encode_line(Report(address=ADDRESS)).replace(b"\n", b"\r\n")],
        [encode_line(Report(address=ADDRESS)).replace(b"\n", b"\x1b[0m and more\n")],
        [MARK + b" is how it begins: ", encode_line(Report(address=ADDRESS))],
        [MARK + b"\n" + MARK[:20], encode_line(Report(address=ADDRESS))],
        [MARK + b"[" * 100_000 + b"\n", encode_line(Report(address=ADDRESS))],
        [*[b"~" * 65_536] * 100, encode_line(Report(address=ADDRESS))],
        [*[b"~" * 65_535 + b"\n"] * 100, encode_line(Report(address=ADDRESS))],
        [bytes([byte]) for byte in b"$ " + MARK[:9] + encode_line(Report(address=ADDRESS)) + b"$ "],
    ],
)
async def test_the_report_is_found_however_it_comes_and_whatever_came_before_it(chunks: list[bytes]) -> None:
    assert await address_from(saying(*chunks), has_ended) == ADDRESS


@pytest.mark.parametrize("chunks", [[], [b"{}\n"], [encode_line(Report(address=ADDRESS))[:-1]], [b"\xff\xfe\n"]])
async def test_without_a_report_the_status_is_the_reason(chunks: list[bytes]) -> None:
    with pytest.raises(SpawnError, match="ended before it had booted: exit status 3"):
        await address_from(saying(*chunks), has_ended)


async def test_a_line_without_end_is_not_read_for_ever() -> None:
    taken = 0

    async def receive() -> bytes:
        nonlocal taken
        await trio.lowlevel.checkpoint()
        taken += 65_536
        return b"x" * 65_536

    with pytest.raises(SpawnError, match="ended before it had booted"):
        await address_from(receive, has_ended)
    assert taken == MAX_LINE_BYTES


async def test_a_child_without_reason_says_its_error() -> None:
    line = encode_line(Report(error=SpawnError("it rains")))
    with pytest.raises(SpawnError, match=r"^the node did not boot: it rains$"):
        await address_from(saying(line), has_ended)
